"""The file system as a library: a complete asynchronous POSIX file system over inode numbers, usable with no mount.

What an operation means is decided in the metadata service's transactions; here is when a question need not be asked
(leases), and how bytes get in and out. Permissions are the kernel's business, or the embedding program's.
"""

import contextlib
from dataclasses import dataclass, field, replace

import trio

from ringfs.base.checksums import Buffer
from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import FILE_BYTES_MAX, NAME_BYTES_MAX, PAGE_ENTRIES_MAX
from ringfs.client.appender import Appender
from ringfs.client.coherence import Coherence
from ringfs.client.inodes import ABSENT, Inode, InodeTable
from ringfs.client.later import Later
from ringfs.client.locks import Locks
from ringfs.client.metadata import MetadataLink
from ringfs.client.ranges import Ranges, nothing_on_its_way
from ringfs.client.reader import OnRead, Reader, Stream
from ringfs.client.writer import Writer
from ringfs.meta.namespace.xattrs import check_name
from ringfs.wire.messages import namespace as ns
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.files import Tmpfile
from ringfs.wire.messages.session import OPEN_READ, OPEN_WRITE, Open, Opened

_SUID_SGID = 0o6000
#: Less free space than this is scarce; how often we ask.
_SCARCE_BYTES = 1 << 30
_SPACE_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf something is made."""

    uid: int = 0
    gid: int = 0
    umask: int = 0


@dataclass(slots=True)
class Changes:
    """What setattr is asked to change; None: leave it. Times in ns."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    #: The caller may keep suid and sgid bits through chown and truncate (CAP_FSETID).
    privileged: bool = False

    @property
    def names_times(self) -> bool:
        """Times are to change."""
        return any(time_ns is not None for time_ns in (self.atime_ns, self.mtime_ns, self.ctime_ns))

    @property
    def can_wait(self) -> bool:
        """Nothing but times is to change, to what can travel with a commit: none before 1970."""
        others = (self.mode, self.uid, self.gid, self.size_bytes)
        return all(value is None for value in others) and min(self.atime_ns or 0, self.mtime_ns or 0, self.ctime_ns or 0) >= 0


@dataclass(slots=True, eq=False)
class Handle:
    """An open file."""

    inode: Inode
    writes: bool
    appends: bool = False
    #: Of inode.error_count: errors up to here were reported through this handle.
    errors_seen: int = 0
    #: See locks.Lockable.
    locked_under: int = 0
    stream: Stream = field(default_factory=Stream)


