"""A process that makes system calls in a directory, as it is told through a pipe.

It answers with what a call returned or the name of its errno. Open files stay open between calls, in slots. Several actors
work in one directory, or on two mounts of it; worlds.py drives them.
"""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import resource
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tests.support import posix
from tests.support.side_by_side.calls import NO_SLOT, USERS, Call, content, plain

MAP_BYTES = 256 << 10
#: Beyond this size a file's bytes are told by their hash.
_SHOWN_BYTES_MAX = 1 << 20
_PIECE_BYTES = 1 << 20
_O_ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK  # a fifo shall not block
_LOCKS = {"RD": fcntl.F_RDLCK, "WR": fcntl.F_WRLCK, "UN": fcntl.F_UNLCK}
_LOCK_COMMANDS = {"posix": (fcntl.F_SETLK, fcntl.F_GETLK), "ofd": (fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK)}
_FLOCKS = {"SH": fcntl.LOCK_SH, "EX": fcntl.LOCK_EX, "UN": fcntl.LOCK_UN}
#: struct flock: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")
_PROTECTIONS = {
    "r": (mmap.PROT_READ, mmap.MAP_SHARED),
    "rw": (mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED),
    "private": (mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE),
}


class Status(NamedTuple):
    """What stat(2) tells. identity: inode number, and a file handle where numbers are used again."""

    identity: tuple[int, bytes]
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Blurred(NamedTuple):
    """Done, to an inode whose times may or may not move by it: stores through maps, ACLs that change nothing."""

    identity: tuple[int, bytes]


class Entry(NamedTuple):
    """One name of a tree, with all that can be seen of it."""

    path: str
    status: Status
    #: Of a file its bytes, or their hash; of a link its target; of a directory its names.
    detail: Any
    xattrs: dict[str, bytes]
    #: Ranges that SEEK_DATA tells of; of files only.
    data: tuple[tuple[int, int], ...]


