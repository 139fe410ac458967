"""What the mount answers to the kernel's requests: one short method per operation on client.file_system, for any driver.

No semantics live here, only the kernel's bookkeeping: handles, directory pages, and how long the kernel may believe what it is
told. Drivers translate their own types to and from what is here. Everything raises Refused.

The kernel's caches are covered by leases. While an inode is leased, the kernel may believe its attributes, and of a directory
its names, for ever: a recall takes them back before it is confirmed (client/coherence.py: KernelCache). Attributes of a file with
dirty bytes may change by themselves when those are committed: they are believed if it is known what they will be then
(client/inodes.py: stays_as_merged); if bytes are given up after all, they are taken back. What is not leased is not believed, and
a file that is not is opened past the page cache. Pages that get into it through a handle from before are to be dropped after the
answer (`is_page_unsure`). There is no writeback cache: what was written is here, so sizes and times are decided here.
"""

import json
import os
import stat
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from ringfs.base.checksums import Buffer
from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, Changes, FileSystem, Handle
from ringfs.client.inodes import Inode
from ringfs.client.locks import IsOfFile
from ringfs.fuse.at_once import AtOnce, Caching, Timeouts
from ringfs.fuse.directories import Directories
from ringfs.fuse.entry import KernelEntry
from ringfs.wire.messages.locks import LockFound, LockRange
from ringfs.wire.messages.queries import FsFigures

#: Read-only attributes of the root, not listed: the absolute path of cluster.toml, for commands that are pointed at a mount;
#: how many requests of each name came, as JSON, for tools/fuse_trace.py.
CONFIG_XATTR = b"user.ringfs.config"
REQUESTS_XATTR = b"user.ringfs.requests"
_VIRTUAL_XATTRS = (CONFIG_XATTR, REQUESTS_XATTR)
_TRUSTED = b"trusted."


