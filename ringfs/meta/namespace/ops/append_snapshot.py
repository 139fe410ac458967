"""AppendSnapshot: objects that the leader has put for a snapshot of the state are kept, as the content of a file without a name.

The file is an orphan that session 0 holds; nobody but root may read it through a handle, nobody may change it. Each object begins
at a multiple of the largest object's size, so none crosses the end of a chunk. FreeOrphans ends it.

| refused | when |
| --- | --- |
| NO_OBJECT, INVALID | as in commit.py |
| INVALID | the inode is no snapshot's |
"""

from stat import S_IFREG

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import NO_SESSION
from ringfs.base.limits import OBJECT_BYTES_MAX
from ringfs.meta.namespace import content, keys
from ringfs.meta.namespace.condemned import objects_for
from ringfs.meta.namespace.records import NOTHING, Inode
from ringfs.meta.namespace.system import AppendSnapshot, SnapshotAppended
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.files import FLAG_IMMUTABLE
from ringfs.wire.messages.namespace import Extent


def apply(work: Work, op: AppendSnapshot) -> SnapshotAppended:
    """See the module."""
    inode = _file(work, op.inode) if op.inode else _new_file(work)
    sizes = objects_for(work, op.objects, {new.object for new in op.objects})
    work.declared = op.objects
    begin = -(-inode.size_bytes // OBJECT_BYTES_MAX)
    extents = [Extent((begin + at) * OBJECT_BYTES_MAX, sizes[new.object], 0, new.object) for at, new in enumerate(op.objects)]
    content.splice_extents(work, inode, extents, sizes)
    inode.size_bytes = extents[-1].offset + extents[-1].length
    work.changed(inode)
    return SnapshotAppended(inode.number)


def _file(work: Work, number: int) -> Inode:
    if work.rows.get(keys.held(NO_SESSION, number)) is None:
        raise Refused(Code.INVALID, f"inode {number} is no snapshot's")
    return work.inode(number)


def _new_file(work: Work) -> Inode:
    inode = work.new_inode(S_IFREG, 0, 0, links=0)
    inode.flags = FLAG_IMMUTABLE
    work.rows.put(keys.orphan(inode.number, NO_SESSION), NOTHING)
    work.rows.put(keys.held(NO_SESSION, inode.number), NOTHING)
    return inode
