"""Compaction: the live bytes of an object that is mostly dead move to one of their own; files point there, and the old one dies.

Nobody notices: each file's extents are replaced only if they still are what was read (Rewrite). What changes meanwhile is left to
the next pass.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import BLOCK_BYTES
from ringfs.data.steward.reach import Reach
from ringfs.data.steward.throttle import Throttle
from ringfs.objects.objects import Objects
from ringfs.wire.messages.heal import ListReferences, LiveObject
from ringfs.wire.messages.namespace import Extent, NewObject
from ringfs.wire.messages.queries import ReadExtents
from ringfs.wire.messages.sharing import Rewrite
from ringfs.wire.pieces import digest

log = structlog.get_logger("ringfs.data.steward")

#: What more chunks than this point to stays as it is.
_CHUNKS_MAX = 1024


class Chunk(NamedTuple):
    """The extents of a chunk that point to the object."""

    inode: int
    extents: list[Extent]


class Compactor:
    """See the module."""

    def __init__(self, reach: Reach, objects: Objects, throttle: Throttle) -> None:
        self._reach = reach
        self._objects = objects
        self._throttle = throttle

    async def run(self, sparse: Iterable[LiveObject], goes_on: Callable[[], bool]) -> None:
        """Compact them one after the other, as long as goes_on says so."""
        for row in sparse:
            if not goes_on():
                return
            try:
                await self._compact(row)
            except (Refused, ConnectionLost) as error:
                log.info("an object was not compacted", object=row.object.hex(), reason=str(error))

    async def _compact(self, row: LiveObject) -> None:
        chunks = await self._chunks_of(row.object)
        ranges = merged((each.object_offset, each.object_offset + each.length) for chunk in chunks for each in chunk.extents)
        live_bytes = sum(stop - start for start, stop in ranges)
        if not 0 < 2 * live_bytes < row.size_bytes:
            return
        await self._throttle.take(2 * live_bytes)
        new = await self._objects.put([await self._read(row.object, *each) for each in ranges], row.stored_class)
        for chunk in chunks:
            await self._reach.ask_leader(_rewrite_of(chunk, new, ranges))
        log.info("an object was compacted", object=row.object.hex(), size_bytes=row.size_bytes, live_bytes=live_bytes)

    async def _chunks_of(self, oid: bytes) -> list[Chunk]:
        """Everything that points to the object; nothing if that is too much."""
        page = await self._reach.ask_leader(ListReferences(oid, 0, 0, _CHUNKS_MAX))
        if page.more:
            return []
        chunks = []
        for reference in page.references:
            found = await self._reach.ask_leader(ReadExtents(reference.inode, reference.chunk, 1))
            extents = [each for each in found.extents if each.object_offset >= 0 and each.source == oid]
            chunks.append(Chunk(reference.inode, extents))
        return [chunk for chunk in chunks if chunk.extents]

    async def _read(self, oid: bytes, start: int, stop: int) -> memoryview:
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        content = await self._objects.read_blocks(oid, first, last - first + 1)
        return content[start - first * BLOCK_BYTES : stop - first * BLOCK_BYTES]


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in ascending ranges that neither touch nor overlap. A range is its first byte and the one after its last."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def _rewrite_of(chunk: Chunk, new: NewObject, ranges: Sequence[tuple[int, int]]) -> Rewrite:
    """The chunk's extents pointing into the new object, which has the ranges one after the other."""
    extents = [Extent(each.offset, each.length, _place_of(each.object_offset, ranges), new.object) for each in chunk.extents]
    before = digest([each.offset, each.length, each.source, each.object_offset] for each in chunk.extents)
    return Rewrite(chunk.inode, [new], extents, before)


def _place_of(offset: int, ranges: Sequence[tuple[int, int]]) -> int:
    place = 0
    for start, stop in ranges:
        if start <= offset < stop:
            return place + offset - start
        place += stop - start
    raise AssertionError("every extent lies in a range")
