"""One method per request: its fields out of the body, the operation, the reply's bytes. The table of opcodes is opcodes.py.

A method returns the reply, in one piece or as head and payload, or None if it has sent it itself. It raises Refused.
"""

import os
import time
from collections.abc import Callable
from functools import partial

from ringfs.base.checksums import Buffer
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import FILE_BYTES_MAX
from ringfs.client.file_system import Changes
from ringfs.fuse.kernel import ioctls, wire
from ringfs.fuse.kernel.answers_now import OPEN_FLAGS, AnswersNow
from ringfs.fuse.kernel.callers import waits_for_file_lock
from ringfs.fuse.kernel.channel import Channel
from ringfs.fuse.kernel.requests import Request
from ringfs.fuse.operations import Operations
from ringfs.wire.messages.locks import LOCK_END, LOCK_NONE, LOCK_READ, LOCK_WRITE, SPACE_FILES, SPACE_RANGES, LockRange

Reply = bytes | tuple[bytes, Buffer] | None
#: Told of pages that may be wrong in the kernel: inode, start, length.
DropPages = Callable[[int, int, int], None]

_NS = 1_000_000_000


class Answers(AnswersNow):
    """See the module."""

    def __init__(self, operations: Operations, channel: Channel, drop_pages: DropPages) -> None:
        super().__init__(operations)
        self._channel = channel
        self._drop_pages = drop_pages
        #: Bytes before the name in SETXATTR: more with SETXATTR_EXT.
        self.setxattr_in_bytes = 8
        #: The kernel says which requests take suid and sgid away (HANDLE_KILLPRIV_V2).
        self.is_told_to_kill = False

    # --- names and attributes ---------------------------------------------------------------------------------------

    async def lookup(self, request: Request) -> Reply:
        """LOOKUP. Of a name that is not there the kernel may believe as long that there is none."""
        try:
            return wire.pack_entry(request.unique, await self._operations.lookup(request.node, request.name()))
        except Refused as refused:
            timeout_s = self._operations.name_timeout_s(request.node) if refused.code is Code.NOT_FOUND else 0.0
            if timeout_s:
                return wire.pack_absent(request.unique, timeout_s)
            raise

    async def getattr(self, request: Request) -> Reply:
        """GETATTR."""
        return wire.pack_attributes(request.unique, await self._operations.getattr(request.node))

    async def statx(self, request: Request) -> Reply:
        """STATX."""
        return wire.pack_statx(request.unique, await self._operations.getattr(request.node))

    async def setattr(self, request: Request) -> Reply:
        """SETATTR."""
        kills_privileges = self._kills_privileges(request, request.fields(wire.SETATTR_IN)[0] & wire.SETATTR_KILL_SUIDGID)
        changes = changes_of(request, privileged=not kills_privileges)
        return wire.pack_attributes(request.unique, await self._operations.setattr(request.node, changes))

    async def readlink(self, request: Request) -> Reply:
        """READLINK."""
        return self._payload(request, await self._operations.readlink(request.node))

    async def mknod(self, request: Request) -> Reply:
        """MKNOD."""
        mode, rdev, umask, _ = request.fields(wire.MKNOD_IN)
        made = self._operations.mknod(request.node, request.name(wire.MKNOD_IN.size), mode, rdev, request.caller(umask))
        return wire.pack_entry(request.unique, await made)

    async def mkdir(self, request: Request) -> Reply:
        """MKDIR."""
        mode, umask = request.fields(wire.MKDIR_IN)
        made = self._operations.mkdir(request.node, request.name(wire.MKDIR_IN.size), mode, request.caller(umask))
        return wire.pack_entry(request.unique, await made)

    async def symlink(self, request: Request) -> Reply:
        """SYMLINK."""
        name, target = request.names(0)
        made = self._operations.symlink(request.node, name, target, request.caller())
        return wire.pack_entry(request.unique, await made)

    async def link(self, request: Request) -> Reply:
        """LINK."""
        (number,) = request.fields(wire.LINK_IN)
        made = self._operations.link(number, request.node, request.name(wire.LINK_IN.size))
        return wire.pack_entry(request.unique, await made)

    async def unlink(self, request: Request) -> Reply:
        """UNLINK."""
        await self._operations.unlink(request.node, request.name())
        return wire.pack_error(request.unique, 0)

    async def rmdir(self, request: Request) -> Reply:
        """RMDIR."""
        await self._operations.rmdir(request.node, request.name())
        return wire.pack_error(request.unique, 0)

    async def rename(self, request: Request) -> Reply:
        """RENAME."""
        (new_parent,) = request.fields(wire.RENAME_IN)
        return await self._rename(request, new_parent, wire.RENAME_IN.size, 0)

    async def rename2(self, request: Request) -> Reply:
        """RENAME2."""
        new_parent, flags, _ = request.fields(wire.RENAME2_IN)
        return await self._rename(request, new_parent, wire.RENAME2_IN.size, flags)

    async def _rename(self, request: Request, new_parent: int, start: int, flags: int) -> Reply:
        name, new_name = request.names(start)
        await self._operations.rename(request.node, name, new_parent, new_name, flags)
        return wire.pack_error(request.unique, 0)

    async def statfs(self, request: Request) -> Reply:
        """STATFS."""
        return wire.pack_statfs(request.unique, await self._operations.statfs(request.node))

    # --- files ------------------------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Reply:
        """CREATE."""
        flags, mode, umask, more = request.fields(wire.CREATE_IN)
        name = request.name(wire.CREATE_IN.size)
        kills = self._kills_privileges(request, more & wire.OPEN_KILL_SUIDGID)
        made = self._operations.create(request.node, name, mode, flags, request.caller(umask), kills_privileges=kills)
        handle, told, caching = await made
        return wire.pack_create(request.unique, told, handle, OPEN_FLAGS[caching])

    async def tmpfile(self, request: Request) -> Reply:
        """TMPFILE."""
        flags, mode, umask, _ = request.fields(wire.CREATE_IN)
        handle, told, caching = await self._operations.tmpfile(request.node, mode, flags, request.caller(umask))
        return wire.pack_create(request.unique, told, handle, OPEN_FLAGS[caching])

    async def open(self, request: Request) -> Reply:
        """OPEN."""
        flags, more = request.fields(wire.OPEN_IN)
        kills = self._kills_privileges(request, more & wire.OPEN_KILL_SUIDGID)
        handle, caching = await self._operations.open(request.node, flags, kills_privileges=kills)
        return wire.pack_open(request.unique, handle, OPEN_FLAGS[caching])

    async def read(self, request: Request) -> Reply:
        """READ."""
        handle, offset, size_bytes, *_ = request.fields(wire.READ_IN)
        found = await self._operations.read(handle, offset, size_bytes)
        if not request.is_answered:
            self._channel.write_parts(wire.pack_head(request.unique, len(found)), found)
        if self._operations.is_page_unsure(handle):
            self._drop_pages(request.node, offset, size_bytes)
        return None

    async def write(self, request: Request) -> Reply:
        """WRITE."""
        handle, offset, size_bytes, how, _, flags, _ = request.fields(wire.WRITE_IN)
        if size_bytes != len(request.payload):
            raise Refused(Code.BAD_REQUEST, "the data is not as long as the request says")
        written = await self._operations.write(
            handle,
            offset,
            request.payload,
            appends=bool(flags & os.O_APPEND) and not how & wire.WRITE_CACHE,
            kills_privileges=bool(how & wire.WRITE_KILL_SUIDGID),
            is_of_pages=bool(how & wire.WRITE_CACHE),
        )
        if not request.is_answered:
            self._channel.write(wire.pack_written(request.unique, written))
        if self._operations.is_page_unsure(handle):
            self._drop_pages(request.node, offset, size_bytes)
        return None

    async def flush(self, request: Request) -> Reply:
        """FLUSH: with POSIX_LOCKS the kernel sends one for each close."""
        handle, _, _, owner = request.fields(wire.FLUSH_IN)
        await self._operations.flush(handle, owner)
        return wire.pack_error(request.unique, 0)

    async def fsync(self, request: Request) -> Reply:
        """FSYNC."""
        handle, *_ = request.fields(wire.FSYNC_IN)
        await self._operations.fsync(handle)
        return wire.pack_error(request.unique, 0)

    async def release(self, request: Request) -> Reply:
        """RELEASE."""
        handle, *_ = request.fields(wire.RELEASE_IN)
        await self._operations.release(handle)
        return wire.pack_error(request.unique, 0)

    # --- ranges -----------------------------------------------------------------------------------------------------

    async def fallocate(self, request: Request) -> Reply:
        """FALLOCATE."""
        handle, offset, length, mode, _ = request.fields(wire.FALLOCATE_IN)
        await self._operations.allocate(handle, mode, offset, length, request.caller())
        return wire.pack_error(request.unique, 0)

    async def lseek(self, request: Request) -> Reply:
        """LSEEK."""
        handle, offset, whence, _ = request.fields(wire.LSEEK_IN)
        return wire.pack_offset(request.unique, await self._operations.seek(handle, offset, whence))

    async def copy_file_range(self, request: Request) -> Reply:
        """COPY_FILE_RANGE. Its reply has no room for more than 4 GiB, which older kernels do not think of."""
        return wire.pack_written(request.unique, await self._copy_range(request, wire.COPIED_BYTES_MAX))

    async def copy_file_range_64(self, request: Request) -> Reply:
        """COPY_FILE_RANGE_64."""
        return wire.pack_offset(request.unique, await self._copy_range(request, FILE_BYTES_MAX))

    async def _copy_range(self, request: Request, length_max: int) -> int:
        source, source_offset, _, destination, destination_offset, length, flags = request.fields(wire.COPY_FILE_RANGE_IN)
        if flags:
            raise Refused(Code.INVALID, "flags of copy_file_range")
        length = min(length, length_max)
        places = source, source_offset, destination, destination_offset
        return await self._operations.copy_range(*places, length, request.caller())

    # --- locks ------------------------------------------------------------------------------------------------------

    async def getlk(self, request: Request) -> Reply:
        """GETLK."""
        _, lock = lock_of(request)
        found = await self._operations.getlk(lock)
        return wire.pack_lock(request.unique, found.start, found.end, found.kind, found.pid)

    async def setlk(self, request: Request) -> Reply:
        """SETLK: at once, or not at all."""
        handle, lock = lock_of(request)
        await self._operations.setlk(handle, lock)
        return wire.pack_error(request.unique, 0)

    async def setlkw(self, request: Request) -> Reply:
        """SETLKW."""
        handle, lock = lock_of(request)
        await self._operations.setlkw(handle, lock, partial(waits_for_file_lock, request.pid))
        return wire.pack_error(request.unique, 0)

    # --- directories ------------------------------------------------------------------------------------------------

    async def opendir(self, request: Request) -> Reply:
        """OPENDIR. The kernel keeps the listing, and uses it as long as the directory has the mtime that it had then."""
        flags = wire.FOPEN_CACHE_DIR | wire.FOPEN_KEEP_CACHE
        return wire.pack_open(request.unique, await self._operations.directories.opendir(request.node), flags)

    async def readdir(self, request: Request) -> Reply:
        """READDIR."""
        return await self._readdir(request, plus=False)

    async def readdirplus(self, request: Request) -> Reply:
        """READDIRPLUS."""
        return await self._readdir(request, plus=True)

    async def _readdir(self, request: Request, *, plus: bool) -> Reply:
        handle, after, size_bytes, *_ = request.fields(wire.READ_IN)
        entries = await self._operations.directories.readdir(handle, after)
        return self._payload(request, wire.pack_directory(entries, size_bytes, plus=plus))

    async def releasedir(self, request: Request) -> Reply:
        """RELEASEDIR."""
        handle, *_ = request.fields(wire.RELEASE_IN)
        await self._operations.directories.releasedir(handle)
        return wire.pack_error(request.unique, 0)

    async def fsyncdir(self, request: Request) -> Reply:
        """FSYNCDIR."""
        await self._operations.directories.fsyncdir(request.node)
        return wire.pack_error(request.unique, 0)

    async def syncfs(self, request: Request) -> Reply:
        """SYNCFS."""
        await self._operations.fs.sync()
        return wire.pack_error(request.unique, 0)

    async def ioctl(self, request: Request) -> Reply:
        """IOCTL."""
        return await ioctls.answer(self._operations, request)

    # --- extended attributes ----------------------------------------------------------------------------------------

    async def getxattr(self, request: Request) -> Reply:
        """GETXATTR."""
        size_bytes, _ = request.fields(wire.GETXATTR_IN)
        value = await self._operations.getxattr(request.node, request.name(wire.GETXATTR_IN.size))
        return self._sized(request, value, size_bytes)

    async def listxattr(self, request: Request) -> Reply:
        """LISTXATTR."""
        size_bytes, _ = request.fields(wire.GETXATTR_IN)
        names = await self._operations.listxattr(request.node, request.caller())
        return self._sized(request, b"".join(name + b"\0" for name in names), size_bytes)

    async def setxattr(self, request: Request) -> Reply:
        """SETXATTR."""
        # The shorter, older structure is the beginning of the longer one; the name comes after whichever it is.
        size_bytes, flags = request.fields(wire.GETXATTR_IN)
        is_extended = self.setxattr_in_bytes == wire.SETXATTR_IN.size
        more = request.fields(wire.SETXATTR_IN)[2] if is_extended else 0
        name = request.name(self.setxattr_in_bytes)
        start = self.setxattr_in_bytes + len(name) + 1
        value = request.body[start : start + size_bytes]
        if len(value) != size_bytes:
            raise Refused(Code.BAD_REQUEST, "the value is not as long as the request says")
        kill_sgid = bool(more & wire.SETXATTR_ACL_KILL_SGID)
        await self._operations.setxattr(request.node, name, value, flags, kill_sgid=kill_sgid)
        return wire.pack_error(request.unique, 0)

    async def removexattr(self, request: Request) -> Reply:
        """REMOVEXATTR."""
        await self._operations.removexattr(request.node, request.name())
        return wire.pack_error(request.unique, 0)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _kills_privileges(self, request: Request, told: int) -> bool:
        """Whether suid and sgid go with a truncate: as the kernel tells, which knows who has CAP_FSETID."""
        return bool(told) if self.is_told_to_kill else request.uid != 0

    def _payload(self, request: Request, payload: Buffer) -> Reply:
        return wire.pack_head(request.unique, len(payload)), payload

    def _sized(self, request: Request, value: bytes, size_bytes: int) -> Reply:
        """A value, or how long it is if no room was offered. Refused RANGE if the room is too small."""
        if not size_bytes:
            return wire.pack_xattr_size(request.unique, len(value))
        if len(value) > size_bytes:
            raise Refused(Code.RANGE)
        return self._payload(request, value)


