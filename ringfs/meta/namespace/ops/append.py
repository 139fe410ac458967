"""Append: bytes behind the end of a file, wherever that is when the transaction comes: so of many that append at once none is lost.

Times and privileges change as with any write. Extents are cut where chunks end.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| INVALID | it is no regular file; a malformed extent; they do not follow each other from 0 on |
| NO_OBJECT, INVALID | as with Commit |
| NOT_PERMITTED | it is immutable |
| INLINE_FULL | a chunk would have more than INLINE_CHUNK_BYTES_MAX of inline bytes |
| FILE_TOO_BIG | it would end past FILE_BYTES_MAX |
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import CHUNK_BYTES, INLINE_CHUNK_BYTES_MAX
from ringfs.meta.namespace import content
from ringfs.meta.namespace.condemned import objects_for
from ringfs.meta.namespace.ops.allocate import written
from ringfs.meta.namespace.ops.commit import file_of, objects_in
from ringfs.meta.namespace.protection import refuse_if_immutable
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import LEASED
from ringfs.wire.messages.namespace import INLINE, Extent
from ringfs.wire.messages.sharing import Append, Appended


def apply(work: Work, op: Append) -> Appended:
    """See the module."""
    sizes = objects_for(work, op.objects, objects_in(op.extents))
    work.declared = op.objects
    inode = file_of(work, op.inode)
    refuse_if_immutable(inode)
    offset = inode.size_bytes
    extents = [part for extent in op.extents for part in _moved(extent, offset)]
    if [extent.offset for extent in extents] != [offset, *(extent.offset + extent.length for extent in extents[:-1])]:
        raise Refused(Code.INVALID, "a gap before or in what is appended")
    _check_room(work, inode.number, extents)
    content.splice_extents(work, inode, extents, sizes)
    inode.size_bytes = extents[-1].offset + extents[-1].length
    written(work, inode, privileged=op.privileged)
    return Appended(inode.attributes(), offset, LEASED)


def _moved(extent: Extent, by: int) -> list[Extent]:
    """The extent so many bytes further back, in pieces that cross no chunk's boundary."""
    parts: list[Extent] = []
    at, done = extent.offset + by, 0
    while done < extent.length:
        length = min(extent.length - done, CHUNK_BYTES - at % CHUNK_BYTES)
        source, start = extent.source, extent.object_offset
        if start == INLINE:
            source = source[done : done + length]
        elif start >= 0:
            start += done
        parts.append(Extent(at, length, start, source))
        at, done = at + length, done + length
    return parts


def _check_room(work: Work, number: int, extents: list[Extent]) -> None:
    """Unlike a Commit's, these come from clients that do not know how full the chunks are."""
    inline: dict[int, int] = {}
    for extent in extents:
        if extent.object_offset == INLINE:
            index = extent.offset // CHUNK_BYTES
            inline[index] = inline.get(index, 0) + extent.length
    for index, added_bytes in inline.items():
        if content.inline_bytes(work.rows, number, index) + added_bytes > INLINE_CHUNK_BYTES_MAX:
            raise Refused(Code.INLINE_FULL, f"chunk {index} of inode {number}")
