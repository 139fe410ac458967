"""Attributes and extended attributes, set and read, in step with bytes that are still on their way.

Not here: sizes that change by writing (writer.py), fallocate (ranges.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from stat import S_IFDIR, S_IFMT, S_IFREG

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import FILE_BYTES_MAX
from ringfs.client.coherence import Coherence
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.names import Names
from ringfs.client.protection import refuse_times
from ringfs.client.ranges import nothing_on_its_way
from ringfs.client.writer import Writer
from ringfs.meta.namespace.xattrs import check_name
from ringfs.wire.messages import namespace as ns
from ringfs.wire.messages import queries
from ringfs.wire.messages.common import CLASS_XATTR, Attributes


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
    #: Times are "now", which more may set than others.
    is_touch: bool = False

    @property
    def names_times(self) -> bool:
        """Times are to change."""
        return any(time_ns is not None for time_ns in (self.atime_ns, self.mtime_ns, self.ctime_ns))

    @property
    def can_wait(self) -> bool:
        """Nothing but times is to change, to what can travel with a commit: none before 1970."""
        others = (self.mode, self.uid, self.gid, self.size_bytes)
        return all(value is None for value in others) and min(self.atime_ns or 0, self.mtime_ns or 0, self.ctime_ns or 0) >= 0


class AttributeChanges:
    """See the module. Every method raises Refused for what POSIX calls an error."""

    def __init__(
        self,
        names: Names,
        inodes: InodeTable,
        writer: Writer,
        coherence: Coherence,
        class_of: Callable[[Attributes], str],
        clock: Clock,
    ) -> None:
        self.getattr = names.getattr
        self._has_vanished = names.has_vanished
        self.inodes = inodes
        self.writer = writer
        self._coherence = coherence
        self._ask = coherence.ask
        self._class_of = class_of
        self._clock = clock

    async def setattr(self, number: int, changes: Changes) -> Inode:
        """Change attributes; of a file that is being written here, times travel with the next commit."""
        inode = self.inodes.get(number)
        if inode is not None and changes.atime_ns is not None:
            # Whether that was read before does not matter any more.
            inode.accessed_ns = 0
        if inode is not None and inode.is_removed_directory:
            self._set_removed(inode, changes)
            return inode
        if inode is not None and inode.attributes.flags and changes.names_times and not changes.is_touch:
            refuse_times(inode.attributes)
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
        try:
            attributes, _ = await self._coherence.change(setattr_operation(number, changes))
        except Refused as refused:
            if self._has_vanished(refused, number):
                return await self.setattr(number, changes)
            raise
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
            attributes, _ = await self._coherence.change(setattr_operation(inode.number, changes))
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
            if name == CLASS_XATTR and S_IFMT(inode.attributes.mode) in (S_IFREG, S_IFDIR):
                return self._class_of(inode.attributes).encode()
            if inode.attributes.xattr_count == 0:
                raise Refused(Code.NO_XATTR)
            if name in inode.xattrs:
                value = inode.xattrs[name]
                if value is None:
                    raise Refused(Code.NO_XATTR)
                return value
        try:
            found, epoch = await self._ask(queries.GetXattr(number, name))
        except Refused as refused:
            if refused.code is Code.NO_XATTR and inode is not None and self.inodes.leased(number) is inode:
                inode.remember_xattr(name, None)
            raise
        if found.leased and epoch and inode is not None and self.inodes.leased(number) is inode:
            inode.remember_xattr(name, found.value)
        answer: bytes = found.value
        return answer

    async def has_xattr(self, number: int, name: bytes) -> bool:
        """Whether there is such a one."""
        try:
            return await self.getxattr(number, name) is not None
        except Refused as refused:
            if refused.code is not Code.NO_XATTR:
                raise
            return False

    async def listxattr(self, number: int) -> list[bytes]:
        """All names."""
        inode = self.inodes.get(number)
        if inode is not None and inode.is_removed_directory:
            return []
        inode = self.inodes.leased(number)
        if inode is not None and not inode.attributes.xattr_count and not inode.attributes.class_number:
            return []
        answer, _ = await self._ask(queries.ListXattrs(number))
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


def setattr_operation(number: int, changes: Changes) -> ns.Setattr:
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
