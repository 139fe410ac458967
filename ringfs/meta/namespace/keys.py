"""Every key of the namespace: a one-byte family, then what orders the rows in it. Normative: docs/formats/namespace.md.

Integers are big-endian, so that the order of bytes is the order of numbers. Values: records.py.
"""

from struct import Struct

_U16 = Struct(">H")
_U32 = Struct(">I")
_U64 = Struct(">Q")
_U64_U32 = Struct(">QI")
_U64_U64 = Struct(">QQ")

#: One-byte families, in the order of the page. Bytes below 0x20 are left to the stores that hold the namespace.
INODE = b"I"
DENTRY = b"D"
COOKIE = b"C"
XATTR = b"X"
TARGET = b"L"
CHUNK = b"E"
DOOMED = b"Z"
OBJECT = b"O"
REFERENCE = b"R"
CONDEMNED = b"V"
VERDICT = b"W"
ORPHAN = b"U"
HELD = b"H"
SESSION = b"S"
REPLY = b"A"
RESERVED = b"G"
NODE = b"N"
REAPED = b"P"
LOCK = b"K"
LOCKER = b"J"
LOCK_COUNT = b"B"
USAGE = b"Q"
QUOTA = b"T"
ELSEWHERE = b"F"
RETIRED = b"Y"
SERVICE_CLASS = b"c"

#: Single rows.
FORMAT = b"Mformat"
COUNTERS = b"Mcounters"
CLUSTER = b"Mcluster"
DEFAULT_CLASS = b"Mclass"
MAP_EPOCH = b"Mepoch"

FAMILIES = (
    *(INODE, DENTRY, COOKIE, XATTR, TARGET, CHUNK, OBJECT, REFERENCE, CONDEMNED, VERDICT, ORPHAN, HELD),
    *(SESSION, REPLY, RESERVED, NODE, REAPED, LOCK, LOCKER, LOCK_COUNT, DOOMED, USAGE, QUOTA, ELSEWHERE, RETIRED, SERVICE_CLASS),
)
SINGLE_ROWS = (FORMAT, COUNTERS, CLUSTER, DEFAULT_CLASS, MAP_EPOCH)

u16 = _U16.pack
u32 = _U32.pack
u64 = _U64.pack
u64_u32 = _U64_U32.pack
u64_u64 = _U64_U64.pack


def inode(number: int) -> bytes:
    """Row of an inode."""
    return INODE + u64(number)


def dentry(parent: int, name: bytes) -> bytes:
    """Row of a name in a directory."""
    return DENTRY + u64(parent) + name


def cookie(parent: int, number: int) -> bytes:
    """Row of a place in a directory's order."""
    return COOKIE + u64_u64(parent, number)


def xattr(number: int, name: bytes) -> bytes:
    """Row of an extended attribute."""
    return XATTR + u64(number) + name


def target(number: int) -> bytes:
    """Row of a symlink's target."""
    return TARGET + u64(number)


def chunk(number: int, index: int) -> bytes:
    """Row of the extents of one chunk of a file."""
    return CHUNK + u64_u32(number, index)


def doomed(number: int) -> bytes:
    """Row of the chunks that are not the inode's any more."""
    return DOOMED + u64(number)


def object_row(oid: bytes) -> bytes:
    """Row of a live object."""
    return OBJECT + oid


def reference(oid: bytes, chunk_suffix: bytes) -> bytes:
    """Row of the bytes of an object that one chunk points to; chunk_suffix is what follows the family in chunk()."""
    return REFERENCE + oid + chunk_suffix


def condemned(sequence: int) -> bytes:
    """Row of a dead object, in order of verdicts."""
    return CONDEMNED + u64(sequence)


def verdict(oid: bytes) -> bytes:
    """Row that finds a dead object's sequence number."""
    return VERDICT + oid


def orphan(number: int, session: int) -> bytes:
    """Row of a session that keeps an unlinked inode alive."""
    return ORPHAN + u64_u64(number, session)


def held(session: int, number: int) -> bytes:
    """The same, by session."""
    return HELD + u64_u64(session, number)


def session(number: int) -> bytes:
    """Row of a session."""
    return SESSION + u64(number)


def reply(session_number: int, number: int) -> bytes:
    """Row of the answer to a session's transaction."""
    return REPLY + u64_u64(session_number, number)


def reserved(session_number: int) -> bytes:
    """Row of the inode numbers that are set apart for a session."""
    return RESERVED + u64(session_number)


def node(number: int) -> bytes:
    """Row of a data node."""
    return NODE + u16(number)


def service_class(number: int) -> bytes:
    """Row of a class of service that inodes may have."""
    return SERVICE_CLASS + bytes((number,))


def retired(uuid: str) -> bytes:
    """Row of a disk that was removed or replaced."""
    return RETIRED + uuid.encode()


def reaped(number: int) -> bytes:
    """Row of how far a data node has deleted condemned objects."""
    return REAPED + u16(number)


def lock(inode_number: int, space: int, session_number: int, owner: int) -> bytes:
    """Row of what an owner has locked of a file."""
    return LOCK + u64(inode_number) + bytes((space,)) + u64_u64(session_number, owner)


def locker(session_number: int, inode_number: int, space: int, owner: int) -> bytes:
    """The same, by session."""
    return LOCKER + u64_u64(session_number, inode_number) + bytes((space,)) + u64(owner)


def lock_count(session_number: int) -> bytes:
    """Row of how many of these a session has; none for 0."""
    return LOCK_COUNT + u64(session_number)


def usage(directory: int) -> bytes:
    """Row of what is below a directory, and of its quota."""
    return USAGE + u64(directory)


def quota(directory: int) -> bytes:
    """Row that finds a directory with a quota."""
    return QUOTA + u64(directory)


def elsewhere(number: int, directory: int) -> bytes:
    """Row of the names that an inode has in a directory beside the one that it is charged by."""
    return ELSEWHERE + u64_u64(number, directory)


def number_at(key: bytes, position: int) -> int:
    """The 64-bit integer at that position of a key (1 is right after the family)."""
    return int.from_bytes(key[position : position + 8], "big")
