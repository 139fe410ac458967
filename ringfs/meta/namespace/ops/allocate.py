"""Allocate: fallocate(2): grow a file, make a hole, take a range out of it, put a hole in between.

Rules: fallocate(2), fs/open.c vfs_fallocate, with ext4's and xfs's answers. Nothing is reserved: where every write is stored anew,
there is nothing to reserve; a client asks for free space first. Zeroing is making a hole. mtime and ctime are now, and as with a
write capabilities go, and (but for the privileged) suid and sgid of a group-executable file. A range is taken out or put in by
moving the extents behind it.

| mode | |
| --- | --- |
| 0 | the file is at least offset + length long |
| KEEP_SIZE | nothing |
| PUNCH_HOLE, KEEP_SIZE | a hole |
| ZERO_RANGE | a hole; the file is at least offset + length long, but with KEEP_SIZE |
| COLLAPSE_RANGE | the range is taken out, the file is shorter by length |
| INSERT_RANGE | a hole comes in at offset, the file is longer by length |

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| NOT_SUPPORTED | any other mode; more than MOVED_EXTENTS_MAX extents, or too much in one chunk, would be moved |
| IS_DIRECTORY, INVALID | it is a directory; no regular file |
| INVALID | a length of 0; to collapse or insert: no multiples of MOVE_BYTES, a range that reaches the end, an offset at the end |
| FILE_TOO_BIG | it would end past FILE_BYTES_MAX |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFMT, S_IFREG

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import FILE_BYTES_MAX, MOVE_BYTES, MOVED_EXTENTS_MAX
from ringfs.meta.namespace import content
from ringfs.meta.namespace.protection import refuse_changing, refuse_if_immutable
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.meta.namespace.xattrs import drop_capability, drop_privileges
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.content import COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, Allocate

_MODES = (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE, COLLAPSE_RANGE, INSERT_RANGE)


def apply(work: Work, op: Allocate) -> Attributes:
    """See the module."""
    inode = work.inode(op.inode)
    _check(inode, op)
    if op.mode & ~KEEP_SIZE:
        refuse_changing(inode)
    refuse_if_immutable(inode)
    stop = op.offset + op.length
    if op.mode == COLLAPSE_RANGE:
        _collapse(work, inode, op.offset, stop)
    elif op.mode == INSERT_RANGE:
        _insert(work, inode, op.offset, op.length)
    else:
        if op.mode & (PUNCH_HOLE | ZERO_RANGE):
            content.cut(work, inode, op.offset, stop)
        if not op.mode & KEEP_SIZE:
            inode.size_bytes = max(inode.size_bytes, stop)
    written(work, inode, privileged=op.privileged)
    return inode.attributes()


def _check(inode: Inode, op: Allocate) -> None:
    if op.mode not in _MODES:
        raise Refused(Code.NOT_SUPPORTED, "a mode of fallocate")
    if inode.is_directory():
        raise Refused(Code.IS_DIRECTORY)
    if S_IFMT(inode.mode) != S_IFREG or not op.length:
        raise Refused(Code.INVALID, "a range of a regular file")
    if op.offset + op.length > FILE_BYTES_MAX:
        raise Refused(Code.FILE_TOO_BIG)
    if op.mode & (COLLAPSE_RANGE | INSERT_RANGE) and (op.offset % MOVE_BYTES or op.length % MOVE_BYTES):
        raise Refused(Code.INVALID, f"multiples of {MOVE_BYTES}")


def _collapse(work: Work, inode: Inode, start: int, stop: int) -> None:
    if stop >= inode.size_bytes:
        raise Refused(Code.INVALID, "the range to collapse reaches the end")
    _move(work, inode, start, stop, start - stop)


def _insert(work: Work, inode: Inode, offset: int, length: int) -> None:
    if offset >= inode.size_bytes:
        raise Refused(Code.INVALID, "nothing lies behind the place to insert at")
    if inode.size_bytes + length > FILE_BYTES_MAX:
        raise Refused(Code.FILE_TOO_BIG)
    _move(work, inode, offset, offset, length)


def _move(work: Work, inode: Inode, start: int, tail: int, shift_bytes: int) -> None:
    """What lies from tail on goes shift_bytes further back, all else from start on goes."""
    pieces, stop = content.pieces_between(work.rows, inode.number, tail, inode.size_bytes, MOVED_EXTENTS_MAX)
    if stop < inode.size_bytes:
        raise Refused(Code.NOT_SUPPORTED, f"moving more than {MOVED_EXTENTS_MAX} extents")
    content.cut(work, inode, start, inode.size_bytes)
    inode.size_bytes += shift_bytes
    if not content.place(work, inode, pieces, shift_bytes):
        raise Refused(Code.NOT_SUPPORTED, "more in one chunk than it holds")


def written(work: Work, inode: Inode, *, privileged: bool) -> None:
    """The file's content was changed now."""
    (drop_capability if privileged else drop_privileges)(work, inode)
    inode.mtime_ns = inode.ctime_ns = work.now_ns
    work.changed(inode)
