"""Appending to a file that others write too: where its end is, only the metadata service knows, so each append is a transaction.

While the file is leased, nobody else writes it, and appends are dirty bytes like any others (file_system.py). Here an append is
durable when it returns. Small ones travel inline; the inline bytes that gather in a chunk are moved into an object by
whoever finds no room for more, while others go on appending.
"""

from collections import Counter
from collections.abc import Callable

import structlog
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import CHUNK_BYTES, OBJECT_BYTES_MAX
from ringfs.client.coherence import Coherence
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.metadata import MetadataLink
from ringfs.client.writer import INLINE_FLUSH_BYTES, Writer
from ringfs.objects.objects import Objects
from ringfs.wire.messages.namespace import INLINE, Extent, NewObject
from ringfs.wire.messages.queries import Extents, ReadExtents
from ringfs.wire.messages.sharing import Append, Appended, Rewrite
from ringfs.wire.pieces import digest

log = structlog.get_logger("ringfs.client.appender")

#: Takes data over as dirty bytes: inode, offset, data.
Write = Callable[[Inode, int, bytes | memoryview], None]
#: So often an append is brought anew: with room made in its chunk, with its object put again.
_TRIES = 5


class Appender:
    """See the module."""

    def __init__(self, link: MetadataLink, objects: Objects, inodes: InodeTable, coherence: Coherence, writer: Writer) -> None:
        self._link = link
        self._objects = objects
        self._inodes = inodes
        self._coherence = coherence
        self._writer = writer
        #: Appends on their way, by inode.
        self._under_way: Counter[int] = Counter()
        #: One chunk is tidied at a time: others that found no room wait, and find some.
        self._tidying = trio.Lock()

    async def append(self, inode: Inode, expected: int, data: bytes | memoryview, write: Write, *, privileged: bool) -> None:
        """Put data behind the end of the file: by write(inode, offset, data) if the end is known here, else by a transaction. The
        kernel, if it expected another offset, is told that it was wrong. Raises Refused; after IO and NO_SESSION it is not known
        whether the data is there."""
        if inode.number in self._under_way or inode.flushes_obeyed or not self._link.holds(inode.lease_epoch):
            offset = await self._append_there(inode, data, privileged)
        else:
            # Nothing is awaited between this and the write: another append would get the same offset.
            offset = inode.merged().size_bytes
            write(inode, offset, data)
        if offset != expected:
            await self._coherence.drop_from_kernel(inode)

    async def _append_there(self, inode: Inode, data: bytes | memoryview, privileged: bool) -> int:
        self._under_way[inode.number] += 1
        try:
            if inode.dirty:
                await self._writer.flush([inode])
            return await self._append(inode, memoryview(data), privileged)
        finally:
            self._under_way[inode.number] -= 1
            if not self._under_way[inode.number]:
                del self._under_way[inode.number]

    async def _append(self, inode: Inode, data: memoryview, privileged: bool) -> int:
        is_inline = len(data) <= INLINE_FLUSH_BYTES
        left = _TRIES
        while True:
            left -= 1
            objects, extents = ([], [Extent(0, len(data), INLINE, bytes(data))]) if is_inline else await self._put(inode, data)
            try:
                answer: Appended
                answer, epoch = await self._coherence.change(Append(inode.number, objects, extents, privileged))
            except Refused as refused:
                if refused.code not in (Code.INLINE_FULL, Code.NO_OBJECT) or not left:
                    raise
                is_inline = is_inline and await self._make_room(inode)
                continue
            self._inodes.absorb(answer.attributes, epoch, own=True, leased=answer.leased)
            inode.extents.clear()
            return answer.offset

    async def _put(self, inode: Inode, data: memoryview) -> tuple[list[NewObject], list[Extent]]:
        """The data as objects, and the extents that point to them."""
        objects: list[NewObject] = []
        extents: list[Extent] = []
        for start in range(0, len(data), OBJECT_BYTES_MAX):
            part = data[start : start + OBJECT_BYTES_MAX]
            objects.append(await self._objects.put([part], self._link.class_of(inode.attributes)))
            extents.append(Extent(start, len(part), 0, objects[-1].object))
        return objects, extents

    # --- inline bytes into objects ----------------------------------------------------------------------------------

    async def _make_room(self, inode: Inode) -> bool:
        """Move the inline bytes of the file's last chunk into an object, unless somebody did; whether that may have helped."""
        async with self._tidying:
            found = await self._last_chunk(inode)
            inline = [extent for extent in found.extents if extent.object_offset == INLINE]
            if sum(extent.length for extent in inline) <= INLINE_FLUSH_BYTES:
                return True
            new = await self._objects.put([memoryview(extent.source) for extent in inline], self._link.class_of(inode.attributes))
            before = digest([[extent.offset, extent.source] for extent in inline])
            moved: list[Extent] = []
            for extent in inline:
                place = moved[-1].object_offset + moved[-1].length if moved else 0
                moved.append(Extent(extent.offset, extent.length, place, new.object))
            try:
                await self._coherence.change(Rewrite(inode.number, [new], moved, before))
            except Refused as refused:
                log.info("chunk not rewritten", inode=inode.number, reason=str(refused))
                return refused.code is Code.CHANGED
        return True

    async def _last_chunk(self, inode: Inode) -> Extents:
        """The extents of the chunk that the file ends in."""
        chunk = inode.attributes.size_bytes // CHUNK_BYTES
        while True:
            found: Extents
            found, _ = await self._coherence.ask(ReadExtents(inode.number, chunk, 1))
            last = found.attributes.size_bytes // CHUNK_BYTES
            if last == chunk:
                return found
            chunk = last
