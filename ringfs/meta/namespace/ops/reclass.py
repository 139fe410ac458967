"""Reclass: the objects that a file points to get the file's class; how they are stored follows later, by stewards (Reform).

A class that promises less than the object's comes only if no other file that points to the object has one that promises more.
Bounded: after OBJECTS_MAX objects, or as many references looked at, the rest is asked for with the position that was answered.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| INVALID | it is no regular file |
"""

from collections.abc import Iterator
from itertools import islice

from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.limits import HASH_BYTES
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.content import CHUNKS_MAX
from ringfs.meta.namespace.doomed import visible_chunks
from ringfs.meta.namespace.ops.commit import file_of
from ringfs.meta.namespace.promises import tolerance_of
from ringfs.meta.namespace.records import pack_object
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.heal import Reclass, Reclassed
from ringfs.wire.packing import unpack

OBJECTS_MAX = 512
#: Of one object. Where more point to it, it keeps the class that promises more.
_REFERENCES_MAX = 128


def apply(work: Work, op: Reclass) -> Reclassed:
    """See the module."""
    inode = file_of(work, op.inode)
    wanted = work.class_of(inode)
    answer = Reclassed(-1, b"", 0, 0, 0)
    effort = 0
    for chunk, oid in _objects_from(work, op):
        if effort >= OBJECTS_MAX:
            break
        effort += 1 + _give(work, oid, wanted, answer)
        answer.next_chunk, answer.after = chunk, oid
    else:
        answer.next_chunk, answer.after = -1, b""
    return answer


def _objects_from(work: Work, op: Reclass) -> Iterator[tuple[int, bytes]]:
    """(chunk, object) of the file after the position, in order; an object once for each chunk."""
    for chunk, value in visible_chunks(work.rows, op.inode, op.first_chunk, CHUNKS_MAX):
        after = op.after if chunk == op.first_chunk else b""
        for oid in sorted({piece[2] for piece in unpack(value) if len(piece) == 4}):
            if oid > after:
                yield chunk, oid


def _give(work: Work, oid: bytes, wanted: str, answer: Reclassed) -> int:
    """Give an object the class, if it may have it, and count it; how many references were looked at."""
    row = work.references.live_object(oid)
    assert row is not None, "an extent points to a live object"
    size_bytes, live_bytes, stored_class, form = row
    answer.object_count += 1
    if stored_class == wanted:
        return 0
    looked = 0
    if tolerance_of(wanted) < tolerance_of(stored_class):
        needed, looked = _needed(work, oid)
        if needed > tolerance_of(wanted):
            return looked
    row[2] = wanted
    work.rows.put(keys.object_row(oid), pack_object(size_bytes, live_bytes, wanted, form))
    answer.changed_count += 1
    answer.changed_bytes += size_bytes
    return looked


def _needed(work: Work, oid: bytes) -> tuple[int, int]:
    """The tolerance that the files which point to an object promise, and how many references were looked at."""
    found = list(islice(scan_prefix(work.rows, keys.REFERENCE + oid), _REFERENCES_MAX + 1))
    if len(found) > _REFERENCES_MAX:
        return 1 << 8, len(found)
    numbers = {keys.number_at(key, 1 + HASH_BYTES) for key, _ in found}
    inodes = [inode for inode in map(work.find_inode, numbers) if inode is not None]
    return max((tolerance_of(work.class_of(inode)) for inode in inodes), default=0), len(found)
