"""Moving a file's bytes to a better place without changing them: inline bytes into objects, scattered extents together.

A rewrite is put beside whatever is committed meanwhile, and committed in turn with it (Turn): those of its bytes that are still
where they were are moved, if the service knows of no other change either (Commit's expected_change). Else it is given up, and the
next commit that leaves the chunk in that state tries again. Nothing is lost either way.
"""

from collections.abc import Callable

import structlog
import trio

from ringfs.base.errors import Refused
from ringfs.base.limits import CHUNK_BYTES, EXTENTS_PER_CHUNK_MAX, OBJECT_BYTES_MAX
from ringfs.client.blocks import BlockCache
from ringfs.client.extents import Piece
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.metadata import MetadataLink
from ringfs.objects.objects import Objects
from ringfs.wire.messages.namespace import INLINE, Commit, Committed, Extent, FileCommit, NewObject

log = structlog.get_logger("ringfs.client.rewriter")

#: A window of a scattered chunk with more pieces than this is worth one object.
_PIECES_PER_WINDOW = EXTENTS_PER_CHUNK_MAX * OBJECT_BYTES_MAX // CHUNK_BYTES // 2
_REWRITES_AT_ONCE = 2


class Turn:
    """Commits of extents go one after the other, so that what is known here of a file's extents is what a commit finds."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting = trio.lowlevel.ParkingLot()

    def try_take(self) -> bool:
        """Take it if it is free."""
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    async def take(self) -> None:
        """Wait for it; without a turn of the scheduler if it is free."""
        if not self.try_take():
            # Whoever is woken has it: see give.
            await self._waiting.park()

    def give(self) -> None:
        """Let the next one have it."""
        if self._waiting:
            self._waiting.unpark()
        else:
            self._is_taken = False


class Rewriter:
    """See the module."""

    def __init__(self, link: MetadataLink, objects: Objects, inodes: InodeTable, blocks: BlockCache) -> None:
        self._link = link
        self._objects = objects
        self._inodes = inodes
        self._blocks = blocks
        self.turn = Turn()
        #: Called when a rewrite has given its turn back: other commits may be due.
        self.after_turn: Callable[[], None] = lambda: None
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
        key = (inode.number, chunk)
        if not pieces or key in self._busy or not self._may_rewrite(inode):
            return
        self._busy.add(key)
        try:
            async with self._at_once:
                await self._rewrite(inode, pieces)
        except Refused as refused:
            log.info("chunk not rewritten", inode=inode.number, chunk=chunk, reason=str(refused))
        finally:
            self._busy.discard(key)

    def _may_rewrite(self, inode: Inode) -> bool:
        """Whether what is known of its extents is what the service has."""
        return bool(inode.extents.change) and not inode.truncating and self._link.holds(inode.lease_epoch)

    async def _rewrite(self, inode: Inode, pieces: list[Piece]) -> None:
        parts: list[memoryview] = []
        for piece in pieces:
            parts += await self._bytes_of(piece)
        new = await self._objects.put(parts, self._link.class_of(inode.attributes))
        await self.turn.take()
        try:
            if self._may_rewrite(inode):
                await self._commit(inode, pieces, new)
        finally:
            self.turn.give()
            self.after_turn()

    async def _commit(self, inode: Inode, pieces: list[Piece], new: NewObject) -> None:
        """Let those pieces that are what they were point into the new object, which has the bytes of all."""
        extents: list[Extent] = []
        offset = 0
        for piece in pieces:
            if list(inode.extents.pieces(piece.start, piece.stop)) == [piece]:
                extents.append(Extent(piece.start, piece.length, offset, new.object))
            offset += piece.length
        if not extents:
            return
        change = inode.extents.change
        file = FileCommit(inode.number, extents, -1, -1, -1, change, True)
        answer: Committed = await self._link.mutate(Commit([new], [file]), urgent=True)
        result = answer.files[0]
        if result.attributes is None:
            return
        if inode.extents.change == change:
            inode.extents.apply(extents)
        else:
            # Something of ours happened between the transaction and its answer: which came first is not known here.
            inode.extents.clear()
        self._inodes.absorb(result.attributes, 0, own=True)

    async def _bytes_of(self, piece: Piece) -> list[memoryview]:
        if piece.object_offset == INLINE:
            return [memoryview(piece.source)]
        return await self._blocks.read(piece.source, piece.object_offset, piece.object_offset + piece.length, stream=False)
