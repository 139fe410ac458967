"""Transactions applied ahead of the service, by a client that holds delegations on all that they are about. Pure.

The same operations as on the server (ops/), over a view that has only what the client holds: attributes of delegated inodes, names
of delegated directories. What they ask beyond that raises NotHeld, and the client asks the service instead. What they write is
dropped: the client keeps their answers, as it keeps the service's. Nothing below a quota is delegated. Not here: whom to tell,
and when (client/delegations.py).
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ringfs.meta.namespace import keys
from ringfs.meta.namespace.directory import FIRST_COOKIE
from ringfs.meta.namespace.ops import link, mkdir, mknod, rename, rmdir, setattr, symlink, unlink
from ringfs.meta.namespace.records import Counters, Inode, pack_dentry
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages import namespace as ns
from ringfs.wire.messages.common import Attributes
from ringfs.wire.packing import pack

#: What may be applied ahead at all.
AHEAD_OPERATIONS: dict[type, Callable[[Work, Any], Any]] = {
    ns.Mknod: mknod.apply,
    ns.Mkdir: mkdir.apply,
    ns.Symlink: symlink.apply,
    ns.Link: link.apply,
    ns.Unlink: unlink.apply,
    ns.Rmdir: rmdir.apply,
    ns.Rename: rename.apply,
    ns.Setattr: setattr.apply,
}


class NotHeld(Exception):
    """More is needed than the client holds."""


class Holdings(Protocol):
    """What a client holds delegations on."""

    def attributes(self, number: int) -> Attributes:
        """A delegated inode's attributes as after all transactions so far. Raises NotHeld."""
        ...

    def child(self, parent: int, name: bytes) -> int:
        """What a name of a delegated directory stands for; 0: nothing. Raises NotHeld."""
        ...


def apply_ahead(holdings: Holdings, operation: Any, client_ns: int, session: int, numbers: tuple[int, int]) -> Any:
    """The answer that the service will give to a transaction. Raises Refused, as it would; NotHeld if that cannot be told.

    client_ns: the time that the operation leaves as now; numbers: first and stop of the session's reserved inode numbers.
    """
    handler = AHEAD_OPERATIONS.get(type(operation))
    if handler is None or not _is_small(operation):
        raise NotHeld
    work = _AheadWork(holdings, client_ns, session, numbers)
    answer = handler(work, operation)
    if not work.touched:
        raise NotHeld
    return answer


def _is_small(operation: Any) -> bool:
    """Contents are the service's: a size that shrinks cuts extents. A whiteout is an inode whose number nobody has chosen."""
    match operation:
        case ns.Setattr():
            return not operation.valid & ns.SET_SIZE
        case ns.Rename():
            return not operation.flags & ns.RENAME_WHITEOUT
        case _:
            return True


class _AheadWork(Work):
    """Inodes come from attributes, without a row in between."""

    __slots__ = ("_holdings",)

    def __init__(self, holdings: Holdings, client_ns: int, session: int, numbers: tuple[int, int]) -> None:
        super().__init__(_HeldView(holdings, numbers), client_ns, session, [])
        self._holdings = holdings

    def find_inode(self, number: int) -> Inode | None:
        """See Work; raises NotHeld in place of None."""
        inode = self._inodes.get(number)
        if inode is None:
            inode = self._inodes[number] = _inode_of(self._holdings.attributes(number))
        return inode

    @property
    def counters(self) -> Counters:
        """Of no meaning here."""
        if self._counters is None:
            self._counters = counters = Counters()
            counters.inode_count = counters.next_inode = counters.quota_count = 0
        return self._counters


class _HeldView:
    """A ReadView of what is held."""

    __slots__ = ("_holdings", "_numbers")

    def __init__(self, holdings: Holdings, numbers: tuple[int, int]) -> None:
        self._holdings = holdings
        self._numbers = numbers

    def get(self, key: bytes) -> bytes | None:
        """See ReadView."""
        family = key[:1]
        if family == keys.DENTRY:
            child = self._holdings.child(keys.number_at(key, 1), key[9:])
            return pack_dentry(child, self._holdings.attributes(child).mode, 0) if child else None
        if family == keys.RESERVED:
            return pack(self._numbers)
        if family == keys.DOOMED:
            # Asked at the end of an inode, as in scan.
            return None
        raise NotHeld

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See ReadView. Only the end of an inode scans, to delete: the answer does not hang on it."""
        if start[:1] not in (keys.CHUNK, keys.XATTR):
            raise NotHeld
        return iter(())


def _inode_of(attributes: Attributes) -> Inode:
    inode = Inode()
    inode.number = attributes.inode
    inode.mode = attributes.mode
    inode.uid = attributes.uid
    inode.gid = attributes.gid
    inode.links = attributes.links
    inode.size_bytes = attributes.size_bytes
    inode.stored_bytes = attributes.stored_bytes
    inode.rdev = attributes.rdev
    inode.atime_ns = attributes.atime_ns
    inode.mtime_ns = attributes.mtime_ns
    inode.ctime_ns = attributes.ctime_ns
    inode.btime_ns = attributes.btime_ns
    inode.change = attributes.change
    inode.xattr_count = attributes.xattr_count
    inode.flags = attributes.flags
    inode.class_number = attributes.class_number
    inode.charged_to = inode.charged_bytes = inode.parent = 0
    if inode.is_directory():
        # 0 is no inode: who asks for the parent's is told that it is not held.
        inode.name, inode.next_cookie = b"", FIRST_COOKIE
    return inode
