"""What a client knows of one file's extents: chunks loaded from the metadata service and its own commits since. Pure.

Holds no dirty bytes (dirty.py) and fetches nothing (reader.py).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ringfs.base.limits import CHUNK_BYTES
from ringfs.wire.messages.namespace import HOLE, INLINE, Extent


@dataclass(slots=True)
class Piece:
    """Bytes start … stop-1 of a file: in an object from object_offset on, inline in source, or a hole."""

    start: int
    stop: int
    object_offset: int
    source: bytes

    @property
    def length(self) -> int:
        """In bytes, at least 1."""
        return self.stop - self.start

    def cut(self, start: int, stop: int) -> "Piece":
        """The part of it between start and stop, which lie within it."""
        skipped = start - self.start
        if self.object_offset == INLINE:
            return Piece(start, stop, INLINE, self.source[skipped : skipped + stop - start])
        offset = self.object_offset if self.object_offset < 0 else self.object_offset + skipped
        return Piece(start, stop, offset, self.source)

    def follows(self, other: "Piece") -> bool:
        """Whether it continues other in the same object within the same chunk."""
        return (
            self.start == other.stop
            and other.object_offset >= 0
            and self.object_offset == other.object_offset + other.length
            and self.source == other.source
            and self.start % CHUNK_BYTES != 0
        )

    def to_extent(self) -> Extent:
        """As it is committed."""
        return Extent(self.start, self.length, self.object_offset, self.source)


class ExtentMap:
    """Extents of the chunks that are loaded, in file order, without overlap; holes are not stored."""

    __slots__ = ("_inline_bytes", "_loaded", "_pieces", "_starts", "all_loaded", "change")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[Piece] = []
        #: Chunk → how many of its bytes are inline; kept in step by _remove and _insert.
        self._inline_bytes: dict[int, int] = {}
        #: Numbers of the chunks whose extents are complete here.
        self._loaded: set[int] = set()
        #: Every chunk's are: the file was empty when this map began.
        self.all_loaded = False
        #: A change of the inode that all of this is the state of (there may have been later ones that changed no extent), or 0. The
        #: inode's attributes may be ahead: of a commit whose own answer has not been taken in.
        self.change = 0

    def __len__(self) -> int:
        return len(self._pieces)

    def clear(self) -> None:
        """Forget everything."""
        self._starts.clear()
        self._pieces.clear()
        self._inline_bytes.clear()
        self._loaded.clear()
        self.all_loaded = False
        self.change = 0

    def is_loaded(self, chunk: int) -> bool:
        """Whether the chunk's extents are complete here."""
        return self.all_loaded or chunk in self._loaded

    def load(self, first_chunk: int, chunk_count: int, extents: Iterable[Extent], change: int = 0) -> None:
        """Take over what the metadata service says about whole chunks, at that change."""
        if not self._loaded and not self.all_loaded:
            self.change = change
        self._remove(first_chunk * CHUNK_BYTES, (first_chunk + chunk_count) * CHUNK_BYTES)
        for extent in extents:
            self._insert(Piece(extent.offset, extent.offset + extent.length, extent.object_offset, extent.source))
        self._loaded.update(range(first_chunk, first_chunk + chunk_count))

    def apply(self, extents: Iterable[Extent]) -> None:
        """Take over extents that were committed from here; those in chunks that are not loaded are left out."""
        for extent in extents:
            if not self.is_loaded(extent.offset // CHUNK_BYTES):
                continue
            self._remove(extent.offset, extent.offset + extent.length)
            if extent.object_offset != HOLE:
                self._insert(Piece(extent.offset, extent.offset + extent.length, extent.object_offset, extent.source))

    def truncate(self, size_bytes: int) -> None:
        """Cut what lies past the new end."""
        if self._pieces:
            self._remove(size_bytes, max(size_bytes, self._pieces[-1].stop))

    def cut(self, start: int, stop: int) -> None:
        """Make a hole."""
        self._remove(start, stop)

    def missing_chunks(self, start: int, stop: int) -> list[int]:
        """The chunks of start … stop-1 that are not loaded."""
        chunks = range(start // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES + 1)
        return [] if self.all_loaded else [chunk for chunk in chunks if chunk not in self._loaded]

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """What start … stop-1 holds, cut to it, without the holes between. The chunks must be loaded."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self._pieces) and self._pieces[index].start < stop:
            piece = self._pieces[index]
            index += 1
            if piece.stop > start:
                inside = piece.start >= start and piece.stop <= stop
                yield piece if inside else piece.cut(max(piece.start, start), min(piece.stop, stop))

    def chunk_pieces(self, chunk: int) -> list[Piece]:
        """All of one loaded chunk."""
        return list(self.pieces(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES))

    def inline_bytes(self, chunk: int) -> int:
        """How many bytes of a loaded chunk are inline."""
        return self._inline_bytes.get(chunk, 0)

    def piece_count(self, start: int, stop: int) -> int:
        """How many pieces begin within start … stop-1."""
        return bisect_left(self._starts, stop) - bisect_left(self._starts, start)

    def _account(self, piece: Piece, sign: int) -> None:
        if piece.object_offset == INLINE:
            chunk = piece.start // CHUNK_BYTES
            self._inline_bytes[chunk] = self._inline_bytes.get(chunk, 0) + sign * piece.length

    def _remove(self, start: int, stop: int) -> None:
        first = max(bisect_right(self._starts, start) - 1, 0)
        while first < len(self._pieces) and self._pieces[first].stop <= start:
            first += 1
        last = first
        kept: list[Piece] = []
        while last < len(self._pieces) and self._pieces[last].start < stop:
            piece = self._pieces[last]
            self._account(piece, -1)
            if piece.start < start:
                kept.append(piece.cut(piece.start, start))
            if piece.stop > stop:
                kept.append(piece.cut(stop, piece.stop))
            last += 1
        for piece in kept:
            self._account(piece, 1)
        self._pieces[first:last] = kept
        self._starts[first:last] = [piece.start for piece in kept]

    def _insert(self, piece: Piece) -> None:
        self._account(piece, 1)
        index = bisect_right(self._starts, piece.start)
        if index and piece.follows(self._pieces[index - 1]):
            before = self._pieces[index - 1]
            self._pieces[index - 1] = Piece(before.start, piece.stop, before.object_offset, before.source)
            return
        self._starts.insert(index, piece.start)
        self._pieces.insert(index, piece)
