"""Transactions of the namespace, which travel in a Mutate (messages/session.py). Questions are in messages/queries.py.

Wherever an operation makes or changes something for an application, uid, gid and umask are the caller's. Permissions
are checked by the kernel (default_permissions) before the request; what the kernel cannot check is checked in the
transaction. Times of a transaction come with it, chosen by the leader.
"""

from typing import Annotated

from ringfs.base.limits import COMMIT_FILES_MAX, INLINE_CHUNK_BYTES_MAX, OBJECT_BYTES_MAX, RESERVED_INODES_MAX
from ringfs.wire.messages.common import Attributes, Lease
from ringfs.wire.schema import (
    I64,
    U8,
    U16,
    U32,
    U64,
    Between,
    Hash,
    Name,
    Sized,
    Target,
    Text,
    XattrName,
    XattrValue,
    message,
)

#: Setattr.valid: which fields are meant.
SET_MODE = 1
SET_UID = 2
SET_GID = 4
SET_SIZE = 8
SET_ATIME = 16
SET_MTIME = 32
SET_CTIME = 64
#: atime or mtime is "now": the leader's time, the given one is ignored.
SET_ATIME_NOW = 128
SET_MTIME_NOW = 256
#: Take away what a write does: capabilities, and, unless privileged, suid, and sgid if group-executable.
KILL_PRIVILEGES = 512

#: Rename.flags, as renameat2(2).
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

#: SetXattr.flags, as setxattr(2).
XATTR_CREATE = 1
XATTR_REPLACE = 2

#: Extent.object_offset of extents that are no object's bytes.
INLINE = -1
HOLE = -2

Source = Annotated[bytes, Sized(0, INLINE_CHUNK_BYTES_MAX)]
ObjectSize = Annotated[int, Between(1, OBJECT_BYTES_MAX)]


# --- transactions ---------------------------------------------------------------------------------------------------


@message(0x0101)
class Mknod:
    """Make a file of any type but directory and symlink. Answer: Entry. open_mode (0, OPEN_READ, OPEN_WRITE) opens it at once
    for the session. If exclusive is false and the name exists as a regular file, that one is answered (and opened)."""

    parent: U64
    name: Name
    mode: U32
    rdev: U32
    uid: U32
    gid: U32
    umask: U32
    open_mode: U8
    exclusive: bool
    #: The number that a new inode gets, out of the session's reserved ones (ReserveInodes); 0: the next free one.
    inode: U64 = 0


@message(0x0102)
class Mkdir:
    """Answer: Entry. inode: as in Mknod."""

    parent: U64
    name: Name
    mode: U32
    uid: U32
    gid: U32
    umask: U32
    inode: U64 = 0


@message(0x0103)
class Symlink:
    """Answer: Entry. inode: as in Mknod."""

    parent: U64
    name: Name
    target: Target
    uid: U32
    gid: U32
    inode: U64 = 0


@message(0x0104)
class Link:
    """Answer: Entry."""

    inode: U64
    parent: U64
    name: Name


@message(0x0105)
class Unlink:
    """Remove a name of anything but a directory. Answer: Removed."""

    parent: U64
    name: Name


@message(0x0106)
class Rmdir:
    """Answer: Removed."""

    parent: U64
    name: Name


@message(0x0107)
class Rename:
    """Answer: Renamed."""

    parent: U64
    name: Name
    new_parent: U64
    new_name: Name
    flags: U32


@message(0x0108)
class Setattr:
    """Change the fields that `valid` names. Answer: Attributes. privileged: the caller may keep suid and sgid (CAP_FSETID)."""

    inode: U64
    valid: U16
    mode: U32
    uid: U32
    gid: U32
    size_bytes: U64
    atime_ns: I64
    mtime_ns: I64
    ctime_ns: I64
    privileged: bool


@message(0x0109)
class SetXattr:
    """Answer: Attributes. system.posix_acl_access changes the mode with it."""

    inode: U64
    name: XattrName
    value: XattrValue
    flags: U8
    #: Setting an access ACL takes sgid away (caller not in the group, no CAP_FSETID).
    kill_sgid: bool


