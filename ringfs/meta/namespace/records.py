"""The values of the namespace's rows, packed and unpacked. Normative: docs/formats/namespace.md. Keys: keys.py.

Values are msgpack arrays in the order given here. Hand-written: these are the machine's hot path.
"""

from stat import S_IFDIR, S_IFMT
from struct import Struct
from typing import Any

from ringfs.wire.messages.common import Attributes
from ringfs.wire.packing import pack, unpack

#: The format that docs/formats/namespace.md describes.
FORMAT_VERSION = 2
#: How many fields an inode's row shares with Attributes, in the same order; the parent follows, and two more for a directory.
_SHARED = 15


class Inode:
    """An inode while a transaction works on it. Mutable; Work.inode gives out one per number and transaction.

    The fields up to `class_number` are those of Attributes. For a directory size_bytes is its count of entries, links is 2 + its
    subdirectories (0 once removed), and name and next_cookie have meaning.
    """

    __slots__ = (
        "atime_ns",
        "btime_ns",
        "change",
        "charged_bytes",
        "charged_to",
        "class_number",
        "ctime_ns",
        "flags",
        "gid",
        "links",
        "mode",
        "mtime_ns",
        "name",
        "next_cookie",
        "number",
        "parent",
        "rdev",
        "size_bytes",
        "stored_bytes",
        "uid",
        "xattr_count",
    )

    number: int
    mode: int
    uid: int
    gid: int
    links: int
    size_bytes: int
    stored_bytes: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    change: int
    xattr_count: int
    flags: int
    class_number: int
    #: The directory that it counts in: a directory's own, another's home (usage.py); 0 without a name. The root is its own parent.
    parent: int
    #: Directories: the name in the parent; the root's is b"".
    name: bytes
    #: Directories: the cookie that the next new entry gets. Only grows.
    next_cookie: int
    #: What usage rows say of it, in this transaction: where it is counted (0: nowhere), and with how many stored bytes.
    charged_to: int
    charged_bytes: int

    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return S_IFMT(self.mode) == S_IFDIR

    def pack(self) -> bytes:
        """The value of its row."""
        fields: list[Any] = [
            self.mode,
            self.uid,
            self.gid,
            self.links,
            self.size_bytes,
            self.stored_bytes,
            self.rdev,
            self.atime_ns,
            self.mtime_ns,
            self.ctime_ns,
            self.btime_ns,
            self.change,
            self.xattr_count,
            self.flags,
            self.class_number,
            self.parent,
        ]
        if self.mode & 0o170000 == S_IFDIR:
            fields += (self.name, self.next_cookie)
        return pack(fields)

    def attributes(self) -> Attributes:
        """As everybody outside sees it."""
        return Attributes(
            self.number,
            self.mode,
            self.uid,
            self.gid,
            self.links,
            self.size_bytes,
            self.stored_bytes,
            self.rdev,
            self.atime_ns,
            self.mtime_ns,
            self.ctime_ns,
            self.btime_ns,
            self.change,
            self.xattr_count,
            self.flags,
            self.class_number,
        )


def unpack_inode(number: int, value: bytes) -> Inode:
    """The inode that a row's value describes."""
    inode = Inode()
    inode.number = number
    fields = unpack(value)
    if len(fields) > _SHARED + 1:
        inode.name, inode.next_cookie = fields[_SHARED + 1 :]
        del fields[_SHARED + 1 :]
    (
        inode.mode,
        inode.uid,
        inode.gid,
        inode.links,
        inode.size_bytes,
        inode.stored_bytes,
        inode.rdev,
        inode.atime_ns,
        inode.mtime_ns,
        inode.ctime_ns,
        inode.btime_ns,
        inode.change,
        inode.xattr_count,
        inode.flags,
        inode.class_number,
        inode.parent,
    ) = fields
    inode.charged_to, inode.charged_bytes = inode.parent, inode.stored_bytes
    return inode


def unpack_attributes(number: int, value: bytes) -> Attributes:
    """Attributes straight from a row's value, for questions."""
    return Attributes(number, *unpack(value)[:_SHARED])


class Counters:
    """The counters' row. Each is exact after every transaction."""

    __slots__ = (
        "dead_bytes",
        "inode_count",
        "live_bytes",
        "next_condemned",
        "next_inode",
        "next_node",
        "next_session",
        "quota_count",
    )

    #: The numbers that the next inode, session, node and verdict get. Only grow.
    next_inode: int
    next_session: int
    next_node: int
    next_condemned: int
    #: Inodes that have a row, orphans included.
    inode_count: int
    #: Bytes of objects that extents point to; a byte that two extents point to counts twice.
    live_bytes: int
    #: Bytes of objects that nothing needs: max(0, size - live) of each live one, and the sizes of the condemned ones.
    dead_bytes: int
    #: Directories with a quota.
    quota_count: int

    def pack(self) -> bytes:
        """The value of the row."""
        return pack(
            (
                self.next_inode,
                self.next_session,
                self.next_node,
                self.next_condemned,
                self.inode_count,
                self.live_bytes,
                self.dead_bytes,
                self.quota_count,
            )
        )


def unpack_counters(value: bytes) -> Counters:
    """The counters that a row's value holds."""
    counters = Counters()
    (
        counters.next_inode,
        counters.next_session,
        counters.next_node,
        counters.next_condemned,
        counters.inode_count,
        counters.live_bytes,
        counters.dead_bytes,
        counters.quota_count,
    ) = unpack(value)
    return counters


# --- small rows: (fields) → value, and back as a list ----------------------------------------------------------------

#: dentry: child, file type (its bits of the mode, shifted right by 12), cookie.
Dentry = list[int]


def pack_dentry(child: int, mode: int, cookie: int) -> bytes:
    """Value of a dentry's row."""
    return pack((child, mode >> 12, cookie))


def pack_cookie(name: bytes, child: int) -> bytes:
    """Value of a cookie's row."""
    return pack((name, child))


def pack_object(size_bytes: int, live_bytes: int, stored_class: str, form: str) -> bytes:
    """Value of a live object's row."""
    return pack((size_bytes, live_bytes, stored_class, form))


def pack_condemned(oid: bytes, verdict_ns: int, size_bytes: int) -> bytes:
    """Value of a condemned object's row."""
    return pack((oid, verdict_ns, size_bytes))


def pack_session(name: str, opened_ns: int, acknowledged: int) -> bytes:
    """Value of a session's row."""
    return pack((name, opened_ns, acknowledged))


#: usage: [parent (0 for the root), bytes, files], and with a quota [most bytes, most files] (0: any).
UsageRow = list[int]
_USAGE = Struct(">3Q")
_USAGE_LIMITED = Struct(">5Q")


def pack_usage(row: UsageRow) -> bytes:
    """Value of a usage row. Of a fixed width, not msgpack: every write changes one for each directory above it."""
    return _USAGE.pack(*row) if len(row) == 3 else _USAGE_LIMITED.pack(*row)


def unpack_usage(value: bytes) -> UsageRow:
    """The row that a value holds."""
    return list(_USAGE.unpack(value)) if len(value) == 24 else list(_USAGE_LIMITED.unpack(value))


#: Value of rows that say all in their key.
NOTHING = pack(None)
#: Value of the orphan row of a file that may get a name again.
LINKABLE = pack(True)
