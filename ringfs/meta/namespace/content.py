"""The content of a file: rows of extents per chunk, changed together with stored bytes and references.

Changes of one file are planned first and written at once, so that a file that is refused in the middle stays as it was. What a
transaction would release beyond its share is doomed instead (doomed.py).
"""

from collections.abc import Iterable

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import CHUNK_BYTES, CHUNK_EXTENTS_HARD_MAX, CHUNK_INLINE_BYTES_HARD_MAX, FILE_BYTES_MAX, HASH_BYTES
from ringfs.meta.namespace import doomed, keys, usage
from ringfs.meta.namespace.extents import Piece, end_of, length_of, part_of, splice
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.namespace import HOLE, INLINE, Extent
from ringfs.wire.packing import pack, unpack
from ringfs.wire.pieces import digest

#: Chunk numbers are below.
CHUNKS_MAX = FILE_BYTES_MAX // CHUNK_BYTES


class Plan:
    """Changes of one file's chunks that are not written yet."""

    def __init__(self, work: Work, inode: Inode) -> None:
        self._work = work
        self._inode = inode
        self._chunks: dict[int, list[Piece]] = {}
        #: By chunk: (object, by how many bytes more it is pointed to).
        self._moved: dict[int, list[tuple[bytes, int]]] = {}
        #: By how much more (or less) is stored.
        self.grown_bytes = 0

    def put(self, index: int, start: int, end: int, piece: Piece | None) -> None:
        """A piece (None: a hole) in the place of what a chunk has in start … end-1, offsets counting from its beginning."""
        pieces = self._chunks.get(index)
        if pieces is None:
            pieces = self._chunks[index] = _pieces(self._work, self._inode.number, index)
            self._moved[index] = []
        moved = self._moved[index]
        freed: list[tuple[bytes, int]] = []
        self.grown_bytes += splice(pieces, start, end, piece, freed)
        moved += [(oid, -length) for oid, length in freed]
        if piece is not None and len(piece) == 4:
            moved.append((piece[2], piece[1]))

    def is_too_much(self) -> bool:
        """Whether a chunk would have more than a frame could carry."""
        return any(_is_too_much(pieces) for pieces in self._chunks.values())

    def write(self) -> None:
        """Do it."""
        number, work = self._inode.number, self._work
        for index, pieces in self._chunks.items():
            key = keys.chunk(number, index)
            if pieces:
                work.rows.put(key, pack(pieces))
            else:
                work.rows.delete(key)
            for oid, delta in self._moved[index]:
                work.references.point(oid, key[1:], delta)
        self._inode.stored_bytes += self.grown_bytes


def splice_extents(work: Work, inode: Inode, extents: Iterable[Extent], sizes: dict[bytes, int]) -> None:
    """Apply extents in order over what is there. The file's size is the caller's business.

    sizes: of every object that an extent points to. Refused FILE_TOO_BIG, INVALID (bad extent, or more in a chunk than a frame
    could carry), QUOTA, with nothing changed.
    """
    plan = Plan(work, inode)
    for extent in extents:
        index, start = divmod(extent.offset, CHUNK_BYTES)
        end = start + extent.length
        _check_extent(extent, end, sizes)
        plan.put(index, start, end, _piece(extent, start))
    if plan.is_too_much():
        raise Refused(Code.INVALID, "more in one chunk than a frame carries: rewrite the chunk")
    usage.charge_growth(work, inode, plan.grown_bytes)
    plan.write()


def truncate(work: Work, inode: Inode, size_bytes: int) -> None:
    """Cut everything from size_bytes on and set the size, down or up."""
    cut(work, inode, size_bytes, inode.size_bytes)
    inode.size_bytes = size_bytes


def release(work: Work, inode: Inode) -> None:
    """Let go of all extents of an inode that ends."""
    if not inode.stored_bytes:
        return
    left = _release_chunks(work, inode, 0, CHUNKS_MAX)
    if left is not None:
        doomed.doom(work, inode.number, left, CHUNKS_MAX)


# --- ranges -----------------------------------------------------------------------------------------------------------


