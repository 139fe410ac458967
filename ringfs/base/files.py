"""The file layer as a seam: everything that must be right after a crash writes through Files. Here: the seam and the real one.

The fault-injecting twin is tests/support/crashing_files.py. What a caller may rely on after the machine has crashed is only:
bytes that fdatasync has returned for, and directory entries that sync_directory has returned for. Anything else may be there,
or not, or in part (sectors of 512 bytes), in any order. A failed fdatasync is never tried again: what it left is not known.

All calls block; where an event loop runs, they belong in a thread. Errors are OSError unless said otherwise.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

from ringfs.base.checksums import Buffer
from ringfs.base.errors import UserError


class File(Protocol):
    """An open file."""

    def size_bytes(self) -> int:
        """Where the file ends."""
        ...

    def pread(self, length_bytes: int, offset: int) -> bytes:
        """The bytes at offset; fewer than asked for only where the file ends."""
        ...

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write all of data at offset, or raise (then any part of it may be written)."""
        ...

    def pwrite_durable(self, data: Buffer, offset: int) -> None:
        """As pwrite; these bytes are durable on return, which says nothing of others. One system call, as a rule."""
        ...

    def fdatasync(self) -> None:
        """Everything written so far, and the size, are durable on return."""
        ...

    def fallocate(self, offset: int, length_bytes: int) -> None:
        """Give the range its disk space; the file ends at its end or later. What was not written reads as zeros."""
        ...

    def close(self) -> None:
        """Give up the file; says nothing about durability."""
        ...


class Lock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Let another process have it."""
        ...


class Files(Protocol):
    """A file system, as far as ringfs's servers need one."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing; with create, make the file (mode 0600), which must not exist yet."""
        ...

    def list(self, directory: Path) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def make_directory(self, path: Path) -> None:
        """Make a directory (mode 0700); no error if it exists. Durable with sync_directory of its parent."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Atomically; replaces what was at new."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file's name."""
        ...

    def sync_directory(self, path: Path) -> None:
        """All entries of this directory, made, renamed and removed so far, are durable on return."""
        ...

    def lock(self, directory: Path) -> Lock:
        """Be the only process that uses the directory, until release or death. UserError naming the pid of the one that does."""
        ...


class RealFile:
    """A file of this machine."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def size_bytes(self) -> int:
        """See File."""
        return os.fstat(self._descriptor).st_size

    def pread(self, length_bytes: int, offset: int) -> bytes:
        """See File."""
        data = os.pread(self._descriptor, length_bytes, offset)
        if len(data) == length_bytes or not data:
            return data
        parts = [data]
        got = len(data)
        while got < length_bytes and (data := os.pread(self._descriptor, length_bytes - got, offset + got)):
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def pwrite(self, data: Buffer, offset: int) -> None:
        """See File."""
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def pwrite_durable(self, data: Buffer, offset: int) -> None:
        """See File. In one call because a thread beside a busy event loop waits for the interpreter lock after each."""
        written = os.pwritev(self._descriptor, [data], offset, os.RWF_DSYNC)
        while written < len(data):
            written += os.pwritev(self._descriptor, [memoryview(data)[written:]], offset + written, os.RWF_DSYNC)

    def fdatasync(self) -> None:
        """See File."""
        os.fdatasync(self._descriptor)

    def fallocate(self, offset: int, length_bytes: int) -> None:
        """See File."""
        os.posix_fallocate(self._descriptor, offset, length_bytes)

    def close(self) -> None:
        """See File."""
        os.close(self._descriptor)


class RealLock:
    """An flock on the file `lock` of a directory, which names the holder's pid. It ends with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """See Lock."""
        os.close(self._descriptor)


class RealFiles:
    """The file system of this machine."""

    def open(self, path: Path, *, create: bool = False) -> RealFile:
        """See Files."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return RealFile(os.open(path, flags, 0o600))

    def list(self, directory: Path) -> list[str]:
        """See Files."""
        return sorted(os.listdir(directory))

    def make_directory(self, path: Path) -> None:
        """See Files."""
        path.mkdir(mode=0o700, exist_ok=True)

    def rename(self, old: Path, new: Path) -> None:
        """See Files."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """See Files."""
        os.unlink(path)

    def sync_directory(self, path: Path) -> None:
        """See Files."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, directory: Path) -> RealLock:
        """See Files."""
        descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise already_used(directory, holder) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        return RealLock(descriptor)


#: The file in a directory that carries its lock.
LOCK_NAME = "lock"


def already_used(directory: Path, pid: str) -> UserError:
    """What lock() raises when another process holds the directory."""
    return UserError(f"{directory} is in use by process {pid}: stop it first, or give this server another directory")
