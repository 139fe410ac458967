"""Moving a file's bytes to a better place without changing them: inline bytes into objects, scattered extents together.

A rewrite is committed only if the file did not change meanwhile (Commit's expected_change); else it is given up, and the next
commit that leaves the chunk in that state tries again. Nothing is lost either way.
"""

import structlog
import trio

from ringfs.base.errors import Refused
from ringfs.base.limits import CHUNK_BYTES, EXTENTS_PER_CHUNK_MAX, OBJECT_BYTES_MAX
from ringfs.client.blocks import BlockCache
from ringfs.client.extents import Piece
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.metadata import MetadataLink
from ringfs.client.objects import Objects
from ringfs.wire.messages.namespace import INLINE, Commit, Committed, Extent, FileCommit

log = structlog.get_logger("ringfs.client.rewriter")

#: A window of a scattered chunk with more pieces than this is worth one object.
_PIECES_PER_WINDOW = EXTENTS_PER_CHUNK_MAX * OBJECT_BYTES_MAX // CHUNK_BYTES // 2
_REWRITES_AT_ONCE = 2


class Rewriter:
    """See the module."""

    def __init__(self, link: MetadataLink, objects: Objects, inodes: InodeTable, blocks: BlockCache) -> None:
        self._link = link
        self._objects = objects
        self._inodes = inodes
        self._blocks = blocks
        #: (inode number, chunk) that are being rewritten: one rewrite of a chunk at a time.
        self._busy: set[tuple[int, int]] = set()
        #: Each rewrite holds up to OBJECT_BYTES_MAX of bytes that are not counted as dirty.
        self._at_once = trio.Semaphore(_REWRITES_AT_ONCE)

    def is_scattered(self, inode: Inode, chunk: int) -> bool:
        """Whether the chunk has more extents than it should."""
        return inode.extents.piece_count(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES) > EXTENTS_PER_CHUNK_MAX

    async def destage(self, inode: Inode, chunk: int) -> None:
        """Move a chunk's inline bytes into one object."""
        pieces = [piece for piece in inode.extents.chunk_pieces(chunk) if piece.object_offset == INLINE]
        await self._exclusively(inode, chunk, pieces)

    async def compact(self, inode: Inode, chunk: int) -> None:
        """Give each scattered 8 MiB window of a chunk an object of its own."""
        for start in range(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES, OBJECT_BYTES_MAX):
            pieces = list(inode.extents.pieces(start, start + OBJECT_BYTES_MAX))
            if len(pieces) > _PIECES_PER_WINDOW:
                await self._exclusively(inode, chunk, pieces)

    async def _exclusively(self, inode: Inode, chunk: int, pieces: list[Piece]) -> None:
        key, change = (inode.number, chunk), inode.extents.change
        if not pieces or not change or key in self._busy or inode.truncating or not self._link.holds(inode.lease_epoch):
            return
        self._busy.add(key)
        try:
            async with self._at_once:
                await self._rewrite(inode, pieces, change)
        except Refused as refused:
            log.info("chunk not rewritten", inode=inode.number, chunk=chunk, reason=str(refused))
        finally:
            self._busy.discard(key)

    async def _rewrite(self, inode: Inode, pieces: list[Piece], change: int) -> None:
        parts: list[memoryview] = []
        extents: list[Extent] = []
        offset = 0
        for piece in pieces:
            parts += await self._bytes_of(piece)
            extents.append(Extent(piece.start, piece.length, offset, b""))
            offset += piece.length
        new = await self._objects.put(parts, self._link.default_class)
        for extent in extents:
            extent.source = new.object
        file = FileCommit(inode.number, extents, -1, -1, -1, change, True)
        answer: Committed = await self._link.mutate(Commit([new], [file]), urgent=True)
        result = answer.files[0]
        if result.attributes is None:
            return
        if inode.extents.change == change:
            inode.extents.apply(extents)
        else:
            # Something of ours was committed between the transaction and its answer: which came first is not known here.
            inode.extents.clear()
        self._inodes.absorb(result.attributes, 0, own=True)

    async def _bytes_of(self, piece: Piece) -> list[memoryview]:
        if piece.object_offset == INLINE:
            return [memoryview(piece.source)]
        return await self._blocks.read(piece.source, piece.object_offset, piece.object_offset + piece.length, stream=False)