class FileSystem:
    """One client's view. Every method raises Refused for what POSIX calls an error."""

    def __init__(
        self,
        link: MetadataLink,
        inodes: InodeTable,
        reader: Reader,
        writer: Writer,
        coherence: Coherence,
        locks: Locks,
        appender: Appender,
        clock: Clock,
    ) -> None:
        self.link = link
        self.inodes = inodes
        self.reader = reader
        self.writer = writer
        self._coherence = coherence
        #: flock's and fcntl's.
        self.locks = locks
        self._appender = appender
        self._clock = clock
        #: fallocate, SEEK_DATA and SEEK_HOLE, copies by reference, clones.
        self.ranges = Ranges(self, coherence)
        self._ask = coherence.ask
        #: So little is free that what is written should be flushed before a close is answered, for ENOSPC to be seen in time.
        self.is_space_scarce = False
        #: Some directory of the cluster has a quota.
        self._has_quotas = False

    # --- names ------------------------------------------------------------------------------------------------------

    async def lookup(self, parent: int, name: bytes) -> Inode:
        """The inode that name stands for. Refused NOT_FOUND, NOT_DIRECTORY, STALE, NAME_TOO_LONG."""
        if len(name) > NAME_BYTES_MAX:
            raise Refused(Code.NAME_TOO_LONG)
        if name == b".":
            # Of any inode, not only of directories: so the kernel asks for what a file handle says (open_by_handle_at).
            return await self.getattr(parent)
        known = self.inodes.get(parent)
        if known is not None and known.is_removed_directory:
            raise Refused(Code.NOT_FOUND)
        directory = self.inodes.leased(parent) if name != b".." else None
        if directory is not None:
            number = self.inodes.find_name(directory, name)
            if number == ABSENT:
                raise Refused(Code.NOT_FOUND)
            child = self.inodes.leased(number) if number else None
            if child is not None:
                return child
        entry, epoch = await self._ask(ns.Lookup(parent, name))
        directory = self.inodes.absorb(entry.parent, epoch if entry.parent_leased else 0, own=False)
        current = directory.attributes.change == entry.parent.change
        if entry.attributes is None:
            if current:
                self.inodes.set_name(directory, name, ABSENT)
            raise Refused(Code.NOT_FOUND)
        child = self.inodes.absorb(entry.attributes, epoch if entry.leased else 0, own=False)
        if current and name != b"..":
            self.inodes.set_name(directory, name, child.number)
        return child

    async def getattr(self, number: int) -> Inode:
        """The inode with attributes that are right now. Refused STALE."""
        inode = self.inodes.leased(number)
        if inode is not None:
            return inode
        inode = self.inodes.get(number)
        if inode is not None and inode.is_removed_directory:
            return inode
        opened, epoch = await self._ask(ns.GetAttributes(number))
        return self.inodes.absorb(opened.attributes, epoch if opened.leased else 0, own=False)

    def made(self, parent: int, name: bytes, entry: ns.Entry, epoch: int) -> Inode:
        """Take over what a transaction made under a name."""
        assert entry.attributes is not None
        self.inodes.absorb(entry.parent, epoch if entry.parent_leased else 0, own=True)
        child = self.inodes.absorb(entry.attributes, epoch if entry.leased else 0, own=True)
        self._renamed(entry.parent, name, child.number)
        return child

    def _renamed(self, parent: Attributes, name: bytes, number: int) -> None:
        """A transaction, which left the directory with those attributes, made name stand for number, or ABSENT."""
        directory = self.inodes.absorb(parent, 0, own=True)
        if directory.attributes.change == parent.change:
            self.inodes.set_name(directory, name, number)
        else:
            # Another one of ours, which came after it, was answered first: it may have been about the same name.
            self.inodes.forget_name(directory, name)

    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> Inode:
        """Make a file that is not opened."""
        operation = ns.Mknod(parent, name, mode, rdev, caller.uid, caller.gid, caller.umask, 0, True)
        entry, epoch = await self._coherence.change(operation)
        return self.made(parent, name, entry, epoch)

    async def create(
        self, parent: int, name: bytes, mode: int, caller: Caller, *, writes: bool, exclusive: bool, appends: bool = False
    ) -> Handle:
        """Make a regular file and open it; if it exists and exclusive is false, open that."""
        open_mode = OPEN_WRITE if writes else OPEN_READ
        operation = ns.Mknod(parent, name, mode, 0, caller.uid, caller.gid, caller.umask, open_mode, exclusive)
        closes_told = self._coherence.closes_told
        entry, epoch = await self._coherence.change(operation)
        inode = self.made(parent, name, entry, epoch)
        if self._coherence.closes_told != closes_told:
            # One may have been of this inode, and have come after it was opened.
            self.link.tell(Open(inode.number, open_mode))
        inode.server_mode = max(inode.server_mode, open_mode)
        return self._handle(inode, writes=writes, appends=appends)

    async def tmpfile(self, parent: int, mode: int, caller: Caller, *, is_linkable: bool) -> Handle:
        """Make and open a regular file without a name; link_to may give it one if is_linkable."""
        operation = Tmpfile(parent, mode, caller.uid, caller.gid, caller.umask, OPEN_WRITE, is_linkable)
        entry, epoch = await self._coherence.change(operation)
        inode = self.inodes.absorb(entry.attributes, epoch if entry.leased else 0, own=True)
        inode.server_mode = OPEN_WRITE
        return self._handle(inode, writes=True, appends=False)

    async def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> Inode:
        """Make a directory."""
        operation = ns.Mkdir(parent, name, mode, caller.uid, caller.gid, caller.umask)
        entry, epoch = await self._coherence.change(operation)
        made = self.made(parent, name, entry, epoch)
        made.complete = made.attributes == entry.attributes
        return made

    async def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Inode:
        """Make a symbolic link."""
        entry, epoch = await self._coherence.change(ns.Symlink(parent, name, target, caller.uid, caller.gid))
        made = self.made(parent, name, entry, epoch)
        made.target = target
        return made

    async def link_to(self, number: int, parent: int, name: bytes) -> Inode:
        """Give an inode another name."""
        entry, epoch = await self._coherence.change(ns.Link(number, parent, name))
        return self.made(parent, name, entry, epoch)

    async def unlink(self, parent: int, name: bytes) -> Inode | None:
        """Remove the name of something that is no directory. The inode, if it is still open here."""
        return await self._removed(parent, name, ns.Unlink(parent, name))

    async def rmdir(self, parent: int, name: bytes) -> Inode | None:
        """Remove an empty directory."""
        return await self._removed(parent, name, ns.Rmdir(parent, name))

    async def _removed(self, parent: int, name: bytes, operation: ns.Unlink | ns.Rmdir) -> Inode | None:
        removed, _ = await self._coherence.change(operation)
        self._renamed(removed.parent, name, ABSENT)
        return self._gone(removed.removed)

    def _gone(self, attributes: Attributes) -> Inode | None:
        """A name of it was removed; if that was the last one and nobody has it open here, forget it, unless bytes of it are dirty:
        somebody else may have it open. (If nobody has, their commit is refused, and that is the end of them.)"""
        inode = self.inodes.get(attributes.inode)
        if inode is None:
            return None
        if attributes.change >= inode.attributes.change:
            inode.attributes = attributes
        if inode.is_removed_directory:
            # It may be open, or somebody's working directory: it stays what it is, empty and without a name.
            self.inodes.forget_cached(inode)
        elif attributes.links == 0 and inode.open_count == 0:
            self.inodes.drop(inode.number)
            return None
        return inode

    async def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        """renameat2(2)."""
        renamed, _ = await self._coherence.change(ns.Rename(parent, name, new_parent, new_name, flags))
        self.inodes.absorb(renamed.moved, 0, own=True)
        if renamed.other is not None and renamed.other.inode == renamed.moved.inode:
            # Both names stand for one inode, and go on doing so.
            return
        exchanged = renamed.other is not None and flags & ns.RENAME_EXCHANGE
        if renamed.other is not None and exchanged:
            self.inodes.absorb(renamed.other, 0, own=True)
        self._renamed(renamed.parent, name, renamed.other.inode if renamed.other is not None and exchanged else ABSENT)
        if flags & ns.RENAME_WHITEOUT:
            self.inodes.forget_name(self.inodes.absorb(renamed.parent, 0, own=True), name)
        self._renamed(renamed.new_parent, new_name, renamed.moved.inode)
        if renamed.other is not None and not exchanged:
            self._gone(renamed.other)

    async def readlink(self, number: int) -> bytes:
        """The target of a symbolic link."""
        inode = self.inodes.get(number)
        if inode is not None and inode.target is not None:
            return inode.target
        answer, _ = await self._ask(ns.ReadLink(number))
        if inode is not None:
            inode.target = answer.target
        target: bytes = answer.target
        return target

    async def readdir(self, number: int, after: int, limit: int) -> ns.DirectoryPage:
        """Entries after a cookie, with attributes; what is dirty here is not merged in: ask inodes.get(…).merged()."""
        known = self.inodes.get(number)
        if known is not None and known.is_removed_directory:
            return ns.DirectoryPage(known.attributes, [], False, False)
        page: ns.DirectoryPage
        page, epoch = await self._ask(ns.ReadDirectory(number, after, min(limit, PAGE_ENTRIES_MAX)))
        directory = self.inodes.absorb(page.directory, epoch if page.leased else 0, own=False)
        current = directory.attributes.change == page.directory.change
        for entry in page.entries:
            self.inodes.absorb(entry.attributes, epoch if entry.leased else 0, own=False)
            if current:
                self.inodes.set_name(directory, entry.name, entry.attributes.inode)
        return page

    # --- attributes -------------------------------------------------------------------------------------------------

    async def setattr(self, number: int, changes: Changes) -> Inode:
        """Change attributes; of a file that is being written here, times travel with the next commit."""
        inode = self.inodes.get(number)
        if inode is not None and inode.is_removed_directory:
            self._set_removed(inode, changes)
            return inode
        if inode is not None and changes.can_wait and (inode.write_count or inode.dirty or inode.times):
            self._set_times(inode, changes)
            return inode
        if changes.size_bytes is not None:
            if changes.size_bytes > FILE_BYTES_MAX:
                raise Refused(Code.FILE_TOO_BIG)
            return await self._truncate(inode or await self.getattr(number), changes)
        if inode is not None and (inode.times or inode.dirty.flights) and changes.names_times:
            # Older times must not come after these.
            await self.writer.flush([inode])
        attributes, _ = await self._coherence.change(_setattr(number, changes))
        return self._attributes_set(attributes)

    def _attributes_set(self, attributes: Attributes) -> Inode:
        """A Setattr went through: it may have changed an ACL or taken capabilities away with it."""
        inode = self.inodes.absorb(attributes, 0, own=True)
        inode.xattrs.clear()
        return inode

    def _set_removed(self, inode: Inode, changes: Changes) -> None:
        """The service has forgotten the directory, and nobody else can see what becomes of it: it is changed here alone."""
        known = inode.attributes
        inode.attributes = replace(
            known,
            mode=known.mode if changes.mode is None else known.mode & ~0o7777 | changes.mode & 0o7777,
            uid=known.uid if changes.uid is None else changes.uid,
            gid=known.gid if changes.gid is None else changes.gid,
            atime_ns=known.atime_ns if changes.atime_ns is None else changes.atime_ns,
            mtime_ns=known.mtime_ns if changes.mtime_ns is None else changes.mtime_ns,
            ctime_ns=self._clock.wall_ns() if changes.ctime_ns is None else changes.ctime_ns,
        )

    def _set_times(self, inode: Inode, changes: Changes) -> None:
        times = inode.times
        now_ns = self._clock.wall_ns()
        times.atime_ns = changes.atime_ns if changes.atime_ns is not None else times.atime_ns
        times.mtime_ns = changes.mtime_ns if changes.mtime_ns is not None else times.mtime_ns
        times.ctime_ns = changes.ctime_ns if changes.ctime_ns is not None else now_ns
        self.writer.touch(inode)

    async def _truncate(self, inode: Inode, changes: Changes) -> Inode:
        """Cut or grow: after everything that is on its way has been committed, so that nothing of it comes back."""
        size_bytes = changes.size_bytes
        assert size_bytes is not None
        async with nothing_on_its_way(self.writer, inode):
            attributes, _ = await self._coherence.change(_setattr(inode.number, changes))
            self.writer.discard(inode, size_bytes)
            inode.times.mtime_ns, inode.times.ctime_ns = self._later(inode, attributes)
            inode.extents.truncate(size_bytes)
            inode.extents.change = attributes.change
            self._attributes_set(attributes)
        return inode

    def _later(self, inode: Inode, truncated: Attributes) -> tuple[int, int]:
        """mtime and ctime to travel with what is still dirty after a truncate: not those of before it."""
        return (truncated.mtime_ns, truncated.ctime_ns) if inode.dirty.live else (-1, -1)

    async def getxattr(self, number: int, name: bytes) -> bytes:
        """Refused NO_XATTR, or for the name as setxattr is."""
        check_name(name)
        known = self.inodes.get(number)
        if known is not None and known.is_removed_directory:
            raise Refused(Code.NO_XATTR)
        inode = self.inodes.leased(number)
        if inode is not None:
            if inode.attributes.xattr_count == 0:
                raise Refused(Code.NO_XATTR)
            if name in inode.xattrs:
                value = inode.xattrs[name]
                if value is None:
                    raise Refused(Code.NO_XATTR)
                return value
        try:
            found, epoch = await self._ask(ns.GetXattr(number, name))
        except Refused as refused:
            if refused.code is Code.NO_XATTR and inode is not None and self.inodes.leased(number) is inode:
                inode.remember_xattr(name, None)
            raise
        if found.leased and epoch and inode is not None and self.inodes.leased(number) is inode:
            inode.remember_xattr(name, found.value)
        answer: bytes = found.value
        return answer

    async def listxattr(self, number: int) -> list[bytes]:
        """All names."""
        inode = self.inodes.get(number)
        if inode is not None and inode.is_removed_directory:
            return []
        inode = self.inodes.leased(number)
        if inode is not None and inode.attributes.xattr_count == 0:
            return []
        answer, _ = await self._ask(ns.ListXattrs(number))
        names: list[bytes] = answer.names
        return names

    async def setxattr(self, number: int, name: bytes, value: bytes, flags: int = 0, *, kill_sgid: bool = False) -> None:
        """setxattr(2)."""
        await self._xattr_changed(number, ns.SetXattr(number, name, value, flags, kill_sgid))

    async def removexattr(self, number: int, name: bytes) -> None:
        """removexattr(2)."""
        await self._xattr_changed(number, ns.RemoveXattr(number, name))

    async def _xattr_changed(self, number: int, operation: ns.SetXattr | ns.RemoveXattr) -> None:
        attributes, _ = await self._coherence.change(operation)
        inode = self.inodes.absorb(attributes, 0, own=True)
        inode.xattrs.clear()

    async def statfs(self, number: int = ROOT_INODE) -> ns.FsFigures:
        """Space and inodes for an inode: the cluster's, or those of the narrowest quota above it."""
        figures: ns.FsFigures
        figures, _ = await self._ask(ns.StatFs(number))
        if number == ROOT_INODE:
            self.is_space_scarce = figures.free_bytes < _SCARCE_BYTES
        self._has_quotas = figures.quota_count > 0
        return figures

    async def must_flush_at_close(self, inode: Inode) -> bool:
        """Whether what is dirty may not fit: then it is flushed before a close is answered, which can tell of it."""
        if not inode.dirty:
            return False
        if self.is_space_scarce or not self._has_quotas:
            return self.is_space_scarce
        try:
            return (await self.statfs(inode.number)).free_bytes < _SCARCE_BYTES
        except Refused as refused:
            if refused.code is not Code.STALE:
                raise
            return False

    async def watch_space(self) -> None:
        """Keep is_space_scarce true to the facts, for ever."""
        while True:
            # Refused: nobody answered for a long time. What was known last is as good as anything.
            with contextlib.suppress(Refused):
                await self.statfs()
            await trio.sleep(_SPACE_INTERVAL_S)

    # --- open files -------------------------------------------------------------------------------------------------

    async def open(self, number: int, *, writes: bool, appends: bool = False) -> Handle:
        """Open a regular file. What others wrote and closed is seen; what they have dirty is flushed first."""
        wanted = OPEN_WRITE if writes else OPEN_READ
        inode = self.inodes.leased(number)
        if inode is None or (writes and inode.server_mode < wanted):
            inode = await self._ask_to_open(number, wanted)
        elif inode.server_mode < wanted:
            self.link.tell(Open(number, wanted))
        inode.server_mode = max(inode.server_mode, wanted)
        return self._handle(inode, writes=writes, appends=appends)

    async def _ask_to_open(self, number: int, wanted: int) -> Inode:
        """Open at the service. What is known counts as open meanwhile, so that no close that is due is told after this open."""
        known = self.inodes.get(number)
        if known is not None:
            known.open_count += 1
        try:
            opened: Opened
            opened, epoch = await self._ask(Open(number, wanted))
            return self.inodes.absorb(opened.attributes, epoch if opened.leased else 0, own=False)
        finally:
            if known is not None:
                known.open_count -= 1
                if not known.open_count:
                    self._coherence.close_later(known)

    def _handle(self, inode: Inode, *, writes: bool, appends: bool) -> Handle:
        inode.open_count += 1
        inode.write_count += writes
        return Handle(inode, writes, appends, inode.error_count)

    def read_nowait(self, handle: Handle, offset: int, size_bytes: int) -> Buffer | None:
        """The bytes if they can be had without waiting, else None."""
        inode = handle.inode
        if not self.link.holds(inode.lease_epoch):
            return None
        return self.reader.read_nowait(inode, offset, size_bytes, handle.stream)

    def read_soon(self, handle: Handle, offset: int, size_bytes: int, on_read: OnRead) -> bool:
        """Hand on_read the bytes as soon as they are here, without a task: at once, or from where they are received. None means
        that read() is to be asked, and so does False, with which on_read is not called."""
        inode = handle.inode
        if not self.link.holds(inode.lease_epoch):
            return False
        return self.reader.read_soon(inode, offset, size_bytes, handle.stream, on_read)

    async def read(self, handle: Handle, offset: int, size_bytes: int) -> Buffer:
        """Up to size_bytes from offset; fewer only at the end of the file. Refused IO if bytes cannot be had verified."""
        later: Later[Buffer | None] = Later()
        found = await later.wait() if self.read_soon(handle, offset, size_bytes, later.arrive) else None
        return await self._read(handle, offset, size_bytes) if found is None else found

    async def _read(self, handle: Handle, offset: int, size_bytes: int) -> Buffer:
        """The same in general."""
        inode = handle.inode
        self.locks.check(handle)
        if not self.link.holds(inode.lease_epoch):
            await self._coherence.refresh(inode, offset, size_bytes)
        try:
            return await self.reader.read(inode, offset, size_bytes, handle.stream)
        except Refused as refused:
            # Other clients may move a file's bytes to other objects without a word; the old ones are deleted some time later.
            before = list(inode.extents.pieces(offset, offset + size_bytes))
            await self._coherence.refresh(inode, offset, size_bytes)
            if list(inode.extents.pieces(offset, offset + size_bytes)) == before:
                raise refused
        return await self.reader.read(inode, offset, size_bytes, handle.stream)

    async def write(self, handle: Handle, offset: int, data: bytes | memoryview, *, is_placed: bool = False) -> int:
        """Take over data; durable after fsync. Reports an earlier background failure once. is_placed: data belongs at the offset
        even if the handle appends (pages of a shared map)."""
        self.check_errors(handle)
        if not data:
            return 0
        inode = handle.inode
        if inode.attributes.mode & _SUID_SGID:
            await self._kill_privileges(inode)
        await self.writer.wait_room()
        if handle.appends and not is_placed:
            await self._appender.append(inode, offset, data, self._write_now)
            return len(data)
        self._write_now(inode, offset, data)
        return len(data)

    def _write_now(self, inode: Inode, offset: int, data: bytes | memoryview) -> None:
        if offset + len(data) > FILE_BYTES_MAX:
            raise Refused(Code.FILE_TOO_BIG)
        # First, so that a flight which the write begins takes them along.
        inode.times.mtime_ns = inode.times.ctime_ns = self._clock.wall_ns()
        self.writer.write(inode, offset, data)

    async def _kill_privileges(self, inode: Inode) -> None:
        """A write takes suid, and sgid of a group-executable file, away."""
        mode = inode.attributes.mode
        if mode & 0o4000 or (mode & 0o2000 and mode & 0o010):
            operation = _setattr(inode.number, Changes())
            operation.valid |= ns.KILL_PRIVILEGES
            attributes, _ = await self._coherence.change(operation)
            self.inodes.absorb(attributes, 0, own=True)

    def check_errors(self, handle: Handle) -> None:
        """Report a failed background write, once to each handle, and lost locks, always. Raises the Refused it failed with."""
        self.locks.check(handle)
        inode = handle.inode
        if inode.error_count > handle.errors_seen and inode.error is not None:
            handle.errors_seen = inode.error_count
            raise Refused(inode.error.code, inode.error.detail)

    async def fsync(self, handle: Handle) -> None:
        """What was written to the file is durable, or the error says it is not."""
        await self.fsync_inode(handle.inode)
        self.check_errors(handle)

    async def fsync_inode(self, inode: Inode) -> None:
        """Commit everything dirty of an inode; errors stay on it."""
        if inode.dirty or inode.times:
            await self.writer.flush([inode])

    async def release(self, handle: Handle) -> None:
        """The handle is closed. What is dirty goes on being flushed in the background."""
        inode = handle.inode
        inode.open_count -= 1
        inode.write_count -= handle.writes
        if inode.open_count == 0:
            self._coherence.close_later(inode)
        await self.locks.release_handle(handle)

    async def sync(self) -> None:
        """Everything dirty of this client is durable (or its error sticks to its file)."""
        await self.writer.flush_all()


def _setattr(number: int, changes: Changes) -> ns.Setattr:
    """The transaction for the fields that are not None."""
    fields = (
        (ns.SET_MODE, changes.mode),
        (ns.SET_UID, changes.uid),
        (ns.SET_GID, changes.gid),
        (ns.SET_SIZE, changes.size_bytes),
        (ns.SET_ATIME, changes.atime_ns),
        (ns.SET_MTIME, changes.mtime_ns),
        (ns.SET_CTIME, changes.ctime_ns),
    )
    valid = sum(bit for bit, value in fields if value is not None)
    mode, uid, gid, size_bytes, atime_ns, mtime_ns, ctime_ns = (value or 0 for _, value in fields)
    return ns.Setattr(number, valid, mode, uid, gid, size_bytes, atime_ns, mtime_ns, ctime_ns, changes.privileged)
