"""Rewrite: the same bytes in another place, if what they take the place of is still what was read. Nothing that others see changes.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| INVALID | it is no regular file; a malformed extent; past the end |
| NO_OBJECT, INVALID | as with Commit |
| CHANGED | something else is there |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import content
from ringfs.meta.namespace.condemned import objects_for
from ringfs.meta.namespace.ops.commit import file_of, objects_in
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.sharing import Rewrite


def apply(work: Work, op: Rewrite) -> Attributes:
    """See the module."""
    sizes = objects_for(work, op.objects, objects_in(op.extents))
    work.declared = op.objects
    inode = file_of(work, op.inode)
    if max(extent.offset + extent.length for extent in op.extents) > inode.size_bytes:
        raise Refused(Code.INVALID, "a rewrite past the end of the file")
    ranges = [(extent.offset, extent.offset + extent.length) for extent in op.extents]
    if content.digest_between(work.rows, inode.number, ranges) != op.before:
        raise Refused(Code.CHANGED)
    content.splice_extents(work, inode, op.extents, sizes)
    work.unsaved(inode)
    return inode.attributes()
