"""What a directory must be before something is mounted on it."""

import os
from pathlib import Path

from ringfs.base import mountinfo
from ringfs.base.errors import UserError
from ringfs.cli import mounts


def prepare_mount_point(path: Path, *, make: bool = False) -> Path:
    """The real path of a directory that is empty and free. A dead ringfs mount on it is taken away first. Raises UserError.

    make: a directory that does not exist is made.
    """
    point = mounts.mount_point_of(path)
    if mounts.is_ringfs(mountinfo.mount_at(point)) and mounts.is_dead(point):
        mounts.clear(point)
    there = mountinfo.mount_at(point)
    if there is not None:
        kind = "a ringfs mount is" if mounts.is_ringfs(there) else f"a mount of type {there.kind} is"
        raise UserError(f"{kind} at {point} already: unmount it ('ringfs umount {point}') or mount somewhere else")
    if make and not point.exists():
        point.mkdir(parents=True)
    if not point.exists():
        raise UserError(f"mount point {point} does not exist: make the directory first")
    if not point.is_dir():
        raise UserError(f"mount point {point} is not a directory: name one that is")
    if _holds_something(point):
        raise UserError(f"mount point {point} is not empty: what is in it would be hidden; use an empty directory")
    return point


def _holds_something(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is not None
