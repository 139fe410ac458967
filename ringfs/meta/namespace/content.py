"""The content of a file: rows of extents per chunk, changed together with stored bytes and references.

Changes of one file are planned first and written at once, so that a file that is refused in the middle stays as it was.
"""

from collections.abc import Iterable

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.prefix import after_prefix
from ringfs.base.limits import CHUNK_BYTES, CHUNK_EXTENTS_HARD_MAX, CHUNK_INLINE_BYTES_HARD_MAX, FILE_BYTES_MAX, HASH_BYTES
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.extents import Piece, length_of, splice
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.namespace import HOLE, INLINE, Extent
from ringfs.wire.packing import pack, unpack


def splice_extents(work: Work, inode: Inode, extents: Iterable[Extent], sizes: dict[bytes, int]) -> None:
    """Apply extents in order over what is there. The file's size is the caller's business.

    sizes: of every object that an extent points to. Refused FILE_TOO_BIG, INVALID (bad extent, or more in a chunk than a frame
    could carry), with nothing changed.
    """
    chunks: dict[int, list[Piece]] = {}
    moved: dict[int, list[tuple[bytes, int]]] = {}
    grown = 0
    for extent in extents:
        index, start = divmod(extent.offset, CHUNK_BYTES)
        end = start + extent.length
        _check_extent(extent, end, sizes)
        pieces = chunks.get(index)
        if pieces is None:
            pieces = chunks[index] = _pieces(work, inode.number, index)
            moved[index] = []
        piece = _piece(extent, start)
        freed: list[tuple[bytes, int]] = []
        grown += splice(pieces, start, end, piece, freed)
        moved[index] += [(oid, -length) for oid, length in freed]
        if piece is not None and len(piece) == 4:
            moved[index].append((piece[2], extent.length))
    for pieces in chunks.values():
        _check_chunk(pieces)
    for index, pieces in chunks.items():
        _write(work, inode.number, index, pieces, moved[index])
    inode.stored_bytes += grown


def truncate(work: Work, inode: Inode, size_bytes: int) -> None:
    """Cut everything from size_bytes on and set the size, down or up."""
    if size_bytes < inode.size_bytes:
        first, start = divmod(size_bytes, CHUNK_BYTES)
        if start:
            _cut_chunk(work, inode, first, start)
            first += 1
        _release_from(work, inode, first)
    inode.size_bytes = size_bytes


def release(work: Work, inode: Inode) -> None:
    """Let go of all extents."""
    if inode.stored_bytes:
        _release_from(work, inode, 0)


def _cut_chunk(work: Work, inode: Inode, index: int, start: int) -> None:
    pieces = _pieces(work, inode.number, index)
    freed: list[tuple[bytes, int]] = []
    grown = splice(pieces, start, CHUNK_BYTES, None, freed)
    if grown:
        _write(work, inode.number, index, pieces, [(oid, -length) for oid, length in freed])
        inode.stored_bytes += grown


def _release_from(work: Work, inode: Inode, first: int) -> None:
    """Let go of whole chunks, first and all after it."""
    for key, value in list(work.rows.scan(keys.chunk(inode.number, first), after_prefix(keys.CHUNK + keys.u64(inode.number)))):
        work.rows.delete(key)
        for piece in unpack(value):
            inode.stored_bytes -= length_of(piece)
            if len(piece) == 4:
                work.references.point(piece[2], key[1:], -piece[1])


def _pieces(work: Work, number: int, index: int) -> list[Piece]:
    value = work.rows.get(keys.chunk(number, index))
    if value is None:
        return []
    pieces: list[Piece] = unpack(value)
    return pieces


def _write(work: Work, number: int, index: int, pieces: list[Piece], moved: list[tuple[bytes, int]]) -> None:
    key = keys.chunk(number, index)
    if pieces:
        work.rows.put(key, pack(pieces))
    else:
        work.rows.delete(key)
    for oid, delta in moved:
        work.references.point(oid, key[1:], delta)


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


def _check_chunk(pieces: list[Piece]) -> None:
    if len(pieces) <= 1:
        return
    inline_bytes = sum(len(piece[1]) for piece in pieces if len(piece) == 2)
    if len(pieces) > CHUNK_EXTENTS_HARD_MAX or inline_bytes > CHUNK_INLINE_BYTES_HARD_MAX:
        raise Refused(Code.INVALID, "more in one chunk than a frame carries: rewrite the chunk")


def chunk_extents(value: bytes, index: int) -> list[Extent]:
    """A chunk's row as extents with file offsets."""
    base = index * CHUNK_BYTES
    return [
        Extent(base + piece[0], len(piece[1]), INLINE, piece[1])
        if len(piece) == 2
        else Extent(base + piece[0], piece[1], piece[3], piece[2])
        for piece in unpack(value)
    ]