@message(0x010A)
class RemoveXattr:
    """Answer: Attributes."""

    inode: U64
    name: XattrName


@message(0x010B)
class Extent:
    """`length` bytes of a file at `offset`. object_offset INLINE: source is the bytes; HOLE: source is empty; else source is an
    object's id and object_offset where in it they begin. Does not cross a chunk boundary."""

    offset: U64
    length: Annotated[int, Between(1, 1 << 26)]
    object_offset: I64
    source: Source


@message(0x010C)
class NewObject:
    """An object that this commit may point to, put durably on enough nodes by the client.

    stored_class is the class of service that was asked for, form how it was put: as that, or as copies (ring/classes.py).
    put_ns: the client's wall clock just before it began to put it (the last time it did). The machine goes by it when it decides
    whether a deletion may have overtaken the put: docs/formats/namespace.md, "Condemned objects".
    """

    object: Hash
    size_bytes: ObjectSize
    stored_class: Text
    put_ns: I64
    form: Text


@message(0x010D)
class FileCommit:
    """New extents of one file, applied in order over what is there; the size grows to their end, never shrinks.

    expected_change: the inode's `change`, or 0 for any: else CHANGED (used by rewriting what is already there).
    Times of -1 are left to the leader: mtime and ctime become now if there is any extent, unless rewrite is set.
    """

    inode: U64
    extents: Annotated[list[Extent], Sized(0, 65536)]
    mtime_ns: I64
    ctime_ns: I64
    atime_ns: I64
    expected_change: U64
    #: The same bytes in another place (destaging, compaction): touches neither times nor `change` nor what others cached. Extents
    #: past the end of the file are refused INVALID.
    rewrite: bool


@message(0x010E)
class Commit:
    """Point extents of several files to new bytes, each file on its own. Answer: Committed.

    Refused as a whole only with NO_OBJECT if an extent's object is neither live nor in objects, or its deletion may have begun
    (detail: hex ids, comma separated, at most 90 of them; put them again and repeat under a new request number), and with
    INVALID if a put_ns is ahead of the leader's clock by more than CLOCK_SKEW_MAX_NS.
    """

    objects: Annotated[list[NewObject], Sized(0, COMMIT_FILES_MAX)]
    files: Annotated[list[FileCommit], Sized(0, COMMIT_FILES_MAX)]


@message(0x010F)
class ReserveInodes:
    """Set numbers apart for inodes that the session makes, in place of those left from before. Answer: InodesReserved."""

    count: Annotated[int, Between(1, RESERVED_INODES_MAX)]


# --- answers of transactions ----------------------------------------------------------------------------------------


@message(0x0121)
class Entry:
    """An inode found or made under a name, and its directory afterwards. The leased flags: see messages/session.py.

    As the answer to Lookup, attributes is None if there is no such name (parent_leased: that too may be cached)."""

    attributes: Attributes | None
    parent: Attributes
    leased: Lease
    parent_leased: Lease


@message(0x0122)
class Removed:
    """The directory afterwards, and what the name stood for: its attributes with links already counted down (0: gone, or an orphan
    as long as somebody has it open)."""

    parent: Attributes
    removed: Attributes


@message(0x0123)
class Renamed:
    """Both directories (the same twice if they are one), the inode moved, and what was replaced or exchanged, if anything."""

    parent: Attributes
    new_parent: Attributes
    moved: Attributes
    other: Attributes | None


@message(0x0124)
class CommittedFile:
    """code 0: attributes afterwards. Else a refusal number (STALE, CHANGED, FILE_TOO_BIG, INVALID …), attributes None."""

    code: U16
    attributes: Attributes | None


@message(0x0125)
class Committed:
    """One for each file of the Commit, in order."""

    files: Annotated[list[CommittedFile], Sized(0, COMMIT_FILES_MAX)]


@message(0x0126)
class InodesReserved:
    """Numbers first … stop-1 are the session's, to be used in ascending order."""

    first: U64
    stop: U64
