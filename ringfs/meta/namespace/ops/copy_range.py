"""CopyRange: a range of one file becomes, by reference, what a range of another (or the same) is.

Rules: copy_file_range(2). No object is read: the destination points to the objects of the source; inline bytes are copied, holes
come as holes. It ends with the source; with more than COPIED_EXTENTS_MAX extents it is short, at a chunk's beginning. The
destination grows; its times and privileges change as with Allocate, unless nothing is copied.

| refused | when |
| --- | --- |
| STALE | an inode does not exist |
| IS_DIRECTORY, INVALID | one is a directory; no regular file |
| INVALID | ranges of the same file that overlap |
| FILE_TOO_BIG | the destination begins at FILE_BYTES_MAX or later (one that would only end there is cut short) |
| NOT_BY_REFERENCE | a chunk of the destination would have more than it holds |
| QUOTA | a quota above the destination has no room for what it would store more |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFMT, S_IFREG

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import COPIED_EXTENTS_MAX, FILE_BYTES_MAX
from ringfs.meta.namespace import content
from ringfs.meta.namespace.ops.allocate import written
from ringfs.meta.namespace.protection import refuse_if_immutable
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.content import CopyRange, RangeCopied


def apply(work: Work, op: CopyRange) -> RangeCopied:
    """See the module."""
    source, destination = _file(work, op.source), _file(work, op.destination)
    refuse_if_immutable(destination)
    if op.destination_offset >= FILE_BYTES_MAX:
        raise Refused(Code.FILE_TOO_BIG)
    length = min(op.length, source.size_bytes - op.source_offset, FILE_BYTES_MAX - op.destination_offset)
    if length <= 0:
        return RangeCopied(0, 0, destination.attributes())
    if source is destination and abs(op.source_offset - op.destination_offset) < length:
        raise Refused(Code.INVALID, "overlapping ranges of one file")
    copied_bytes = copy(work, source, op.source_offset, destination, op.destination_offset, length)
    written(work, destination, privileged=op.privileged)
    return RangeCopied(copied_bytes, length - copied_bytes, destination.attributes())


def _file(work: Work, number: int) -> Inode:
    inode = work.inode(number)
    if inode.is_directory():
        raise Refused(Code.IS_DIRECTORY)
    if S_IFMT(inode.mode) != S_IFREG:
        raise Refused(Code.INVALID, "only regular files are copied")
    return inode


def copy(work: Work, source: Inode, source_offset: int, destination: Inode, destination_offset: int, length: int) -> int:
    """Copy within the source's size, grow the destination; how many bytes it were (more than 0). Refused NOT_BY_REFERENCE."""
    stop = source_offset + length
    pieces, stop = content.pieces_between(work.rows, source.number, source_offset, stop, COPIED_EXTENTS_MAX)
    copied_bytes = stop - source_offset
    content.cut(work, destination, destination_offset, destination_offset + copied_bytes)
    destination.size_bytes = max(destination.size_bytes, destination_offset + copied_bytes)
    if not content.place(work, destination, pieces, destination_offset - source_offset):
        raise Refused(Code.NOT_BY_REFERENCE)
    return copied_bytes
