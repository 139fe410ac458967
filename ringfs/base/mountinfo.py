"""What is mounted where, as the kernel says it (proc(5), mountinfo); asks no mount anything, so no dead one can hang it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    point: Path
    kind: str
    #: "major:minor" of what is mounted.
    device: str


def read_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Mount]:
    """All mounts of this process's namespace, in order: a later one covers an earlier one at the same point."""
    mounts = []
    for line in os.fsdecode(mountinfo.read_bytes()).splitlines():
        # proc(5): … mount point is field 5; the type is the first field behind " - ".
        before, _, behind = line.partition(" - ")
        fields = before.split(" ")
        mounts.append(Mount(Path(_unescaped(fields[4])), behind.split(" ")[0], fields[2]))
    return mounts


def mount_at(point: Path) -> Mount | None:
    """The uppermost mount exactly at point (an absolute path without symlinks), whatever its type."""
    found = [mount for mount in read_mounts() if mount.point == point]
    return found[-1] if found else None


def _unescaped(field: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes as octal."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), field)
