"""Calls that POSIX tests make and Python's os lacks, and their outcomes as words: "ok" or the errno's name."""

import ctypes
import errno
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_libc.telldir.argtypes = [ctypes.c_void_p]
_libc.telldir.restype = ctypes.c_long
_libc.opendir.restype = ctypes.c_void_p
_libc.readdir64.argtypes = [ctypes.c_void_p]
_libc.readdir64.restype = ctypes.c_void_p
_libc.rewinddir.argtypes = [ctypes.c_void_p]
_libc.closedir.argtypes = [ctypes.c_void_p]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
#: Users that no test machine gives a meaning to.
ALICE, BOB = 30001, 30002
#: CLOCK_REALTIME_COARSE of time.h, which Python's time lacks.
_REALTIME_COARSE = 5
_MAP_FAILED = ctypes.c_void_p(-1).value
_MS_SYNC = 4
_HANDLE_BYTES_MAX = 128
#: Offset of d_name in struct dirent64.
_NAME_OFFSET = 19


def outcome(function: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """What a call comes to: "ok", or the name of its errno."""
    try:
        function(*arguments, **named)
    except OSError as error:
        return errno_name(error)
    return "ok"


def errno_name(error: OSError) -> str:
    """As errno.h has it."""
    name = errno.errorcode[error.errno or 0]
    return "EOPNOTSUPP" if name == "ENOTSUP" else name  # one number, two names


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def renameat2(old: Path | str, new: Path | str, flags: int) -> None:
    """renameat2(2) from the current directory."""
    _checked(_libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) with any mode."""
    _checked(_libc.fallocate(fd, mode, offset, length))


def linkat(at: int, old: Path | str, new: Path | str, flags: int) -> None:
    """linkat(2) to a name seen from the current directory."""
    _checked(_libc.linkat(at, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def syncfs(fd: int) -> None:
    """syncfs(2)."""
    _checked(_libc.syncfs(fd))


def mmap(fd: int, length: int, protection: int, flags: int) -> int:
    """The address of a new map from the file's start; unlike Python's mmap it may reach past the file's end."""
    address = _libc.mmap(None, length, protection, flags, fd, 0)
    return int(_checked(-1 if address == _MAP_FAILED else address))


def munmap(address: int, length: int) -> None:
    """munmap(2)."""
    _checked(_libc.munmap(address, length))


def msync(address: int, length: int) -> None:
    """msync(2), MS_SYNC."""
    _checked(_libc.msync(address, length, _MS_SYNC))


def handle_of(at: int, path: str, flags: int) -> bytes:
    """What name_to_handle_at(2) tells: never the same for two files, also not for one that got the number of a dead one."""
    buffer = ctypes.create_string_buffer(_HANDLE_BYTES_MAX.to_bytes(4, sys.byteorder), 8 + _HANDLE_BYTES_MAX)
    mount_id = ctypes.c_int()
    _checked(_libc.name_to_handle_at(at, os.fsencode(path), buffer, ctypes.byref(mount_id), flags))
    return buffer.raw


def open_by_handle_at(mount_fd: int, handle: bytes, flags: int) -> int:
    """A descriptor of the file that handle_of told of, on the mount of mount_fd."""
    return _checked(_libc.open_by_handle_at(mount_fd, ctypes.create_string_buffer(handle, len(handle)), flags))


def data_ranges(fd: int) -> tuple[tuple[int, int], ...]:
    """Start and end of every range that SEEK_DATA and SEEK_HOLE call data."""
    found: list[tuple[int, int]] = []
    position = 0
    while True:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: no data follows
                raise
            return tuple(found)
        position = os.lseek(fd, start, os.SEEK_HOLE)
        assert position > start, f"SEEK_HOLE from {start} says {position}, where SEEK_DATA says that data is"
        found.append((start, position))


def statx_mask(path: Path) -> int:
    """stx_mask: what statx(2) tells when it is asked for everything."""
    buffer = ctypes.create_string_buffer(256)
    _checked(_libc.statx(AT_FDCWD, os.fsencode(path), 0, 0xFFF, buffer))
    return int.from_bytes(buffer.raw[:4], sys.byteorder)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def utimensat(path: Path | str, atime: tuple[int, int], mtime: tuple[int, int], *, follow: bool = True) -> None:
    """utimensat(2) with (seconds, nanoseconds); UTIME_NOW and UTIME_OMIT are nanoseconds."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, 0 if follow else AT_SYMLINK_NOFOLLOW))


def futimens(fd: int, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """futimens(3), likewise."""
    _checked(_libc.futimens(fd, (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))))


class DirectoryStream:
    """opendir(3) and its company, with positions."""

    def __init__(self, path: Path) -> None:
        self._stream = _libc.opendir(os.fsencode(path))
        assert self._stream, path

    def read(self) -> str | None:
        """The next name, or None at the end."""
        entry = _libc.readdir64(self._stream)
        return os.fsdecode(ctypes.string_at(entry + _NAME_OFFSET)) if entry else None

    def __iter__(self) -> Iterator[str]:
        while (name := self.read()) is not None:
            yield name

    def tell(self) -> int:
        """Where the next read will be."""
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        """Goes back to where tell was."""
        _libc.seekdir(self._stream, position)

    def rewind(self) -> None:
        """To the start, with what is there now."""
        _libc.rewinddir(self._stream)

    def close(self) -> None:
        """Ends it."""
        _libc.closedir(self._stream)


def as_user(
    uid: int, function: Callable[[], Any], *, gid: int | None = None, groups: tuple[int, ...] = (), umask: int = 0o022
) -> Any:
    """What function returns or raises when a child with that identity and no capabilities calls it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.setgroups(groups)
            os.setresgid(*[uid if gid is None else gid] * 3)
            os.setresuid(uid, uid, uid)
            os.umask(umask)
            result: tuple[str, Any] = ("returned", function())
        except OSError as error:
            result = ("raised", error)
        except BaseException:  # a failed assertion in the child fails the test in the parent
            result = ("failed", traceback.format_exc())
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        kind, value = pickle.load(pipe)
    os.waitpid(child, 0)
    if kind == "raised":
        raise value
    assert kind == "returned", value
    return value


def with_umask(mask: int, function: Callable[[], Result]) -> Result:
    """Calls function under that umask."""
    before = os.umask(mask)
    try:
        return function()
    finally:
        os.umask(before)


def tick() -> None:
    """Returns when the coarse clock that file systems stamp with has passed now, so that a later stamp is a larger one than any
    before, also than those of the fine clock that ringfs stamps with."""
    start_ns = time.time_ns()
    while time.clock_gettime_ns(_REALTIME_COARSE) <= start_ns:
        os.sched_yield()


def names(directory: Path) -> list[str]:
    """Sorted names in it."""
    return sorted(os.listdir(directory))
