"""What several conversations share: attributes, refusals, empty answers."""

from typing import Annotated

from ringfs.wire.schema import I64, U8, U16, U32, U64, Between, Text, message

#: How an answer lets a session keep what it shows of an inode: not at all; until it is recalled; so, and nobody else keeps it or
#: has it open, so that the session may change it first and tell later (messages/session.py).
NOT_LEASED, LEASED, DELEGATED = 0, 1, 2
#: The extended attribute that shows and sets the class of service of a file or directory. xattr_count does not count it.
CLASS_XATTR = b"user.ringfs.class"
Lease = Annotated[int, Between(NOT_LEASED, DELEGATED)]


@message(0x0001)
class Done:
    """It happened; there is nothing more to say."""


@message(0x0002)
class Refusal:
    """It did not happen. `code` is a number of base/errors.py."""

    code: U16
    detail: Text


@message(0x0003)
class Attributes:
    """An inode as everybody outside the metadata service sees it. Times in ns since the epoch."""

    inode: U64
    mode: U32
    uid: U32
    gid: U32
    links: U32
    size_bytes: U64
    #: Bytes that extents cover: what st_blocks shows.
    stored_bytes: U64
    rdev: U32
    atime_ns: I64
    mtime_ns: I64
    ctime_ns: I64
    btime_ns: I64
    #: Grows with every change of the inode, its xattrs, its extents or (for a directory) its entries.
    change: U64
    #: 0 if the inode has no xattr at all, so that a client need not ask for one.
    xattr_count: U16
    #: As FS_IOC_GETFLAGS: messages/files.py, FLAG_….
    flags: U32
    #: Its class of service: where in ClusterMap.classes it is.
    class_number: U8 = 0
