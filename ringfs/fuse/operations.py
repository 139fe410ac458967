"""What the mount answers to the kernel's requests: one short method per operation on client.file_system, for any driver.

No semantics live here, only the kernel's bookkeeping: handles, directory pages, and how long, and as which generation, the
kernel may keep an inode. Drivers translate their own types to and from what is here. Everything raises Refused.

The kernel's caches and other mounts. With the writeback cache the kernel trusts its own size and pages of an inode it
knows. When somebody else changed a file (Inode.content_version), the inode gets a new generation: the next lookup makes the
kernel take it for a new inode and forget what it cached (fs/fuse/dir.c, fuse_dentry_revalidate; inode.c, fuse_iget). An open
that notices it answers ESTALE, at which the VFS walks the path again with LOOKUP_REVAL and opens the new inode. An
inode that is open here cannot be exchanged: its pages are dropped at every open, and the kernel keeps its size, until it is
open no more.

The same way out serves a race within one mount: a lookup that was answered while the file was being written may be taken by
the kernel after it has written the file, closed it and evicted the inode, and then the old size would stay. So the size that
was told meanwhile is kept (Inode.size_told), and if it is not the last one, the file counts as changed when its writer is done.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ringfs.base.checksums import Buffer
from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, Changes, FileSystem, Handle
from ringfs.client.inodes import ABSENT, Inode
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import DirectoryEntry, FsFigures

#: Read-only attribute of the root: the absolute path of cluster.toml, for commands that are pointed at a mount.
CONFIG_XATTR = b"user.ringfs.config"
#: Cookies of "." and ".."; those of entries are greater.
_DOT, _DOT_DOT = 1, 2
_PAGE_ENTRIES = 512


@dataclass(slots=True)
class KernelEntry:
    """An inode as the kernel is told of it. Timeouts in seconds."""

    attributes: Attributes
    generation: int
    entry_timeout_s: float
    attr_timeout_s: float


@dataclass(slots=True)
class DirectoryHandle:
    """An open directory, and the page it was last read from."""

    number: int
    entries: list[DirectoryEntry] = field(default_factory=list)
    #: Cookie after which entries begin, and whether more follow them.
    after: int = 0
    more: bool = True


class Operations:
    """See the module."""

    def __init__(self, fs: FileSystem, config_path: str, *, entry_timeout_s: float, attr_timeout_s: float) -> None:
        self.fs = fs
        self._config_path = os.fsencode(config_path)
        self._entry_timeout_s = entry_timeout_s
        self._attr_timeout_s = attr_timeout_s
        self._handles: dict[int, Handle] = {}
        self._directories: dict[int, DirectoryHandle] = {}
        self._next_handle = 1
        #: (parent, name) and inode numbers that are being made or opened for writing right now.
        self._writers_coming: Counter[tuple[int, bytes] | int] = Counter()

    # --- entries and attributes -------------------------------------------------------------------------------------

    def _entry(self, inode: Inode) -> KernelEntry:
        """Tell the kernel of an inode, as a new one if what it may have cached of it is wrong."""
        is_known = inode.kernel_version >= 0
        if inode.content_version != inode.kernel_version and not (is_known and inode.open_count):
            if is_known:
                self.fs.inodes.renew_generation(inode)
            inode.kernel_version = inode.content_version
        return KernelEntry(inode.merged(), inode.generation, self._entry_timeout_s, self._attr_timeout_s)

    async def lookup(self, parent: int, name: bytes) -> KernelEntry:
        """LOOKUP."""
        inode = await self.fs.lookup(parent, name)
        self._note_size_told(inode, (parent, name))
        return self._entry(inode)

    def _note_size_told(self, inode: Inode, key: tuple[int, bytes]) -> None:
        """A lookup is about to tell the inode's size: remember it if that is being changed by a writer."""
        if inode.write_count or self._writers_coming[key] or self._writers_coming[inode.number]:
            inode.size_told = inode.merged().size_bytes

    def _writer_done(self, inode: Inode) -> None:
        """A descriptor that writes was closed: what was told meanwhile may be wrong now."""
        size_bytes = inode.merged().size_bytes
        if inode.size_told >= 0 and inode.size_told != size_bytes:
            inode.content_version += 1
            inode.size_told = size_bytes

    async def getattr(self, number: int) -> KernelEntry:
        """GETATTR."""
        inode = await self.fs.getattr(number)
        return KernelEntry(inode.merged(), inode.generation, self._entry_timeout_s, self._attr_timeout_s)

    async def setattr(self, number: int, changes: Changes) -> KernelEntry:
        """SETATTR."""
        inode = await self.fs.setattr(number, changes)
        return KernelEntry(inode.merged(), inode.generation, self._entry_timeout_s, self._attr_timeout_s)

    async def readlink(self, number: int) -> bytes:
        """READLINK."""
        return await self.fs.readlink(number)

    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> KernelEntry:
        """MKNOD."""
        return self._entry(await self.fs.mknod(parent, name, mode, rdev, caller))

    async def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> KernelEntry:
        """MKDIR."""
        return self._entry(await self.fs.mkdir(parent, name, mode, caller))

    async def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> KernelEntry:
        """SYMLINK."""
        return self._entry(await self.fs.symlink(parent, name, target, caller))

    async def link(self, number: int, parent: int, name: bytes) -> KernelEntry:
        """LINK."""
        return self._entry(await self.fs.link_to(number, parent, name))

    async def unlink(self, parent: int, name: bytes) -> None:
        """UNLINK."""
        await self.fs.unlink(parent, name)

    async def rmdir(self, parent: int, name: bytes) -> None:
        """RMDIR."""
        await self.fs.rmdir(parent, name)

    async def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        """RENAME2."""
        await self.fs.rename(parent, name, new_parent, new_name, flags)

    async def statfs(self) -> FsFigures:
        """STATFS."""
        return await self.fs.statfs()

    # --- files ------------------------------------------------------------------------------------------------------

    def _keep(self, handle: Handle) -> int:
        number = self._next_handle
        self._next_handle += 1
        self._handles[number] = handle
        return number

    async def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> tuple[int, KernelEntry]:
        """CREATE: the handle and the entry."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        exclusive = bool(flags & os.O_EXCL)
        with self._coming((parent, name), writes):
            handle = await self.fs.create(parent, name, stat.S_IFREG | mode, caller, writes=writes, exclusive=exclusive)
        if flags & os.O_TRUNC and handle.inode.attributes.size_bytes:
            await self.fs.setattr(handle.inode.number, Changes(size_bytes=0, privileged=caller.uid == 0))
        return self._keep(handle), self._entry(handle.inode)

    @contextmanager
    def _coming(self, key: tuple[int, bytes] | int, writes: bool) -> Iterator[None]:
        """While a writer is about to come."""
        self._writers_coming[key] += writes
        try:
            yield
        finally:
            self._writers_coming[key] -= writes
            if not self._writers_coming[key]:
                del self._writers_coming[key]

    async def open(self, number: int, flags: int, caller: Caller) -> tuple[int, bool]:
        """OPEN: the handle, and whether the kernel may keep the pages it has. Refused STALE: look it up again (see the module)."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        with self._coming(number, writes):
            handle = await self.fs.open(number, writes=writes)
        inode = handle.inode
        keep_pages = inode.content_version == inode.kernel_version
        if not keep_pages and inode.open_count == 1 and not inode.kernel_retries:
            inode.kernel_retries = True
            await self.fs.release(handle)
            raise Refused(Code.STALE, "changed by another mount")
        inode.kernel_retries = False
        if flags & os.O_TRUNC:
            await self.fs.setattr(number, Changes(size_bytes=0, privileged=caller.uid == 0))
        return self._keep(handle), keep_pages

    async def read(self, handle: int, offset: int, size_bytes: int) -> Buffer:
        """READ."""
        opened = self._handles[handle]
        found = self.fs.read_nowait(opened, offset, size_bytes)
        return found if found is not None else await self.fs.read(opened, offset, size_bytes)

    async def write(self, handle: int, offset: int, data: bytes) -> int:
        """WRITE."""
        return await self.fs.write(self._handles[handle], offset, data)

    async def flush(self, handle: int) -> None:
        """FLUSH (close of a descriptor): report what failed in the background; flush now if space is scarce."""
        opened = self._handles[handle]
        if opened.writes:
            if self.fs.is_space_scarce:
                await self.fs.fsync_inode(opened.inode)
            self._writer_done(opened.inode)
        self.fs.check_errors(opened)

    async def fsync(self, handle: int) -> None:
        """FSYNC."""
        await self.fs.fsync(self._handles[handle])

    async def release(self, handle: int) -> None:
        """RELEASE."""
        opened = self._handles.pop(handle)
        await self.fs.release(opened)
        if opened.writes:
            self._writer_done(opened.inode)
            if not opened.inode.write_count:
                opened.inode.size_told = -1

    # --- directories ------------------------------------------------------------------------------------------------

    async def opendir(self, number: int) -> int:
        """OPENDIR."""
        handle = self._next_handle
        self._next_handle += 1
        self._directories[handle] = DirectoryHandle(number)
        return handle

    async def readdir(self, handle: int, after: int) -> list[tuple[bytes, KernelEntry, int]]:
        """READDIR(PLUS): (name, entry, cookie to go on after) from a cookie on, at most a page; empty at the end."""
        opened = self._directories[handle]
        if after < _DOT_DOT:
            return await self._dots(opened, after)
        if after == _DOT_DOT or after < opened.after or (opened.entries and after > opened.entries[-1].cookie):
            opened.entries, opened.more = [], True
        while True:
            rest = [entry for entry in opened.entries if entry.cookie > after]
            directory = self.fs.inodes.leased(opened.number)
            told = [each for entry in rest if (each := self._listed(directory, entry)) is not None]
            if told or not opened.more:
                return told
            # Nothing of the page is left: an empty answer would be the end of the directory.
            after = rest[-1].cookie if rest else after
            page = await self.fs.readdir(opened.number, after, _PAGE_ENTRIES)
            opened.entries, opened.more, opened.after = page.entries, page.more, after

    async def _dots(self, opened: DirectoryHandle, after: int) -> list[tuple[bytes, KernelEntry, int]]:
        own = await self.getattr(opened.number)
        return [(name, own, cookie) for name, cookie in ((b".", _DOT), (b"..", _DOT_DOT)) if cookie > after]

    def _listed(self, directory: Inode | None, entry: DirectoryEntry) -> tuple[bytes, KernelEntry, int] | None:
        """An entry of a page as it is now; None if it has been removed since the page was read."""
        number = self.fs.inodes.find_name(directory, entry.name) if directory is not None else None
        if number == ABSENT:
            return None
        inode = self.fs.inodes.get(number or entry.attributes.inode)
        if inode is None or number is None:
            told = inode.merged() if inode is not None else entry.attributes
            return entry.name, KernelEntry(told, inode.generation if inode is not None else 0, 0.0, 0.0), entry.cookie
        if directory is not None:
            self._note_size_told(inode, (directory.number, entry.name))
        return entry.name, self._entry(inode), entry.cookie

    async def releasedir(self, handle: int) -> None:
        """RELEASEDIR."""
        del self._directories[handle]

    # --- extended attributes ----------------------------------------------------------------------------------------

    async def getxattr(self, number: int, name: bytes) -> bytes:
        """GETXATTR."""
        if name == CONFIG_XATTR and number == ROOT_INODE:
            return self._config_path
        return await self.fs.getxattr(number, name)

    async def listxattr(self, number: int) -> list[bytes]:
        """LISTXATTR."""
        return await self.fs.listxattr(number)

    async def setxattr(self, number: int, name: bytes, value: bytes, flags: int) -> None:
        """SETXATTR."""
        if name == CONFIG_XATTR:
            raise Refused(Code.NOT_PERMITTED)
        await self.fs.setxattr(number, name, value, flags)

    async def removexattr(self, number: int, name: bytes) -> None:
        """REMOVEXATTR."""
        if name == CONFIG_XATTR:
            raise Refused(Code.NOT_PERMITTED)
        await self.fs.removexattr(number, name)
