"""The file system as a library: a complete asynchronous POSIX file system over inode numbers, usable with no mount.

What an operation means is decided in the metadata service's transactions; here are open files, and how bytes get in and out, and
all the rest by its parts: names.py, attributes.py, ranges.py, locks.py. Permissions are the kernel's business, or the embedding
program's.
"""

from dataclasses import dataclass, field

import trio

from ringfs.base.checksums import Buffer
from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused, again
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import FILE_BYTES_MAX, LEASE_NS
from ringfs.client.access_times import AccessTimes
from ringfs.client.appender import Appender
from ringfs.client.attributes import AttributeChanges, Changes
from ringfs.client.coherence import Coherence
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.later import Later
from ringfs.client.locks import Locks
from ringfs.client.metadata import MetadataLink
from ringfs.client.names import Caller, Names
from ringfs.client.protection import Protection, refuse_opening, refuse_writing
from ringfs.client.ranges import Ranges
from ringfs.client.reader import OnRead, Reader, Stream
from ringfs.client.removed import RecentlyRemoved
from ringfs.client.space import Space
from ringfs.client.writer import Writer
from ringfs.wire.messages import namespace as ns
from ringfs.wire.messages import queries
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.files import Tmpfile
from ringfs.wire.messages.session import OPEN_READ, OPEN_WRITE, Open, Opened

__all__ = ["Caller", "Changes", "FileSystem", "Handle"]

_SUID_SGID = 0o6000


