"""Segment files on a disk: nothing else reads and writes them. What is in them is segment_format's business.

Calls block and belong in threads; errors are OSError. Tests bring a Disk whose Segments fail. Writes, and large reads, are
direct (past the page cache) where the file system can do that: their buffers, offsets and lengths are multiples of 4 KiB.
"""

import ctypes
import errno
import os
import threading
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from ringfs.base.checksums import Buffer
from ringfs.base.pace import Pace

_SUFFIX = ".segment"
#: linux/falloc.h: FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE; the os module has no fallocate(2).
_PUNCH_HOLE_KEEP_SIZE = 0x01 | 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.fallocate.restype = ctypes.c_int


#: A small read from the disk that takes less than this is done on the event loop: a hop to a thread and back costs more
#: (docs/decisions/0002-fast-disk-on-the-loop.md). After a longer one so many are left to threads before it is tried again.
_FAST_READ_NS = 400_000
_SKIPS = 64
#: A single read counts as no more than this: now and then one takes milliseconds on any disk.
_COUNTED_READ_NS = 1_000_000


class Segment:
    """An open segment file. Its users pin it: it is closed when nobody does any more (see SegmentTable)."""

    def __init__(self, number: int, buffered: int, direct: int) -> None:
        self.number = number
        self._buffered = buffered
        #: The same descriptor as _buffered where the file system has no O_DIRECT.
        self._direct = direct
        #: Preallocated; constant from creation on.
        self.capacity_bytes = os.fstat(buffered).st_size
        #: How many uses are under way.
        self.pins = 0
        #: What small reads past the page cache take; and how many more are left to threads because that was long.
        self._pace = Pace(0)
        self._skips = 0
        #: One for each finished write that is to be synced, and for each sync, ascending; next() of it is atomic.
        self._tickets = count(1)
        #: Held while one thread syncs for others. It guards: the ticket of the last sync; whether one did not succeed.
        self._syncing = threading.Lock()
        self._synced = 0
        self._has_lost = False

    def write(self, parts: Sequence[Buffer], offset: int) -> None:
        """Write all parts one after the other at offset, or raise: then any part of it may be written."""
        length = sum(len(part) for part in parts)
        if os.pwritev(self._direct, parts, offset) != length:
            # Within preallocated space only a full disk or a signal does that; writing it again from the start is right for both.
            data = b"".join(parts)
            written = os.pwrite(self._buffered, data, offset)
            if written != length:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read(self, buffer: memoryview, offset: int, *, direct: bool) -> int:
        """Fill buffer from offset; how many bytes there were, fewer only where the file ends."""
        descriptor = self._direct if direct else self._buffered
        filled = 0
        while filled < len(buffer) and (more := os.preadv(descriptor, [buffer[filled:]], offset + filled)):
            filled += more
        return filled

    def read_now(self, buffer: memoryview, offset: int) -> bool:
        """Fill buffer (aligned) from offset if the page cache has all of it, or the disk has been fast lately. Whether it did."""
        try:
            return os.preadv(self._buffered, [buffer], offset, os.RWF_NOWAIT) == len(buffer)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
        if self._skips:
            self._skips -= 1
            return False
        begun_ns = time.perf_counter_ns()
        filled = self.read(buffer, offset, direct=True)
        self._pace.note(min(time.perf_counter_ns() - begun_ns, _COUNTED_READ_NS))
        if self._pace.smoothed_ns >= _FAST_READ_NS:
            self._skips = _SKIPS
        return filled == len(buffer)

    def sync(self) -> None:
        """Everything written and punched so far is durable on return."""
        os.fdatasync(self._buffered)

    def sync_written(self) -> None:
        """What the calling thread has written and punched is durable on return: who comes first syncs for all who did so before.
        Raises OSError, also to those who waited for a sync that failed, and to all after them."""
        ticket = next(self._tickets)
        with self._syncing:
            if self._has_lost:
                # What a failed sync left on the disk is not known, and the kernel tells it only once.
                raise OSError(errno.EIO, "a sync failed before")
            if ticket < self._synced:
                return
            # All smaller tickets are those of finished writes.
            begun = next(self._tickets)
            self._has_lost = True
            self.sync()
            self._has_lost = False
            self._synced = begun

    def punch(self, offset: int, length_bytes: int) -> None:
        """Give the range's space back; it reads as zeros."""
        if _libc.fallocate(self._buffered, _PUNCH_HOLE_KEEP_SIZE, offset, length_bytes) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def allocate(self, offset: int, length_bytes: int) -> None:
        """Give the range its space (again)."""
        os.posix_fallocate(self._buffered, offset, length_bytes)

    def next_data(self, offset: int) -> int | None:
        """Where the next byte is, from offset on, that was ever written and not punched; None if there is none."""
        try:
            return os.lseek(self._buffered, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise

    def close(self) -> None:
        """Give up the descriptors."""
        os.close(self._buffered)
        if self._direct != self._buffered:
            os.close(self._direct)


class Disk:
    """The segment files of one disk: DIRECTORY/segments/NUMBER.segment."""

    segment_type: type[Segment] = Segment

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._segments = directory / "segments"
        self._segments.mkdir(mode=0o700, exist_ok=True)
        # By descriptor from now on, so that nothing lands on another file system if this one is unmounted.
        self._directory_descriptor = os.open(self._segments, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(self._directory_descriptor)

    def numbers(self) -> list[int]:
        """The numbers of all segment files, ascending."""
        names = os.listdir(self._directory_descriptor)
        return sorted(int(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX))

    def create(self, number: int, capacity_bytes: int, header: bytes) -> Segment:
        """Make a preallocated segment file with its header, durably. On failure nothing is left of it."""
        name = _name(number)
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._directory_descriptor)
        try:
            try:
                os.posix_fallocate(descriptor, 0, capacity_bytes)
                os.pwrite(descriptor, header, 0)
                os.fsync(descriptor)
                os.fsync(self._directory_descriptor)
            except BaseException:
                os.unlink(name, dir_fd=self._directory_descriptor)
                raise
        finally:
            os.close(descriptor)
        return self.open(number)

    def open(self, number: int) -> Segment:
        """Open a segment file."""
        buffered = self._open(number, 0)
        try:
            direct = self._open(number, os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                os.close(buffered)
                raise
            direct = buffered
        return self.segment_type(number, buffered, direct)

    def unlink(self, number: int) -> None:
        """Remove a segment file, durably; no error if it is gone."""
        try:
            os.unlink(_name(number), dir_fd=self._directory_descriptor)
        except FileNotFoundError:
            return
        os.fsync(self._directory_descriptor)

    def free_bytes(self) -> int:
        """What the file system has left for us."""
        figures = os.fstatvfs(self._directory_descriptor)
        return figures.f_bavail * figures.f_frsize

    def size_bytes(self) -> int:
        """What the file system has in all, for whomever."""
        figures = os.fstatvfs(self._directory_descriptor)
        return figures.f_blocks * figures.f_frsize

    def file_system(self) -> str:
        """The same text for all disks on the same file system of this machine."""
        return f"{os.uname().nodename}:{os.fstat(self._directory_descriptor).st_dev:x}"

    def close(self) -> None:
        """Give up the directory."""
        os.close(self._directory_descriptor)

    def _open(self, number: int, flags: int) -> int:
        return os.open(_name(number), os.O_RDWR | os.O_CLOEXEC | flags, dir_fd=self._directory_descriptor)


def _name(number: int) -> str:
    return f"{number:08d}{_SUFFIX}"
