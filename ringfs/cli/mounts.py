"""ringfs mounts of this machine: found in mountinfo, asked through their root, taken away. Never hangs on a dead one."""

import ctypes
import errno
import os
import subprocess
import tempfile
from pathlib import Path

from ringfs.base import mountinfo
from ringfs.base.errors import UserError
from ringfs.base.mountinfo import Mount
from ringfs.cli import processes
from ringfs.cli.in_time import Unresponsive, in_time, statvfs_in_time
from ringfs.cli.mount_record import read_record

#: The mount process serves these on its root.
CONFIG_XATTR = "user.ringfs.config"
_MOUNT_TYPE = "fuse.ringfs"
_MNT_FORCE = 1
#: Detaching waits for nothing that a mount does.
DETACH_TIMEOUT_S = 30.0

_libc = ctypes.CDLL(None, use_errno=True)


def is_ringfs(mount: Mount | None) -> bool:
    """Whether it is one of ours, alive or dead."""
    return mount is not None and mount.kind == _MOUNT_TYPE


def ringfs_mount_of(path: Path) -> Path | None:
    """The root of the ringfs mount that path (absolute, without symlinks) is in, or None."""
    containing = [mount for mount in mountinfo.read_mounts() if path == mount.point or mount.point in path.parents]
    if not containing:
        return None
    depth = max(len(mount.point.parts) for mount in containing)
    upper = [mount for mount in containing if len(mount.point.parts) == depth][-1]
    return upper.point if upper.kind == _MOUNT_TYPE else None


def ringfs_mount_around(path: Path) -> Path | None:
    """The same for any path. What is in a mount by its name alone is not looked at: the mount may not answer."""
    named = Path(os.path.abspath(path))
    return ringfs_mount_of(named) or ringfs_mount_of(real_path(named))


def mount_point_of(path: Path) -> Path:
    """The real path of what is, or may become, a mount point. What is one by its name is not looked at: it may not answer."""
    named = Path(os.path.abspath(path))
    return named if is_ringfs(mountinfo.mount_at(named)) else real_path(named)


def real_path(path: Path) -> Path:
    """Absolute, without symlinks, also through mount points whose process is dead. Raises UserError if a mount does not answer."""
    try:
        return Path(in_time(os.path.realpath, os.fspath(path)))
    except Unresponsive:
        raise UserError(f"{path} is in a mount that does not answer: look at its process, then try again") from None


def config_of(root: Path) -> Path:
    """The configuration file of the ringfs mount at root. Raises UserError if its process is dead or silent.

    Its process has told us when it was started; if not us, then it serves it as an attribute.
    """
    record = read_record(root)
    if record is not None and record.code is None and processes.command_line(record.pid):
        return Path(record.config)
    try:
        return Path(os.fsdecode(in_time(os.getxattr, os.fspath(root), CONFIG_XATTR)))
    except Unresponsive:
        raise UserError(f"the mount at {root} does not answer: name the cluster with --cluster") from None
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise UserError(f"the process of the mount at {root} is dead: run 'ringfs umount {root}' and mount again") from None
        raise UserError(f"the mount at {root} does not name its cluster ({error.strerror}): name it with --cluster") from None


def is_dead(point: Path) -> bool:
    """Whether the FUSE process behind a mount point is gone, or can do nothing any more but hold it."""
    try:
        # Not stat, which the kernel answers for a dead mount too, as long as it may believe the attributes that it has.
        statvfs_in_time(point)
    except Unresponsive:
        # A killed process whose thread waits for an answer of its own mount is a zombie that keeps the mount.
        record = read_record(point)
        return record is not None and not processes.command_line(record.pid)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def clear(point: Path) -> None:
    """Free a mount point, and whoever waits for it, whatever its process does. Raises UserError."""
    abort(point)
    detach(point)


def detach(point: Path) -> None:
    """Take a mount point out of the tree at once, even if it is in use or its process is dead. Raises UserError."""
    _unmount(["fusermount3", "-u", "-z", "--", str(point)], ["umount", "-l", "--", str(point)], point, DETACH_TIMEOUT_S)


def abort(point: Path) -> None:
    """Have the kernel fail every request of a mount now. Frees processes that wait for it, of which its own may be one."""
    # The path of a mount point is looked up without asking the mount. EBUSY and the like: it is aborted before that is found.
    _libc.umount2(os.fsencode(point), _MNT_FORCE)


def unmount(point: Path, timeout_s: float) -> None:
    """An ordinary unmount, which the kernel first writes for. Raises UserError (in use: by whom), Unresponsive."""
    _unmount(["fusermount3", "-u", "--", str(point)], ["umount", "--", str(point)], point, timeout_s)


def _unmount(first: list[str], second: list[str], point: Path, timeout_s: float) -> None:
    """By fusermount3, which needs no root for one's own mounts; by umount where that is not installed."""
    try:
        code, said = _run(first, timeout_s)
    except FileNotFoundError:
        code, said = _run(second, timeout_s)
    if code == 0 or mountinfo.mount_at(point) is None:
        return
    if "busy" in said:
        users = users_of(point)
        who = ", ".join(users[:5]) if users else "some process"
        raise UserError(f"{point} is in use by {who}: leave it or end them, then try again")
    raise UserError(f"cannot unmount {point}: {said.strip() or 'umount failed'}")


def _run(command: list[str], timeout_s: float) -> tuple[int, str]:
    """Exit code and stderr. Raises Unresponsive and leaves the process behind: the kernel may not let it go."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Unresponsive from None
        said.seek(0)
        return code, said.read()


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
