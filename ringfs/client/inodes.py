"""What a client knows of inodes: attributes, names, extents, xattrs, each valid while a lease holds; and dirty state.

The table is bounded; inodes that are open or dirty stay. Nothing here asks anybody.
"""

import stat
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace

import trio

from ringfs.base.errors import Code, Refused, kept
from ringfs.client.dirty import DirtyFile, Times
from ringfs.client.extents import ExtentMap
from ringfs.wire.messages.common import DELEGATED, LEASED, NOT_LEASED, Attributes

#: Inodes and cached directory names that are kept at most (about 1.5 KiB and 150 bytes each).
INODES_MAX = 40_000
NAMES_MAX = 200_000
#: Of one inode, xattrs that are kept at most, and how large they may be: enough for what the kernel asks again and again.
_XATTRS_MAX = 16
_XATTR_BYTES_MAX = 512
#: Refusals of a background write that mean something to an application; all others are EIO.
_TOLD_AS_THEY_ARE = (Code.NO_SPACE, Code.QUOTA, Code.FILE_TOO_BIG, Code.IO)
#: In a directory's names: known to be absent.
ABSENT = 0
_NO_NAMES: dict[bytes, int] = {}


class Inode:
    """One inode as this client knows it."""

    __slots__ = (
        "accessed_ns",
        "attributes",
        "complete",
        "content_version",
        "delegated",
        "dirty",
        "error",
        "error_count",
        "expected_change",
        "extents",
        "flights_begun",
        "flights_done",
        "flushes_obeyed",
        "kernel_version",
        "lease_epoch",
        "names",
        "number",
        "open_count",
        "progress",
        "server_mode",
        "target",
        "times",
        "truncating",
        "write_count",
        "xattrs",
    )

    def __init__(self, number: int, attributes: Attributes) -> None:
        self.number = number
        #: As the metadata service last said; never replaced by older ones (see `change`).
        self.attributes = attributes
        #: The epoch in which the lease was given; 0: not leased.
        self.lease_epoch = 0
        #: Under the lease, nobody else has it cached or open: it may be changed ahead of the service.
        self.delegated = False
        #: Of a directory: name → inode number or ABSENT; valid under the lease. None: nothing known.
        self.names: dict[bytes, int] | None = None
        #: names holds every name there is.
        self.complete = False
        #: Of a symlink; never changes.
        self.target: bytes | None = None
        #: name → value or None (absent); valid under the lease.
        self.xattrs: dict[bytes, bytes | None] = {}
        #: Valid under the lease, or while this session is the only writer.
        self.extents = ExtentMap()
        self.dirty = DirtyFile()
        #: Set here, to travel with the next commit.
        self.times = Times()
        #: When it was last read here, if that moves its atime; 0: it does not (access_times.py).
        self.accessed_ns = 0
        #: Open handles here, and those of them that write.
        self.open_count = 0
        self.write_count = 0
        #: What the metadata service knows of our opening it: 0, OPEN_READ or OPEN_WRITE.
        self.server_mode = 0
        #: Counts failed background writes; each handle reports each once. `error` is the last one's.
        self.error_count = 0
        self.error: Refused | None = None
        #: Flights taken and flights committed or dropped; equal: nothing is on its way.
        self.flights_begun = 0
        self.flights_done = 0
        #: Who waits for flights_done to grow.
        self.progress = trio.lowlevel.ParkingLot()
        #: A truncate waits for flights: no new ones are taken meanwhile.
        self.truncating = False
        #: The session under which the dirty bytes were written has ended: commit them only if the inode is still at this change.
        #: 0: they may be committed over anything.
        self.expected_change = 0
        #: Grows when somebody else changed the file's contents or size.
        self.content_version = 0
        #: Recalls that ask for what is dirty and are being obeyed: meanwhile the end of the file is not ours to know.
        self.flushes_obeyed = 0
        #: Of content_version: what the pages are of that the kernel may have; -1: not known.
        self.kernel_version = -1

    @property
    def is_pinned(self) -> bool:
        """Whether it must stay in the table."""
        return self.open_count > 0 or bool(self.dirty) or bool(self.times) or self.server_mode != 0 or self.truncating

    @property
    def is_removed_directory(self) -> bool:
        """Whether it is a directory that has no name any more: nothing of it will ever change."""
        return self.attributes.links == 0 and stat.S_ISDIR(self.attributes.mode)

    def merged(self) -> Attributes:
        """The attributes with what is not committed yet on top."""
        dirty, times, known = self.dirty, self.times, self.attributes
        if not dirty and not times:
            return replace(known, atime_ns=self._atime_ns) if self.accessed_ns else known
        for flight in reversed(dirty.flights):
            times = times.over(flight.times)
        size_bytes = max(known.size_bytes, dirty.end)
        return replace(
            known,
            size_bytes=size_bytes,
            # A guess until it is committed, but not none: tar takes a file without blocks for a hole.
            stored_bytes=max(known.stored_bytes, min(known.stored_bytes + dirty.size_bytes, size_bytes)),
            atime_ns=times.atime_ns if times.atime_ns >= 0 else self._atime_ns,
            mtime_ns=times.mtime_ns if times.mtime_ns >= 0 else known.mtime_ns,
            # As the commit will have it: a change of mode that came after the write stays the last one.
            ctime_ns=max(known.ctime_ns, times.ctime_ns, times.mtime_ns if times.ctime_ns < 0 else -1),
        )

    @property
    def stays_as_merged(self) -> bool:
        """Whether nobody is writing any more, and what is merged is what the commit of all that is dirty will leave, unless it is
        refused: times are decided here, and every byte of the file is stored then, so that no number of blocks is a guess."""
        if self.write_count:
            return False
        dirty, known = self.dirty, self.attributes
        times = dirty.flights[0].times if dirty.flights else self.times
        if times.mtime_ns < 0 or times.ctime_ns < 0 or (dirty.flights and self.times):
            return False
        return known.stored_bytes == known.size_bytes and dirty.is_stretch_from(known.size_bytes)

    @property
    def _atime_ns(self) -> int:
        """With the last read here."""
        known_ns = self.attributes.atime_ns
        return max(known_ns, self.accessed_ns) if self.accessed_ns else known_ns

    def forget_cached(self) -> None:
        """Drop what a lease covered."""
        self.lease_epoch = 0
        self.delegated = False
        self.names = None
        self.complete = False
        self.xattrs.clear()
        self.extents.clear()

    def remember_xattr(self, name: bytes, value: bytes | None) -> None:
        """Keep the value of an xattr, or that there is none, in bounds."""
        if len(self.xattrs) >= _XATTRS_MAX:
            self.xattrs.clear()
        if value is None or len(value) <= _XATTR_BYTES_MAX:
            self.xattrs[name] = value

    def fail(self, refused: Refused) -> None:
        """A background write failed: every open handle will say so once."""
        self.error_count += 1
        self.error = kept(refused) if refused.code in _TOLD_AS_THEY_ARE else Refused(Code.IO, str(refused))


