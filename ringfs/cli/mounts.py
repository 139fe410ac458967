"""ringfs mounts of this machine: found in mountinfo, asked through their root, taken away. Never hangs on a dead one."""

import errno
import os
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ringfs.base.errors import UserError

#: The mount process serves these on its root.
CONFIG_XATTR = "user.ringfs.config"
_MOUNT_TYPE = "fuse.ringfs"
#: A mount that takes longer to say where its configuration is, is not answering.
ASK_TIMEOUT_S = 10.0

T = TypeVar("T")


class Unresponsive(Exception):
    """A mount did not answer in time."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    point: Path
    kind: str


def read_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Mount]:
    """All mounts of this process's namespace, in order: a later one covers an earlier one at the same point."""
    mounts = []
    for line in os.fsdecode(mountinfo.read_bytes()).splitlines():
        # proc(5): … mount point is field 5; the type is the first field behind " - ".
        before, _, behind = line.partition(" - ")
        mounts.append(Mount(Path(_unescaped(before.split(" ")[4])), behind.split(" ")[0]))
    return mounts


def mount_at(point: Path) -> Mount | None:
    """The uppermost mount exactly at point (an absolute path without symlinks), whatever its type."""
    found = [mount for mount in read_mounts() if mount.point == point]
    return found[-1] if found else None


def is_ringfs(mount: Mount | None) -> bool:
    """Whether it is one of ours, alive or dead."""
    return mount is not None and mount.kind == _MOUNT_TYPE


def ringfs_mount_of(path: Path) -> Path | None:
    """The root of the ringfs mount that path (absolute, without symlinks) is in, or None."""
    containing = [mount for mount in read_mounts() if path == mount.point or mount.point in path.parents]
    if not containing:
        return None
    depth = max(len(mount.point.parts) for mount in containing)
    upper = [mount for mount in containing if len(mount.point.parts) == depth][-1]
    return upper.point if upper.kind == _MOUNT_TYPE else None


def real_path(path: Path) -> Path:
    """Absolute, without symlinks, also through mount points whose process is dead. Raises UserError if a mount does not answer."""
    try:
        return Path(in_time(lambda: os.path.realpath(path)))
    except Unresponsive:
        raise UserError(f"{path} is in a mount that does not answer: look at its process, then try again") from None


def config_of(root: Path) -> Path:
    """The configuration file that the ringfs mount at root serves. Raises UserError if its process is dead or silent."""
    try:
        told = in_time(lambda: os.getxattr(root, CONFIG_XATTR))
    except Unresponsive:
        raise UserError(f"the mount at {root} does not answer: name the cluster with --cluster") from None
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise UserError(f"the process of the mount at {root} is dead: run 'ringfs umount {root}' and mount again") from None
        raise UserError(f"the mount at {root} does not name its cluster ({error.strerror}): name it with --cluster") from None
    return Path(os.fsdecode(told))


def is_dead(point: Path) -> bool:
    """Whether the FUSE process behind a mount point is gone."""
    try:
        os.stat(point)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def detach(point: Path) -> None:
    """Take a mount point out of the tree at once, even if it is in use or its process is dead. Raises UserError."""
    _unmount(["fusermount3", "-u", "-z", "--", str(point)], ["umount", "-l", "--", str(point)], point)


def unmount(point: Path) -> None:
    """An ordinary unmount. Raises UserError, if it is in use with the processes that use it."""
    _unmount(["fusermount3", "-u", "--", str(point)], ["umount", "--", str(point)], point)


def _unmount(first: list[str], second: list[str], point: Path) -> None:
    """By fusermount3, which needs no root for one's own mounts; by umount where that is not installed."""
    try:
        done = subprocess.run(first, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = subprocess.run(second, capture_output=True, text=True, check=False)
    if done.returncode == 0 or mount_at(point) is None:
        return
    if "busy" in done.stderr:
        users = users_of(point)
        who = ", ".join(users[:5]) if users else "some process"
        raise UserError(f"{point} is in use by {who}: leave it or end them, then try again")
    raise UserError(f"cannot unmount {point}: {done.stderr.strip() or 'umount failed'}")


def users_of(point: Path) -> list[str]:
    """Processes (`name (pid)`) whose working directory, root or an open file is at or below a mount point."""
    prefix = str(point)
    users = []
    for entry in sorted((entry for entry in os.listdir("/proc") if entry.isdigit()), key=int):
        folder = Path("/proc") / entry
        if any(place == prefix or place.startswith(prefix + "/") for place in _places_of(folder)):
            users.append(f"{_name_of(folder)} ({entry})")
    return users


def _places_of(folder: Path) -> list[str]:
    """Where the links of a /proc/PID point; nothing of what is not ours to see."""
    places = []
    try:
        links = [folder / "cwd", folder / "root", *(folder / "fd").iterdir()]
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return []
    for link in links:
        try:
            places.append(os.readlink(link))
        except OSError:
            continue  # closed meanwhile, or another user's
    return places


def _name_of(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "?"


def in_time(ask: Callable[[], T], timeout_s: float = ASK_TIMEOUT_S) -> T:
    """ask() in a thread of its own, which is left behind if the mount under it hangs. Raises Unresponsive, and what ask raises."""
    outcome: list[T | BaseException] = []

    def call() -> None:
        try:
            outcome.append(ask())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise Unresponsive
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _unescaped(field: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes as octal."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), field)