def lock_of(request: Request) -> tuple[int, LockRange]:
    """The handle and the lock of a GETLK or SETLK. The kernel's kinds are ours. Refused INVALID."""
    handle, owner, start, end, kind, pid, flags, _ = request.fields(wire.LK_IN)
    if kind not in (LOCK_READ, LOCK_WRITE, LOCK_NONE) or not start <= end <= LOCK_END:
        raise Refused(Code.INVALID, f"lock kind {kind}, {start}…{end}")
    space = SPACE_FILES if flags & wire.LK_FLOCK else SPACE_RANGES
    return handle, LockRange(request.node, space, owner, kind, start, end, pid)


def changes_of(request: Request, *, privileged: bool) -> Changes:
    """What SETATTR asks for. "Now" is by our clock, as the times of writes are: the kernel's runs behind by a tick."""
    fields = request.fields(wire.SETATTR_IN)
    valid, _, _, size, _, atime_s, mtime_s, ctime_s, atime_ns, mtime_ns, ctime_ns, mode, _, uid, gid, _ = fields
    now_ns = time.time_ns()
    atime = now_ns if valid & wire.SETATTR_ATIME_NOW else atime_s * _NS + atime_ns
    mtime = now_ns if valid & wire.SETATTR_MTIME_NOW else mtime_s * _NS + mtime_ns
    return Changes(
        mode=mode & 0o7777 if valid & wire.SETATTR_MODE else None,
        uid=uid if valid & wire.SETATTR_UID else None,
        gid=gid if valid & wire.SETATTR_GID else None,
        size_bytes=size if valid & wire.SETATTR_SIZE else None,
        atime_ns=atime if valid & wire.SETATTR_ATIME else None,
        mtime_ns=mtime if valid & wire.SETATTR_MTIME else None,
        ctime_ns=ctime_s * _NS + ctime_ns if valid & wire.SETATTR_CTIME else None,
        privileged=privileged,
        is_touch=bool(valid & (wire.SETATTR_ATIME_NOW | wire.SETATTR_MTIME_NOW)),
    )