class InodeTable:
    """All inodes known here, least recently used first."""

    def __init__(self, holds: Callable[[int], bool]) -> None:
        #: Whether a lease of that epoch is valid now.
        self._holds = holds
        self._inodes: OrderedDict[int, Inode] = OrderedDict()
        #: Called with the number of an inode that is known here no more, although it may have been leased.
        self.on_evict: Callable[[int], None] = lambda _number: None
        #: Directories with names, least recently used first, and how many names they have in all.
        self._named: OrderedDict[int, Inode] = OrderedDict()
        self._name_count = 0

    def __len__(self) -> int:
        return len(self._inodes)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(list(self._inodes.values()))

    def get(self, number: int) -> Inode | None:
        """The inode if it is known, valid or not."""
        inode = self._inodes.get(number)
        if inode is not None:
            self._inodes.move_to_end(number)
        return inode

    def leased(self, number: int) -> Inode | None:
        """The inode if what is known of it may be used without asking."""
        inode = self.get(number)
        return inode if inode is not None and self._holds(inode.lease_epoch) else None

    def delegated(self, number: int) -> Inode | None:
        """The inode if it may be changed ahead of the service."""
        inode = self.get(number)
        return inode if inode is not None and inode.delegated and self._holds(inode.lease_epoch) else None

    def absorb(self, attributes: Attributes, lease_epoch: int, *, own: bool, leased: int = LEASED) -> Inode:
        """Take over what the service says. own: it is the answer to a mutation of ours, so that what is cached is kept in step; a
        lease_epoch of 0 takes no lease away then. leased: what the answer says of it; the epoch is that of the question."""
        if leased == NOT_LEASED:
            lease_epoch = 0
        inode = self._inodes.get(attributes.inode)
        if inode is None:
            inode = self._inodes[attributes.inode] = Inode(attributes.inode, attributes)
            inode.lease_epoch, inode.delegated = lease_epoch, leased == DELEGATED
            self._evict()
            return inode
        self._inodes.move_to_end(attributes.inode)
        if own and inode.expected_change and attributes.change == inode.expected_change + 1:
            inode.expected_change = attributes.change
        if attributes.change < inode.attributes.change:
            return inode
        passed = attributes.change - inode.attributes.change
        if passed and not (own and passed == 1) and not self._holds(inode.lease_epoch):
            # Without a lease nobody told us what happened between: somebody else may have changed anything.
            inode.content_version += 1
            self.forget_cached(inode)
        inode.attributes = attributes
        if not own or lease_epoch:
            inode.lease_epoch, inode.delegated = lease_epoch, leased == DELEGATED
        return inode

    def distrust(self) -> None:
        """What is known may be wrong: whatever the service says next counts."""
        for inode in list(self._inodes.values()):
            self.forget_cached(inode)
            inode.attributes = replace(inode.attributes, change=0)
            self.drop(inode.number)

    def _evict(self) -> None:
        """Keep the table bounded; pinned inodes are passed over (they are bounded by handles and dirty bytes)."""
        tries = 8
        while len(self._inodes) > INODES_MAX and tries:
            tries -= 1
            number, inode = next(iter(self._inodes.items()))
            if inode.is_pinned:
                self._inodes.move_to_end(number)
                continue
            if inode.lease_epoch:
                self.on_evict(number)
            self.forget_cached(inode)
            del self._inodes[number]

    def drop(self, number: int) -> None:
        """The inode is gone."""
        inode = self._inodes.get(number)
        if inode is not None and not inode.is_pinned:
            self.forget_cached(inode)
            del self._inodes[number]

    def forget_cached(self, inode: Inode) -> None:
        """Drop what a lease covered, and its names from the count."""
        if self._named.pop(inode.number, None) is not None and inode.names is not None:
            self._name_count -= len(inode.names)
        inode.forget_cached()

    # --- names ------------------------------------------------------------------------------------------------------

    def set_name(self, directory: Inode, name: bytes, number: int) -> None:
        """Remember that name stands for the inode, or is ABSENT."""
        names = directory.names
        if names is None:
            names = directory.names = {}
        if directory.number not in self._named:
            self._named[directory.number] = directory
        if name not in names:
            self._name_count += 1
        names[name] = number
        while self._name_count > NAMES_MAX:
            _, oldest = self._named.popitem(last=False)
            self._name_count -= len(oldest.names or ())
            oldest.names = None
            oldest.complete = False

    def forget_name(self, directory: Inode, name: bytes) -> None:
        """What name stands for is not known any more."""
        directory.complete = False
        if directory.names is not None and directory.names.pop(name, None) is not None:
            self._name_count -= 1

    def find_name(self, directory: Inode, name: bytes) -> int | None:
        """What a leased directory's cached name stands for: a number, ABSENT, or None for unknown."""
        names, otherwise = self.known_names(directory)
        return names.get(name, otherwise)

    def known_names(self, directory: Inode) -> tuple[Mapping[bytes, int], int | None]:
        """All of a leased directory's cached names, and what any other one stands for: ABSENT, or None for unknown."""
        otherwise = ABSENT if directory.complete else None
        if directory.names is None:
            return _NO_NAMES, otherwise
        if directory.number in self._named:
            self._named.move_to_end(directory.number)
        return directory.names, otherwise