@dataclass(slots=True, eq=False)
class Handle:
    """An open file."""

    inode: Inode
    writes: bool
    #: Of inode.error_count: errors up to here were reported through this handle.
    errors_seen: int = 0
    #: Reading moves no atime (O_NOATIME).
    keeps_atime: bool = False
    #: The attributes of the inode when a read was last noted: as long as they stay, no read need be.
    noted: Attributes | None = None
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
        access_times: AccessTimes,
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
        self.access_times = access_times
        #: fallocate, SEEK_DATA and SEEK_HOLE, copies by reference, clones.
        self.ranges = Ranges(self, coherence)
        self._ask = coherence.ask
        self.removed = RecentlyRemoved(inodes, writer, clock.monotonic_ns)
        self.names = names = Names(inodes, self.removed, coherence)
        self.lookup, self.getattr, self.readlink, self.readdir = names.lookup, names.getattr, names.readlink, names.readdir
        self.mknod, self.mkdir, self.symlink, self.link_to = names.mknod, names.mkdir, names.symlink, names.link_to
        self.unlink, self.rmdir, self.rename = names.unlink, names.rmdir, names.rename
        self._attributes = attributes = AttributeChanges(names, inodes, writer, coherence, link.class_of, clock)
        self.setattr, self.getxattr, self.listxattr = attributes.setattr, attributes.getxattr, attributes.listxattr
        self.setxattr, self.removexattr = attributes.setxattr, attributes.removexattr
        self.protection = Protection(coherence, inodes, attributes.has_xattr, self.fsync_inode)
        self.space = Space(coherence.ask)

    # --- files and space ---------------------------------------------------------------------------------------------

    async def create(self, parent: int, name: bytes, mode: int, caller: Caller, *, writes: bool, exclusive: bool) -> Handle:
        """Make a regular file and open it; if it exists and exclusive is false, open that."""
        open_mode = OPEN_WRITE if writes else OPEN_READ
        operation = ns.Mknod(parent, name, mode, 0, caller.uid, caller.gid, caller.umask, open_mode, exclusive)
        closes_told = self._coherence.closes_told
        handle = self._created(operation, *await self._coherence.change(operation))
        if self._coherence.closes_told != closes_told:
            # One may have been of this inode, and have come after it was opened.
            self.link.tell(Open(handle.inode.number, open_mode))
        return handle

    def create_now(self, parent: int, name: bytes, mode: int, caller: Caller, *, writes: bool, exclusive: bool) -> Handle | None:
        """The same, if that takes no waiting."""
        open_mode = OPEN_WRITE if writes else OPEN_READ
        operation = ns.Mknod(parent, name, mode, 0, caller.uid, caller.gid, caller.umask, open_mode, exclusive)
        done = self._coherence.change_now(operation)
        return None if done is None else self._created(operation, *done)

    def _created(self, operation: ns.Mknod, entry: ns.Entry, epoch: int) -> Handle:
        inode = self.names.made(operation.parent, operation.name, entry, epoch)
        open_mode = operation.open_mode
        inode.server_mode = max(inode.server_mode, open_mode)
        self._coherence.know_no_extents(inode)
        return self._handle(inode, writes=open_mode == OPEN_WRITE)

    async def tmpfile(self, parent: int, mode: int, caller: Caller, *, is_linkable: bool) -> Handle:
        """Make and open a regular file without a name; link_to may give it one if is_linkable."""
        operation = Tmpfile(parent, mode, caller.uid, caller.gid, caller.umask, OPEN_WRITE, is_linkable)
        entry, epoch = await self._coherence.change(operation)
        inode = self.inodes.absorb(entry.attributes, epoch, own=True, leased=entry.leased)
        inode.server_mode = OPEN_WRITE
        return self._handle(inode, writes=True)

    async def statfs(self, number: int = ROOT_INODE) -> queries.FsFigures:
        """Space and inodes for an inode: the cluster's, or those of the narrowest quota above it."""
        return await self.space.figures(number)

    # --- open files -------------------------------------------------------------------------------------------------

    async def open(self, number: int, *, writes: bool, appends: bool = False) -> Handle:
        """Open a regular file. What others wrote and closed is seen; what they have dirty is flushed first."""
        wanted = OPEN_WRITE if writes else OPEN_READ
        inode = self.inodes.leased(number)
        if inode is not None and not inode.attributes.links and not inode.open_count:
            if self.removed.may_be_opened(inode):
                return self._handle(inode, writes=writes)
            # It lost its last name after it was looked up: the kernel looks the name up again.
            raise Refused(Code.STALE, f"inode {number}")
        if inode is None or (inode.server_mode < wanted and not inode.delegated):
            inode = await self._ask_to_open(number, wanted)
        elif inode.server_mode < wanted:
            # Delegated: nobody can change or remove it before this has arrived. What is only leased may lose its last name.
            if writes:
                self.link.tell(Open(number, wanted))
            else:
                self._coherence.open_later(inode)
                wanted = 0
        inode.server_mode = max(inode.server_mode, wanted)
        handle = self._handle(inode, writes=writes)
        try:
            refuse_opening(inode.attributes, writes=writes, appends=appends)
        except Refused:
            await self.release(handle)
            raise
        return handle

    async def _ask_to_open(self, number: int, wanted: int) -> Inode:
        """Open at the service. What is known counts as open meanwhile, so that no close that is due is told after this open."""
        known = self.inodes.get(number)
        if known is not None:
            known.open_count += 1
        try:
            opened: Opened
            opened, epoch = await self._ask(Open(number, wanted))
            return self.inodes.absorb(opened.attributes, epoch, own=False, leased=opened.leased)
        finally:
            if known is not None:
                known.open_count -= 1
                if not known.open_count:
                    self._coherence.close_later(known)

    def _handle(self, inode: Inode, *, writes: bool) -> Handle:
        inode.open_count += 1
        inode.write_count += writes
        return Handle(inode, writes, inode.error_count)

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
        if handle.noted is not inode.attributes:
            self._note_read(handle)
        if not self.link.holds(inode.lease_epoch):
            return False
        return self.reader.read_soon(inode, offset, size_bytes, handle.stream, on_read)

    def _note_read(self, handle: Handle) -> None:
        if not handle.keeps_atime:
            self.access_times.note(handle.inode)
        if handle.keeps_atime or self.access_times.is_lazy:
            handle.noted = handle.inode.attributes

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

    async def drop_from_kernel(self, inode: Inode) -> None:
        """Have the kernel forget the pages and attributes of a file; returns when it has."""
        await self._coherence.drop_from_kernel(inode)

    async def write(
        self, handle: Handle, offset: int, data: bytes | memoryview, *, appends: bool = False, kills_privileges: bool = True
    ) -> int:
        """Take over data; durable after fsync. Reports an earlier background failure once.

        appends: to the end, wherever it is. kills_privileges: suid and sgid go, since the writer has no CAP_FSETID.
        """
        self.check_errors(handle)
        if not data:
            return 0
        inode = handle.inode
        link = self.link
        if kills_privileges and not appends and not link.holds(inode.lease_epoch) and link.holds(link.lease_epoch):
            # Another client may have given it suid. In an outage, which may just have begun, writes go on without asking.
            with trio.move_on_after(LEASE_NS / 1e9):
                await self.getattr(inode.number)
        known = inode.attributes
        if known.flags:
            refuse_writing(known)
        if known.mode & _SUID_SGID or known.xattr_count:
            await self.protection.kill_privileges(inode, keeps_suid=not kills_privileges)
        await self.writer.wait_room()
        if appends:
            await self._appender.append(inode, offset, data, self._write_now, privileged=not kills_privileges)
            return len(data)
        self._write_now(inode, offset, data)
        return len(data)

    def _write_now(self, inode: Inode, offset: int, data: bytes | memoryview) -> None:
        if offset + len(data) > FILE_BYTES_MAX:
            raise Refused(Code.FILE_TOO_BIG)
        # First, so that a flight which the write begins takes them along.
        inode.times.mtime_ns = inode.times.ctime_ns = self._clock.wall_ns()
        self.writer.write(inode, offset, data)

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
        await self.link.settled()

    async def fsync_directory(self, number: int) -> None:
        """The names in it are durable. Refused IO, once, if something that was answered did not take effect."""
        await self.link.settled()
        failure = self._coherence.take_failure(number)
        if failure is not None:
            raise again(failure)

    async def release(self, handle: Handle) -> None:
        """The handle is closed. What is dirty goes on being flushed in the background."""
        self._let_go(handle)
        await self.locks.release_handle(handle)

    def release_now(self, handle: Handle) -> bool:
        """The same, if that takes no waiting; else False."""
        if self.locks.knows_any(handle.inode):
            return False
        self._let_go(handle)
        return True

    def _let_go(self, handle: Handle) -> None:
        inode = handle.inode
        inode.open_count -= 1
        inode.write_count -= handle.writes
        if inode.open_count == 0:
            self._coherence.close_later(inode)

    @property
    def mistake_count(self) -> int:
        """Transactions that were answered here otherwise than by the service: 0, unless leases ended while some were on their
        way."""
        return self._coherence.mistake_count

    async def sync(self) -> None:
        """Everything dirty of this client is durable (or its error sticks to its file)."""
        await self.writer.flush_all()
        await self.access_times.flush()
        await self.link.settled()
