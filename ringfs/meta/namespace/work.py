"""What one transaction works on: an overlay of its changes, the inodes it has unpacked, counters, references. No semantics.

Operations (ops/) change inodes and rows here and raise Refused at any moment; nothing reaches the view before flush().
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.overlay import Overlay
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import RELEASED_EXTENTS_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.batch import Batch
from ringfs.meta.namespace.facts import class_text
from ringfs.meta.namespace.records import Counters, Inode, unpack_counters, unpack_inode
from ringfs.meta.namespace.references import References
from ringfs.wire.messages.namespace import NewObject
from ringfs.wire.packing import pack, unpack


class Work:
    """The working set of one transaction."""

    __slots__ = (
        "_class_texts",
        "_counters",
        "_counters_before",
        "_erased",
        "_inodes",
        "_unsaved",
        "batch",
        "declared",
        "deltas",
        "holders",
        "leader_ns",
        "now_ns",
        "references",
        "releases_left",
        "rows",
        "session",
        "touched",
    )

    def __init__(self, view: ReadView, leader_ns: int, session: int, holders: list[int], client_ns: int = 0) -> None:
        #: All rows but those of inodes and counters that are unpacked: these are written by flush().
        self.rows = Overlay(view)
        #: What the transaction is part of, if it is.
        self.batch = view if type(view) is Batch else None
        #: In a batch: by directory, bytes and files that this transaction has added; for usage.settle.
        self.deltas: dict[int, list[int]] = {}
        #: The leader's time: what verdicts go by.
        self.leader_ns = leader_ns
        #: What "now" is in times that are kept: the client's, if it has told its applications already.
        self.now_ns = client_ns or leader_ns
        self.session = session
        #: Sessions that keep alive an inode that this transaction takes the last name of.
        self.holders = holders
        #: Inodes whose attributes, xattrs, extents or entries changed.
        self.touched: set[int] = set()
        self.references = References(self.rows)
        #: How many more extents may be let go of before the rest is left to the leader (doomed.py).
        self.releases_left = RELEASED_EXTENTS_MAX
        #: Objects that this transaction may bring to life.
        self.declared: list[NewObject] = []
        self._class_texts: dict[int, str] = {}
        self._inodes: dict[int, Inode] = {}
        self._unsaved: dict[int, Inode] = {}
        self._erased: list[Inode] = []
        self._counters: Counters | None = None
        self._counters_before: bytes | None = None

    def find_inode(self, number: int) -> Inode | None:
        """The inode, or None if there is no such one."""
        inode = self._inodes.get(number)
        if inode is None:
            value = self.rows.get(keys.inode(number))
            if value is None:
                return None
            inode = self._inodes[number] = unpack_inode(number, value)
        return inode

    def inode(self, number: int) -> Inode:
        """The inode. Refused STALE."""
        inode = self.find_inode(number)
        if inode is None:
            raise Refused(Code.STALE, f"inode {number}")
        return inode

    def directory(self, number: int) -> Inode:
        """A directory that entries can be made in. Refused STALE, NOT_DIRECTORY, NOT_FOUND (it was removed)."""
        inode = self.inode(number)
        if not inode.is_directory():
            raise Refused(Code.NOT_DIRECTORY, f"inode {number}")
        if inode.links == 0:
            raise Refused(Code.NOT_FOUND, f"directory {number} was removed")
        return inode

    def changed(self, inode: Inode) -> None:
        """Others see it changed: its change number grows, once in a transaction."""
        if inode.number not in self.touched:
            self.touched.add(inode.number)
            inode.change += 1
        self._unsaved[inode.number] = inode

    def unsaved(self, inode: Inode) -> None:
        """Its row changes, but nothing that others can see."""
        self._unsaved[inode.number] = inode

    def altered(self) -> list[Inode]:
        """Every inode that the transaction has changed, made or removed so far."""
        return [*self._unsaved.values(), *self._erased]

    def class_of(self, inode: Inode) -> str:
        """Its class of service."""
        text = self._class_texts.get(inode.class_number)
        if text is None:
            text = self._class_texts[inode.class_number] = class_text(self.rows, inode.class_number)
        return text

    @property
    def counters(self) -> Counters:
        """The counters, to be read and changed."""
        counters = self._counters
        if counters is None:
            value = self._counters_before = self.rows.get(keys.COUNTERS)
            assert value is not None, "the namespace was formatted"
            counters = self._counters = unpack_counters(value)
        return counters

    def new_inode(self, mode: int, uid: int, gid: int, links: int, number: int = 0) -> Inode:
        """A new inode with all times now, of the next free number or of that one. Refused INVALID: it is not the session's."""
        counters = self.counters
        if number:
            self._take_reserved(number)
        else:
            number = counters.next_inode
            counters.next_inode = number + 1
        inode = Inode()
        inode.number = number
        inode.mode, inode.uid, inode.gid, inode.links = mode, uid, gid, links
        inode.size_bytes = inode.stored_bytes = inode.rdev = inode.change = inode.xattr_count = 0
        inode.flags = inode.class_number = 0
        inode.parent = inode.charged_to = inode.charged_bytes = 0
        inode.atime_ns = inode.mtime_ns = inode.ctime_ns = inode.btime_ns = self.now_ns
        counters.inode_count += 1
        self._inodes[number] = inode
        self.changed(inode)
        return inode

    def _take_reserved(self, number: int) -> None:
        """Use a number that was set apart for the session; those before it are never used."""
        key = keys.reserved(self.session)
        row = self.rows.get(key)
        first, stop = (0, 0) if row is None else unpack(row)
        if not first <= number < stop:
            raise Refused(Code.INVALID, f"inode number {number} is not set apart for session {self.session}")
        self.rows.put(key, pack((number + 1, stop)))

    def forget_inode(self, inode: Inode) -> None:
        """Remove its row; the object stays good for an answer."""
        self.changed(inode)
        del self._unsaved[inode.number], self._inodes[inode.number]
        self._erased.append(inode)
        self.rows.delete(keys.inode(inode.number))
        self.counters.inode_count -= 1

    def flush(self) -> bool:
        """Write what is unpacked into rows. True if the transaction changes anything."""
        rows = self.rows
        for number, inode in self._unsaved.items():
            rows.put(keys.inode(number), inode.pack())
        if self._counters is not None:
            value = self._counters.pack()
            if value != self._counters_before:
                rows.put(keys.COUNTERS, value)
        return bool(rows.changes())
