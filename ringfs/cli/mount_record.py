"""What a mount process tells other verbs: its pid and configuration, and how it ended. One small file per mount point.

The kernel forgets a mount's process when the mount is gone, but umount must wait for its end and tell how it was; and a mount
that does not answer cannot tell where its configuration is.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ringfs.base.checksums import plain_digest


@dataclass(slots=True)
class MountRecord:
    """code is None while the process runs, and for ever if it was killed; words: why it is not 0."""

    point: str
    pid: int
    config: str
    code: int | None = None
    words: str = ""


def write_record(record: MountRecord) -> None:
    """Replace the record of a mount point."""
    path = _path_of(record.point)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(json.dumps(asdict(record)))
    new.replace(path)


def read_record(point: Path) -> MountRecord | None:
    """The record of a mount point, or None if there is none."""
    try:
        return MountRecord(**json.loads(_path_of(str(point)).read_text()))
    except FileNotFoundError:
        return None


def _path_of(point: str) -> Path:
    return _folder() / f"{plain_digest(os.fsencode(point), 16).hex()}.json"


def _folder() -> Path:
    """Gone after a boot, as every mount is."""
    if os.geteuid() == 0:
        return Path("/run/ringfs")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "ringfs" if runtime else Path(f"/tmp/ringfs-{os.geteuid()}")