class Actor:
    """Slots, a map for each, and a working directory. Methods are the kinds of calls.py; each raises OSError."""

    def __init__(self, *, with_handles: bool) -> None:
        self._fds: dict[int, int] = {}
        #: Addresses, and whether what is stored there reaches the file.
        self._maps: dict[int, tuple[int, bool]] = {}
        self._with_handles = with_handles

    def begin(self, directory: str) -> None:
        """Forget everything, and work in that directory."""
        for slot in list(self._fds):
            with suppress(OSError):
                self.close(slot)
        os.umask(0o022)
        os.chdir(directory)

    def perform(self, call: Call) -> tuple[Any, ...]:
        """("ok", result), or the name of an errno, alone."""
        uid, gid = USERS[call.user]
        os.setegid(gid)
        os.seteuid(uid)
        try:
            return ("ok", getattr(self, call.kind)(*map(plain, call.arguments)))
        except OSError as error:
            return (posix.errno_name(error),)
        finally:
            os.seteuid(0)
            os.setegid(0)

    def _fd(self, slot: int) -> int:
        if slot not in self._fds:
            raise OSError(errno.EBADF, f"slot {slot} is empty")
        return self._fds[slot]

    def _at(self, slot: int) -> int | None:
        return None if slot == NO_SLOT else self._fd(slot)

    # --- open files ---------------------------------------------------------------------------------------------------

    def open(self, slot: int, at: int, path: str, flags: int, mode: int) -> str:
        directory = self._at(at)
        closed = posix.outcome(self.close, slot) if slot in self._fds and at != slot else ""
        opened = os.open(path, flags | _O_ALWAYS, mode, dir_fd=directory)
        if slot in self._fds:
            closed = posix.outcome(self.close, slot)
        self._fds[slot] = opened
        return closed

    def close(self, slot: int) -> None:
        if slot in self._maps:
            posix.munmap(self._maps.pop(slot)[0], MAP_BYTES)
        fd = self._fd(slot)
        del self._fds[slot]
        os.close(fd)

    def dup(self, slot: int, other: int) -> None:
        copy = os.dup(self._fd(slot))
        if other in self._fds:
            self.close(other)
        self._fds[other] = copy

    def read(self, slot: int, length: int) -> bytes:
        return os.read(self._fd(slot), length)

    def readv(self, slot: int, length: int, length2: int) -> bytes:
        return _vectored(lambda pieces: os.readv(self._fd(slot), pieces), length, length2)

    def pread(self, slot: int, offset: int, length: int) -> bytes:
        return os.pread(self._fd(slot), length, offset)

    def preadv(self, slot: int, offset: int, length: int, length2: int) -> bytes:
        return _vectored(lambda pieces: os.preadv(self._fd(slot), pieces, offset), length, length2)

    def write(self, slot: int, fill: int, length: int) -> int:
        return os.write(self._fd(slot), content(fill, length))

    def writev(self, slot: int, fill: int, length: int, length2: int) -> int:
        return os.writev(self._fd(slot), [content(fill, length), content(fill + 1, length2)])

    def pwrite(self, slot: int, offset: int, fill: int, length: int) -> int:
        return os.pwrite(self._fd(slot), content(fill, length), offset)

    def pwritev(self, slot: int, offset: int, fill: int, length: int, length2: int) -> int:
        return os.pwritev(self._fd(slot), [content(fill, length), content(fill + 1, length2)], offset)

    def lseek(self, slot: int, offset: int, whence: int) -> int | None:
        fd = self._fd(slot)
        if stat.S_ISDIR(os.fstat(fd).st_mode):  # what positions mean there is the file system's business
            return None
        return os.lseek(fd, offset, whence)

    def holes(self, slot: int) -> tuple[tuple[int, int], ...]:
        fd = self._fd(slot)
        position = os.lseek(fd, 0, os.SEEK_CUR)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return ()
        try:
            return posix.data_ranges(fd)
        finally:
            os.lseek(fd, position, os.SEEK_SET)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(path, size)

    def ftruncate(self, slot: int, size: int) -> None:
        os.ftruncate(self._fd(slot), size)

    def fallocate(self, slot: int, mode: int, offset: int, length: int) -> None:
        posix.fallocate(self._fd(slot), mode, offset, length)

    def copy_file_range(self, slot: int, other: int, source: int, target: int, length: int) -> int:
        if min(source, target) < 0:
            return -1
        return os.copy_file_range(self._fd(slot), self._fd(other), length, source, target)

    def sendfile(self, slot: int, other: int, offset: int, length: int) -> int:
        return os.sendfile(self._fd(other), self._fd(slot), offset, length)

    def fsync(self, slot: int) -> None:
        os.fsync(self._fd(slot))

    def fdatasync(self, slot: int) -> None:
        os.fdatasync(self._fd(slot))

    def syncfs(self, slot: int) -> None:
        posix.syncfs(self._fd(slot))

    # --- names --------------------------------------------------------------------------------------------------------

    def link(self, path: str, new: str, follow: bool) -> None:
        posix.linkat(posix.AT_FDCWD, path, new, posix.AT_SYMLINK_FOLLOW if follow else 0)

    def linkfd(self, slot: int, new: str, follow: bool) -> None:
        fd = self._fd(slot)
        if follow:
            posix.linkat(posix.AT_FDCWD, f"/proc/self/fd/{fd}", new, posix.AT_SYMLINK_FOLLOW)
        else:
            posix.linkat(fd, "", new, posix.AT_EMPTY_PATH)

    def symlink(self, target: str, at: int, path: str) -> None:
        os.symlink(target, path, dir_fd=self._at(at))

    def readlink(self, at: int, path: str) -> str:
        return os.readlink(path, dir_fd=self._at(at))

    def unlink(self, at: int, path: str) -> None:
        os.unlink(path, dir_fd=self._at(at))

    def rmdir(self, at: int, path: str) -> None:
        os.rmdir(path, dir_fd=self._at(at))

    def rename(self, path: str, new: str, flags: int) -> None:
        posix.renameat2(path, new, flags)

    def mkdir(self, at: int, path: str, mode: int) -> None:
        os.mkdir(path, mode, dir_fd=self._at(at))

    def mknod(self, at: int, path: str, node: int, mode: int) -> None:
        os.mknod(path, node | mode, dir_fd=self._at(at))

    def readdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def freaddir(self, slot: int) -> list[str]:
        return sorted(os.listdir(self._fd(slot)))

    # --- attributes ---------------------------------------------------------------------------------------------------

    def stat(self, at: int, path: str, follow: bool) -> Status:
        directory = self._at(at)
        found = os.stat(path, dir_fd=directory, follow_symlinks=follow)
        return self._status(found, posix.AT_FDCWD if directory is None else directory, path, posix.AT_SYMLINK_FOLLOW * follow)

    def fstat(self, slot: int) -> Status:
        return self._status(os.fstat(self._fd(slot)), self._fd(slot), "", posix.AT_EMPTY_PATH)

    def _status(self, found: os.stat_result, at: int, path: str, flags: int) -> Status:
        handle = posix.handle_of(at, path, flags) if self._with_handles else b""
        size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
        nanoseconds = found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns
        return Status((found.st_ino, handle), found.st_mode, found.st_nlink, found.st_uid, found.st_gid, size, *nanoseconds)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def fchmod(self, slot: int, mode: int) -> None:
        os.fchmod(self._fd(slot), mode)

    def chown(self, path: str, uid: int, gid: int, follow: bool) -> None:
        os.chown(path, uid, gid, follow_symlinks=follow)

    def fchown(self, slot: int, uid: int, gid: int) -> None:
        os.fchown(self._fd(slot), uid, gid)

    def utime(self, path: str, atime: tuple[int, int], mtime: tuple[int, int], follow: bool) -> None:
        posix.utimensat(path, atime, mtime, follow=follow)

    def futime(self, slot: int, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
        posix.futimens(self._fd(slot), atime, mtime)

    def access(self, at: int, path: str, mode: int, follow: bool) -> bool:
        return os.access(path, mode, dir_fd=self._at(at), effective_ids=True, follow_symlinks=follow)

    def umask(self, mask: int) -> None:
        os.umask(mask)

    def setxattr(self, path: str, name: str, fill: int, length: int, flags: int, follow: bool) -> None:
        os.setxattr(path, name, content(fill, length), flags, follow_symlinks=follow)

    def fsetxattr(self, slot: int, name: str, fill: int, length: int, flags: int) -> None:
        os.setxattr(self._fd(slot), name, content(fill, length), flags)

    def setacl(self, path: str, name: str, value: str) -> Blurred:
        os.setxattr(path, name, bytes.fromhex(value))
        return Blurred(self.stat(NO_SLOT, path, True).identity)

    def getxattr(self, path: str, name: str, follow: bool) -> bytes:
        return os.getxattr(path, name, follow_symlinks=follow)

    def listxattr(self, path: str, follow: bool) -> list[str]:
        return sorted(os.listxattr(path, follow_symlinks=follow))

    def removexattr(self, path: str, name: str, follow: bool) -> None:
        os.removexattr(path, name, follow_symlinks=follow)

    def removeacl(self, path: str, name: str) -> Blurred:
        os.removexattr(path, name)
        return Blurred(self.stat(NO_SLOT, path, True).identity)

    # --- locks and maps -----------------------------------------------------------------------------------------------

    def flock(self, slot: int, kind: str) -> None:
        fcntl.flock(self._fd(slot), _FLOCKS[kind] | fcntl.LOCK_NB)

    def lock(self, slot: int, family: str, kind: str, start: int, length: int) -> None:
        fcntl.fcntl(self._fd(slot), _LOCK_COMMANDS[family][0], _FLOCK.pack(_LOCKS[kind], os.SEEK_SET, start, length, 0))

    def getlock(self, slot: int, family: str, kind: str, start: int, length: int) -> bool:
        asked = _FLOCK.pack(_LOCKS[kind], os.SEEK_SET, start, length, 0)
        answer = fcntl.fcntl(self._fd(slot), _LOCK_COMMANDS[family][1], asked)
        return bool(_FLOCK.unpack(answer)[0] == fcntl.F_UNLCK)

    def map(self, slot: int, protection: str) -> None:
        bits, flags = _PROTECTIONS[protection]
        address = posix.mmap(self._fd(slot), MAP_BYTES, bits, flags)
        if slot in self._maps:
            posix.munmap(self._maps[slot][0], MAP_BYTES)
        self._maps[slot] = address, protection == "rw"

    def load(self, slot: int, offset: int, length: int) -> bytes | None:
        """None where no access is possible: no map, or past the file's last page (SIGBUS)."""
        return ctypes.string_at(self._maps[slot][0] + offset, length) if self._can_reach(slot, offset, length) else None

    def store(self, slot: int, offset: int, fill: int, length: int) -> Blurred | None:
        if not self._can_reach(slot, offset, length) or not self._maps[slot][1]:
            return None
        size = os.fstat(self._fd(slot)).st_size
        length = max(0, min(length, size - offset))  # what lies after the end is nobody's
        ctypes.memmove(self._maps[slot][0] + offset, content(fill, length), length)
        return Blurred(self.fstat(slot).identity)

    def _can_reach(self, slot: int, offset: int, length: int) -> bool:
        if slot not in self._maps or offset < 0 or offset + length > MAP_BYTES:
            return False
        size = os.fstat(self._fd(slot)).st_size
        return offset + length <= -(-size // mmap.PAGESIZE) * mmap.PAGESIZE

    def msync(self, slot: int) -> None:
        if slot in self._maps:
            posix.msync(self._maps[slot][0], MAP_BYTES)

    # --- everything ---------------------------------------------------------------------------------------------------

    def tree(self) -> list[Entry]:
        """All names below the working directory and all that can be seen of them."""
        found = [self._entry(".")]
        for directory, names, others in os.walk(b".", topdown=True):
            names.sort()
            found += [self._entry(os.fsdecode(os.path.join(directory, name))) for name in sorted([*names, *others])]
        return found

    def _entry(self, path: str) -> Entry:
        status = self.stat(NO_SLOT, path, False)
        detail: Any = None
        data: tuple[tuple[int, int], ...] = ()
        if stat.S_ISREG(status.mode):
            detail, data = _read_file(path)
        elif stat.S_ISLNK(status.mode):
            detail = os.readlink(path)
        elif stat.S_ISDIR(status.mode):
            detail = sorted(os.listdir(path))
        xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
        return Entry(path, status, detail, xattrs, data)


def _vectored(read: Callable[[list[bytearray]], int], *lengths: int) -> bytes:
    pieces = [bytearray(length) for length in lengths]
    count = read(pieces)
    return b"".join(pieces)[:count]


def _read_file(path: str) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """Its bytes, or the hash of those that are not zero, and where data is."""
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
    try:
        data = posix.data_ranges(fd)
        size = os.fstat(fd).st_size
        if size <= _SHOWN_BYTES_MAX:
            return os.pread(fd, size + 1, 0), data
        digest = hashlib.blake2b()
        for offset in range(0, size, _PIECE_BYTES):
            piece = os.pread(fd, _PIECE_BYTES, offset)
            if piece.count(0) != len(piece):
                digest.update(offset.to_bytes(8, "big") + piece)
        return digest.digest(), data
    finally:
        os.close(fd)


def serve(connection: Connection, *, with_handles: bool) -> None:
    """Do what is told until the other end closes."""
    os.setgroups([])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert soft == hard == resource.RLIM_INFINITY, "a file size limit would change results"
    actor = Actor(with_handles=with_handles)
    with suppress(EOFError):
        while True:
            match connection.recv():
                case str() as directory:
                    actor.begin(directory)
                    connection.send(None)
                case Call() as call:
                    connection.send(actor.perform(call))