class Operations(AtOnce):
    """See the module."""

    def __init__(self, fs: FileSystem, config_path: str, timeouts: Timeouts) -> None:
        super().__init__(fs, timeouts)
        self._config_path = os.fsencode(config_path)
        self.directories = Directories(fs, self.getattr, self.looking_up)
        #: Requests by name since the mount, if the driver counts them.
        self.count_requests: Callable[[], dict[str, int]] = dict

    # --- entries and attributes -------------------------------------------------------------------------------------

    async def lookup(self, parent: int, name: bytes) -> KernelEntry:
        """LOOKUP."""
        inode = await self.fs.lookup(parent, name)
        await self._settled(inode.number)
        return self.looking_up(parent)(inode)

    async def getattr(self, number: int) -> KernelEntry:
        """GETATTR, STATX."""
        inode = await self.fs.getattr(number)
        await self._settled(number)
        return KernelEntry(inode.merged(), 0.0, self._attr_timeout_s(inode))

    async def setattr(self, number: int, changes: Changes) -> KernelEntry:
        """SETATTR."""
        inode = await self.fs.setattr(number, changes)
        return KernelEntry(inode.merged(), 0.0, self._attr_timeout_s(inode))

    async def readlink(self, number: int) -> bytes:
        """READLINK."""
        return await self.fs.readlink(number)

    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> KernelEntry:
        """MKNOD."""
        return self._entry(parent, await self.fs.mknod(parent, name, mode, rdev, caller))

    async def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> KernelEntry:
        """MKDIR."""
        return self._entry(parent, await self.fs.mkdir(parent, name, mode, caller))

    async def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> KernelEntry:
        """SYMLINK."""
        return self._entry(parent, await self.fs.symlink(parent, name, target, caller))

    async def link(self, number: int, parent: int, name: bytes) -> KernelEntry:
        """LINK."""
        return self._entry(parent, await self.fs.link_to(number, parent, name))

    async def unlink(self, parent: int, name: bytes) -> None:
        """UNLINK."""
        await self.fs.unlink(parent, name)

    async def rmdir(self, parent: int, name: bytes) -> None:
        """RMDIR."""
        await self.fs.rmdir(parent, name)

    async def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        """RENAME2."""
        await self.fs.rename(parent, name, new_parent, new_name, flags)

    async def statfs(self, number: int) -> FsFigures:
        """STATFS."""
        return await self.fs.statfs(number)

    # --- files ------------------------------------------------------------------------------------------------------

    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, caller: Caller, *, kills_privileges: bool = True
    ) -> tuple[int, KernelEntry, Caching]:
        """CREATE: the handle, the entry, and what becomes of cached pages. kills_privileges: as in open."""
        handle = await self.fs.create(
            parent,
            name,
            stat.S_IFREG | mode,
            caller,
            writes=flags & os.O_ACCMODE != os.O_RDONLY,
            exclusive=bool(flags & os.O_EXCL),
        )
        if flags & os.O_TRUNC and handle.inode.attributes.size_bytes:
            await self._truncate(handle, kills_privileges)
        number, caching = self._opened(handle, flags)
        return number, self._entry(parent, handle.inode), caching

    async def tmpfile(self, parent: int, mode: int, flags: int, caller: Caller) -> tuple[int, KernelEntry, Caching]:
        """TMPFILE: as create."""
        is_linkable = not flags & os.O_EXCL
        handle = await self.fs.tmpfile(parent, stat.S_IFREG | mode, caller, is_linkable=is_linkable)
        number, caching = self._opened(handle, flags)
        return number, self._entry(parent, handle.inode), caching

    async def open(self, number: int, flags: int, *, kills_privileges: bool = True) -> tuple[int, Caching]:
        """OPEN: the handle, and what becomes of cached pages. kills_privileges: O_TRUNC takes suid and sgid away, for the caller
        has no CAP_FSETID."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        handle = await self.fs.open(number, writes=writes, appends=bool(flags & os.O_APPEND))
        handle.keeps_atime = bool(flags & os.O_NOATIME)
        if flags & os.O_TRUNC:
            await self._truncate(handle, kills_privileges)
        return self._opened(handle, flags)

    async def _truncate(self, handle: Handle, kills_privileges: bool) -> None:
        """O_TRUNC. If that is refused, there is no handle."""
        try:
            await self.fs.setattr(handle.inode.number, Changes(size_bytes=0, privileged=not kills_privileges))
        except BaseException:
            await self.fs.release(handle)
            raise

    async def read(self, handle: int, offset: int, size_bytes: int) -> Buffer:
        """READ."""
        return await self.fs.read(self._handles[handle].handle, offset, size_bytes)

    async def write(
        self,
        handle: int,
        offset: int,
        data: bytes | memoryview,
        *,
        appends: bool = False,
        kills_privileges: bool = True,
        is_of_pages: bool = False,
    ) -> int:
        """WRITE. Of data nothing is kept that is shorter than dirty.KEPT_BYTES_MIN; longer data must not change afterwards.

        appends: O_APPEND holds for this write. That its handle was opened so does not say it: pages of a map are written through
        any handle of the inode, each to where it belongs; and fcntl(2) may have changed the flag.
        is_of_pages: it is what the kernel's page cache holds. If not, and the handle writes past the page cache, that is made to
        forget the file first: a last page, read while the file ended in it, would show zeros where there are bytes now.
        """
        write = partial(
            self.fs.write, self._handles[handle].handle, offset, data, appends=appends, kills_privileges=kills_privileges
        )
        if not is_of_pages and self.is_beside_pages(handle):
            return await self._write_beside(self._handles[handle].handle.inode, write)
        return await write()

    async def _write_beside(self, inode: Inode, write: Callable[[], Awaitable[int]]) -> int:
        """A write past the page cache, through which others read. No size that it makes is told before the kernel has dropped its
        pages: then it would show the zeros after the end in a page as bytes of the file."""
        while (other := self._settling.get(inode.number)) is not None:
            await other.wait()
        settled = self._settling[inode.number] = trio.Event()
        try:
            written = await write()
            await self.fs.drop_from_kernel(inode)
            return written
        finally:
            del self._settling[inode.number]
            settled.set()

    async def _settled(self, number: int) -> None:
        """Wait until the size of an inode may be told."""
        while (settling := self._settling.get(number)) is not None:
            await settling.wait()

    def is_beside_pages(self, handle: int) -> bool:
        """Whether a handle goes past the page cache while others read through it. If nobody does, the next who opens the file has
        what is left in it dropped."""
        opened = self._handles.get(handle)
        if opened is None or opened.is_cached:
            return False
        inode = opened.handle.inode
        inode.kernel_version = -1
        return self._cached_counts[inode.number] > 0

    def is_page_unsure(self, handle: int) -> bool:
        """Whether what was just read or written is in the kernel's page cache, and no lease says when it is wrong."""
        opened = self._handles.get(handle)
        return opened is not None and opened.is_cached and not self.fs.link.holds(opened.handle.inode.lease_epoch)

    def inode_of(self, handle: int) -> int:
        """The number of the inode that a handle is of."""
        return self._handles[handle].handle.inode.number

    async def flush(self, handle: int, owner: int = 0) -> None:
        """FLUSH (close of a descriptor): give back all fcntl locks that the owner has in the file, report what failed in the
        background; flush now if space is scarce."""
        opened = self._handles[handle].handle
        await self.fs.locks.release_owner(opened.inode, owner)
        if opened.writes and await self.fs.space.must_flush(opened.inode):
            await self.fs.fsync_inode(opened.inode)
        self.fs.check_errors(opened)

    async def fsync(self, handle: int) -> None:
        """FSYNC."""
        await self.fs.fsync(self._handles[handle].handle)

    async def release(self, handle: int) -> None:
        """RELEASE."""
        await self.fs.release(self._let_go(handle))

    # --- ranges -----------------------------------------------------------------------------------------------------

    async def allocate(self, handle: int, mode: int, offset: int, length: int, caller: Caller) -> None:
        """FALLOCATE. The kernel drops its pages of what becomes a hole."""
        await self.fs.ranges.allocate(self._handles[handle].handle, mode, offset, length, privileged=caller.uid == 0)

    async def seek(self, handle: int, offset: int, whence: int) -> int:
        """LSEEK: SEEK_DATA, SEEK_HOLE; the kernel does the others."""
        return await self.fs.ranges.seek(self._handles[handle].handle, offset, whence)

    async def copy_range(
        self, source: int, source_offset: int, destination: int, destination_offset: int, length: int, caller: Caller
    ) -> int:
        """COPY_FILE_RANGE: how many bytes. The kernel drops its pages of the destination's range."""
        from_handle, to_handle = self._handles[source].handle, self._handles[destination].handle
        places = from_handle, source_offset, to_handle, destination_offset
        return await self.fs.ranges.copy(*places, length, privileged=caller.uid == 0)

    # --- locks ------------------------------------------------------------------------------------------------------

    async def getlk(self, lock: LockRange) -> LockFound:
        """GETLK."""
        return await self.fs.locks.get(lock)

    async def setlk(self, handle: int, lock: LockRange) -> None:
        """SETLK: at once, or not at all."""
        await self.fs.locks.set(self._handles[handle].handle, lock, wait=False)

    async def setlkw(self, handle: int, lock: LockRange, is_of_file: IsOfFile) -> None:
        """SETLKW. is_of_file: whether the owner is an open file, see Locks.set."""
        await self.fs.locks.set(self._handles[handle].handle, lock, wait=True, is_of_file=is_of_file)

    # --- flags ------------------------------------------------------------------------------------------------------

    async def get_flags(self, number: int) -> int:
        """IOCTL: FS_IOC_GETFLAGS."""
        return (await self.fs.getattr(number)).attributes.flags

    async def set_flags(self, number: int, flags: int, caller: Caller) -> None:
        """IOCTL: FS_IOC_SETFLAGS."""
        await self.fs.protection.set_flags(await self.fs.getattr(number), flags, is_privileged=caller.uid == 0)

    # --- extended attributes ----------------------------------------------------------------------------------------

    async def getxattr(self, number: int, name: bytes) -> bytes:
        """GETXATTR."""
        if name == CONFIG_XATTR and number == ROOT_INODE:
            return self._config_path
        if name == REQUESTS_XATTR and number == ROOT_INODE:
            return json.dumps(self.count_requests()).encode()
        return await self.fs.getxattr(number, name)

    async def listxattr(self, number: int, caller: Caller) -> list[bytes]:
        """LISTXATTR. The kernel lets none but root read trusted attributes; others do not learn their names either (xattr(7))."""
        names = await self.fs.listxattr(number)
        return names if caller.uid == 0 else [name for name in names if not name.startswith(_TRUSTED)]

    async def setxattr(self, number: int, name: bytes, value: bytes, flags: int, *, kill_sgid: bool = False) -> None:
        """SETXATTR."""
        if name in _VIRTUAL_XATTRS:
            raise Refused(Code.NOT_PERMITTED)
        await self.fs.setxattr(number, name, value, flags, kill_sgid=kill_sgid)

    async def removexattr(self, number: int, name: bytes) -> None:
        """REMOVEXATTR."""
        if name in _VIRTUAL_XATTRS:
            raise Refused(Code.NOT_PERMITTED)
        await self.fs.removexattr(number, name)
