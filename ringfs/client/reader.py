"""Reading a file: dirty bytes over inline bytes over objects over holes, with read-ahead for streams."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ringfs.base.checksums import Buffer
from ringfs.base.errors import Refused
from ringfs.base.limits import BLOCK_BYTES, CHUNK_BYTES
from ringfs.client.blocks import UNIT_BYTES, BlockCache
from ringfs.client.extents import Piece
from ringfs.client.inodes import Inode
from ringfs.wire.messages.namespace import INLINE

#: A reader that continues within this distance of where it was is a stream (the kernel's own read-ahead overtakes itself).
_NEAR_BYTES = 1 << 20
_FIRST_WINDOW_BYTES = 1 << 20

#: Takes the bytes that were read, or None if only Reader.read can tell what is wrong.
OnRead = Callable[[Buffer | None], None]
LoadExtents = Callable[[Inode, int, int], Awaitable[None]]


@dataclass(slots=True)
class Stream:
    """How one handle reads: where it will probably go on, and how far ahead of it to fetch."""

    next_offset: int = 0
    window_bytes: int = 0
    #: Everything before this offset has been asked for.
    fetched_to: int = 0

    def is_near(self, offset: int) -> bool:
        """Whether a read there would belong to a stream."""
        return -_NEAR_BYTES <= offset - self.next_offset <= _NEAR_BYTES

    def note(self, offset: int, size_bytes: int, window_max: int) -> bool:
        """Take a read into account. True if it belongs to a stream."""
        near = self.is_near(offset)
        if near:
            self.window_bytes = min(max(_FIRST_WINDOW_BYTES, self.window_bytes + size_bytes * 2), window_max)
            self.next_offset = max(self.next_offset, offset + size_bytes)
        else:
            self.window_bytes = 0
            self.next_offset = offset + size_bytes
            self.fetched_to = 0
        return near


class Reader:
    """`load_extents(inode, first_chunk, chunk_count)` makes chunks of inode.extents complete."""

    def __init__(self, blocks: BlockCache, load_extents: LoadExtents, readahead_bytes: int) -> None:
        self._blocks = blocks
        self._load_extents = load_extents
        self._readahead_bytes = readahead_bytes

    def read_nowait(self, inode: Inode, offset: int, size_bytes: int, stream: Stream) -> Buffer | None:
        """The bytes if everything needed is here already, else None. inode must be leased or written by us alone."""
        stop = min(offset + size_bytes, inode.merged().size_bytes)
        if offset >= stop:
            return b""
        if inode.extents.missing_chunks(offset, stop):
            return None
        found: list[tuple[int, Buffer]] = []
        for piece in inode.extents.pieces(offset, stop):
            part = self._piece_nowait(piece)
            if part is None:
                return None
            found.append((piece.start, part))
        if stream.note(offset, stop - offset, self._readahead_bytes):
            self._read_ahead(inode, stop, stream)
        return _assembled(offset, stop, found, list(inode.dirty.overlay(offset, stop)))

    def _piece_nowait(self, piece: Piece) -> Buffer | None:
        if piece.object_offset == INLINE:
            return piece.source
        return self._blocks.cached(piece.source, piece.object_offset, piece.object_offset + piece.length)

    def read_soon(self, inode: Inode, offset: int, size_bytes: int, stream: Stream, on_read: OnRead) -> bool:
        """Hand on_read the bytes once one unit or block, which holds all of them, is here; None if it cannot be had. At once, from
        here, if they are here already. False if it is not as simple as that: nothing was begun then. inode as for read_nowait."""
        found = self.read_nowait(inode, offset, size_bytes, stream)
        if found is not None:
            on_read(found)
            return True
        stop = min(offset + size_bytes, inode.merged().size_bytes)
        if inode.dirty or inode.extents.missing_chunks(offset, stop):
            return False
        pieces = list(inode.extents.pieces(offset, stop))
        if len(pieces) != 1 or pieces[0].length != stop - offset or pieces[0].object_offset < 0:
            return False
        oid, start = pieces[0].source, pieces[0].object_offset
        is_stream = stream.is_near(offset)
        step = UNIT_BYTES if is_stream else BLOCK_BYTES
        if start // step != (start + stop - offset - 1) // step:
            return False
        stream.note(offset, stop - offset, self._readahead_bytes)

        def on_part(part: memoryview | Refused) -> None:
            on_read(None if isinstance(part, Refused) else part)

        self._blocks.get_soon(oid, start, start + stop - offset, on_part, stream=is_stream)
        if is_stream:
            self._read_ahead(inode, stop, stream)
        return True

    async def read(self, inode: Inode, offset: int, size_bytes: int, stream: Stream) -> Buffer:
        """Bytes from offset on, fewer than size_bytes only at the end of the file. Raises Refused IO."""
        stop = min(offset + size_bytes, inode.merged().size_bytes)
        if offset >= stop:
            return b""
        await self.load(inode, offset, stop)
        # It may be shorter by now.
        stop = min(stop, inode.merged().size_bytes)
        if offset >= stop:
            return b""
        is_stream = stream.note(offset, stop - offset, self._readahead_bytes)
        if is_stream:
            self._read_ahead(inode, stop, stream)
        # Both at once: what is committed while we fetch leaves the overlay, and would be missed in pieces taken before.
        pieces, over = list(inode.extents.pieces(offset, stop)), list(inode.dirty.overlay(offset, stop))
        found: list[tuple[int, Buffer]] = []
        for piece in pieces:
            if piece.object_offset == INLINE:
                found.append((piece.start, piece.source))
                continue
            at = piece.start
            for part in await self._blocks.read(
                piece.source, piece.object_offset, piece.object_offset + piece.length, stream=is_stream
            ):
                found.append((at, part))
                at += len(part)
        return _assembled(offset, stop, found, over)

    async def load(self, inode: Inode, start: int, stop: int) -> None:
        """Make the extents of start … stop-1 known."""
        missing = inode.extents.missing_chunks(start, stop)
        if missing:
            await self._load_extents(inode, missing[0], missing[-1] - missing[0] + 1)

    def _read_ahead(self, inode: Inode, offset: int, stream: Stream) -> None:
        """Fetch what a stream will want: objects from offset on, up to its window, unit by unit."""
        stop = min(offset + stream.window_bytes, inode.attributes.size_bytes)
        start = max(offset, stream.fetched_to)
        if stop - start < UNIT_BYTES // 2 and stop < inode.attributes.size_bytes:
            return
        if inode.extents.missing_chunks(start, stop) if start < stop else True:
            stop = min(stop, (start // CHUNK_BYTES + 1) * CHUNK_BYTES)
            if start >= stop or inode.extents.missing_chunks(start, stop):
                return
        for piece in inode.extents.pieces(start, stop):
            if piece.object_offset < 0:
                continue
            at = piece.object_offset
            end = piece.object_offset + piece.length
            while at < end:
                if not self._blocks.prefetch(piece.source, at):
                    return
                at = at - at % UNIT_BYTES + UNIT_BYTES
            stream.fetched_to = piece.stop


def _assembled(start: int, stop: int, found: list[tuple[int, Buffer]], over: list[tuple[int, memoryview]]) -> Buffer:
    """One buffer of found over zeros, dirty bytes over both; without a copy if one part is all of it and cannot change."""
    if not over and len(found) == 1 and len(found[0][1]) == stop - start:
        return found[0][1]
    whole = bytearray(stop - start)
    for at, part in found:
        whole[at - start : at - start + len(part)] = part
    for at, part in over:
        whole[at - start : at - start + len(part)] = part
    return whole
