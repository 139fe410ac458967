"""The file under test as fsx sees it: one handle with the system calls that fsx makes, and the probe of what works here."""

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_COLLAPSE_RANGE = 0x08
FALLOC_ZERO_RANGE = 0x10
FALLOC_INSERT_RANGE = 0x20
#: What a file system answers that does not have an operation.
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV, errno.EXDEV, errno.ENXIO}


class OpenFile:
    """One open handle for reading and writing. Every method raises OSError; a short write is one too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def close(self) -> None:
        """Ends the handle; a failed write shows here at the latest."""
        os.close(self._fd)

    def size(self) -> int:
        """Bytes, as fstat has it."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there, fewer only at the end of the file."""
        return os.pread(self._fd, length, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Writes all of data."""
        written = os.pwrite(self._fd, data, offset)
        if written != len(data):
            raise OSError(errno.EIO, f"short write: {written} of {len(data)} bytes")

    def map_read(self, offset: int, length: int) -> tuple[bytes, bytes]:
        """The mapped bytes, and what the last page holds after the end of the file if the range ends there (zeros by POSIX)."""
        with self._map(offset, length, mmap.MAP_PRIVATE) as (region, skip):
            tail_count = -len(region) % mmap.PAGESIZE if offset + length == self.size() else 0
            window = (ctypes.c_char * len(region)).from_buffer(region)
            try:
                tail = ctypes.string_at(ctypes.addressof(window) + len(region), tail_count)
            finally:
                del window  # a map with a window cannot be closed, and an interrupt may come here
            return region[skip:], tail

    def map_write(self, offset: int, data: bytes) -> None:
        """Writes through a shared map, after growing the file where it must."""
        if offset + len(data) > self.size():
            self.truncate(offset + len(data))
        with self._map(offset, len(data), mmap.MAP_SHARED) as (region, skip):
            region[skip:] = data

    def _map(self, offset: int, length: int, flags: int) -> "_Mapped":
        if offset + length > self.size():  # Python's mmap would say ValueError
            raise OSError(errno.ENXIO, f"mapping {length} bytes from {offset:#x} past the end at {self.size():#x}")
        start = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        region = mmap.mmap(self._fd, offset + length - start, flags, mmap.PROT_READ | mmap.PROT_WRITE, offset=start)
        return _Mapped(region, offset - start)

    def truncate(self, size: int) -> None:
        """Cuts or grows to size."""
        os.ftruncate(self._fd, size)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2)."""
        if _libc.fallocate(self._fd, mode, offset, length):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def copy(self, source: int, target: int, length: int) -> None:
        """copy_file_range(2) within the file, as many calls as it takes."""
        while length:
            copied = os.copy_file_range(self._fd, self._fd, length, source, target)
            if copied == 0:
                raise OSError(errno.EIO, "copy_file_range copied nothing")
            source, target, length = source + copied, target + copied, length - copied

    def holes(self) -> Iterator[tuple[int, int]]:
        """Start and end of every hole that SEEK_HOLE and SEEK_DATA tell of."""
        end = self.size()
        position = 0
        while position < end:
            start = os.lseek(self._fd, position, os.SEEK_HOLE)
            if start >= end:
                return
            try:
                position = os.lseek(self._fd, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # ENXIO: no data follows
                    raise
                position = end
            yield start, position

    def fsync(self) -> None:
        """fsync(2)."""
        os.fsync(self._fd)

    def flush_and_invalidate(self) -> None:
        """Makes the next read come from the file system instead of the page cache."""
        os.fsync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)


class _Mapped:
    """A map that ends with its block, and how far into it the range begins."""

    def __init__(self, region: mmap.mmap, skip: int) -> None:
        self._region = region
        self._skip = skip

    def __enter__(self) -> tuple[mmap.mmap, int]:
        return self._region, self._skip

    def __exit__(self, *_: object) -> None:
        self._region.close()


def probe(path: Path) -> dict[str, bool]:
    """Which operations beyond reading and writing work beside path, on a scratch file that is gone afterwards."""
    scratch = path.with_name(f"{path.name}.probe")
    file = OpenFile(scratch)
    page = mmap.PAGESIZE
    modes = {
        "allocate": (0, FALLOC_KEEP_SIZE),
        "punch": (FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE,),
        "zero": (FALLOC_ZERO_RANGE, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE),
        "collapse": (FALLOC_COLLAPSE_RANGE,),
        "insert": (FALLOC_INSERT_RANGE,),
    }
    try:
        file.write(0, bytes(4 * page))
        return {
            "mapread": _works(lambda: file.map_read(0, page)),
            "mapwrite": _works(lambda: file.map_write(0, bytes(page))),
            "copy": _works(lambda: file.copy(0, 2 * page, page)),
            "seek": _works(lambda: list(file.holes())),
            **{kind: all(_works(partial(file.fallocate, mode, 0, page)) for mode in modes[kind]) for kind in modes},
        }
    finally:
        file.close()
        scratch.unlink()


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True