def cut(work: Work, inode: Inode, start: int, stop: int) -> None:
    """Make a hole of start … stop-1, offsets in the file. Its size stays."""
    stop = min(stop, inode.size_bytes)
    if start >= stop or not inode.stored_bytes:
        return
    if stop == inode.size_bytes:
        # Nothing lies beyond: whole chunks go.
        stop = -(-stop // CHUNK_BYTES) * CHUNK_BYTES
    (first, head), (last, tail) = divmod(start, CHUNK_BYTES), divmod(stop, CHUNK_BYTES)
    plan = Plan(work, inode)
    if first == last:
        plan.put(first, head, tail, None)
        plan.write()
        return
    if head:
        plan.put(first, head, CHUNK_BYTES, None)
        first += 1
    if tail:
        plan.put(last, 0, tail, None)
    plan.write()
    left = _release_chunks(work, inode, first, last)
    if left is not None:
        stored_bytes = _stored_bytes(work, inode, left, last)
        doomed.doom(work, inode.number, left, last)
        inode.stored_bytes -= stored_bytes


def pieces_between(view: ReadView, number: int, start: int, stop: int, count_max: int) -> tuple[list[Piece], int]:
    """The extents of start … stop-1, cut to it, with offsets in the file, and up to where they are all: stop, or, once there are
    count_max of them, the beginning of the next chunk that has some."""
    found: list[Piece] = []
    for index, value in doomed.visible_chunks(view, number, start // CHUNK_BYTES, -(-stop // CHUNK_BYTES)):
        base = index * CHUNK_BYTES
        if len(found) >= count_max:
            return found, base
        for piece in unpack(value):
            low, high = max(base + piece[0], start), min(base + end_of(piece), stop)
            if low < high:
                found.append(_moved(part_of(piece, low - base, high - base), base))
    return found, stop


def place(work: Work, inode: Inode, pieces: Iterable[Piece], shift_bytes: int) -> bool:
    """Put pieces, which have offsets in a file and point to live objects, shift_bytes further back. False if a chunk would have too
    much: then nothing was put. The file's size is the caller's business."""
    plan = Plan(work, inode)
    for piece in pieces:
        at, end = piece[0] + shift_bytes, end_of(piece) + shift_bytes
        while at < end:
            index, start = divmod(at, CHUNK_BYTES)
            length = min(end - at, CHUNK_BYTES - start)
            part = part_of(piece, at - shift_bytes, at - shift_bytes + length)
            part[0] = start
            plan.put(index, start, start + length, part)
            at += length
    if plan.is_too_much():
        return False
    plan.write()
    return True


def _moved(piece: Piece, shift_bytes: int) -> Piece:
    """A piece of one's own, in another place."""
    piece[0] += shift_bytes
    return piece


def _release_chunks(work: Work, inode: Inode, first: int, stop: int) -> int | None:
    """Let go of the chunks first … stop-1, as many as the transaction may; the first one that is left, or None."""
    rows: list[tuple[int, list[Piece]]] = []
    left: int | None = None
    for index, value in doomed.visible_chunks(work.rows, inode.number, first, stop):
        if work.releases_left <= 0:
            left = index
            break
        pieces = unpack(value)
        work.releases_left -= len(pieces)
        rows.append((index, pieces))
    for index, pieces in rows:
        doomed.let_go(work, keys.chunk(inode.number, index), pieces)
        inode.stored_bytes -= sum(map(length_of, pieces))
    return left


def _stored_bytes(work: Work, inode: Inode, first: int, stop: int) -> int:
    """What the chunks first … stop-1 store: counted there, or, if they are most of the file, everywhere else."""
    end = -(-inode.size_bytes // CHUNK_BYTES)
    if stop - first <= end // 2:
        return _count_bytes(work, inode, first, stop)
    return inode.stored_bytes - _count_bytes(work, inode, 0, first) - _count_bytes(work, inode, stop, end)


def _count_bytes(work: Work, inode: Inode, first: int, stop: int) -> int:
    chunks = doomed.visible_chunks(work.rows, inode.number, first, stop)
    return sum(length_of(piece) for _, value in chunks for piece in unpack(value))


def digest_between(view: ReadView, number: int, ranges: Iterable[tuple[int, int]]) -> bytes:
    """The digest of what lies in ranges (first byte, and the one after the last), one after the other."""
    return digest(piece for start, stop in ranges for piece in pieces_between(view, number, start, stop, CHUNK_EXTENTS_HARD_MAX)[0])


# --- one chunk --------------------------------------------------------------------------------------------------------


def _pieces(work: Work, number: int, index: int) -> list[Piece]:
    doomed.reclaim(work, number, index)
    value = work.rows.get(keys.chunk(number, index))
    if value is None:
        return []
    pieces: list[Piece] = unpack(value)
    return pieces


def _check_extent(extent: Extent, end: int, sizes: dict[bytes, int]) -> None:
    if extent.offset + extent.length > FILE_BYTES_MAX:
        raise Refused(Code.FILE_TOO_BIG)
    if end > CHUNK_BYTES:
        raise Refused(Code.INVALID, "an extent crosses a chunk's boundary")
    if extent.object_offset >= 0:
        if len(extent.source) != HASH_BYTES:
            raise Refused(Code.INVALID, "an extent's source is an object's id")
        if extent.object_offset + extent.length > sizes[extent.source]:
            raise Refused(Code.INVALID, "an extent reaches past its object's end")
    elif extent.object_offset == INLINE:
        if len(extent.source) != extent.length:
            raise Refused(Code.INVALID, "an inline extent has as many bytes as it is long")
    elif extent.object_offset != HOLE or extent.source:
        raise Refused(Code.INVALID, "an extent is inline, a hole, or an object's bytes")


def _piece(extent: Extent, start: int) -> Piece | None:
    if extent.object_offset >= 0:
        return [start, extent.length, extent.source, extent.object_offset]
    return [start, extent.source] if extent.object_offset == INLINE else None


def _is_too_much(pieces: list[Piece]) -> bool:
    if len(pieces) <= 1:
        return False
    inline_bytes = sum(len(piece[1]) for piece in pieces if len(piece) == 2)
    return len(pieces) > CHUNK_EXTENTS_HARD_MAX or inline_bytes > CHUNK_INLINE_BYTES_HARD_MAX


def inline_bytes(view: ReadView, number: int, index: int) -> int:
    """How many inline bytes a chunk has."""
    pieces, _ = pieces_between(view, number, index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES, CHUNK_EXTENTS_HARD_MAX)
    return sum(len(piece[1]) for piece in pieces if len(piece) == 2)


def chunk_extents(value: bytes, index: int) -> list[Extent]:
    """A chunk's row as extents with file offsets."""
    base = index * CHUNK_BYTES
    return [
        Extent(base + piece[0], len(piece[1]), INLINE, piece[1])
        if len(piece) == 2
        else Extent(base + piece[0], piece[1], piece[3], piece[2])
        for piece in unpack(value)
    ]
