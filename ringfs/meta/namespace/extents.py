"""Extents of one chunk, as a sorted list that is spliced: cut, split, replaced, merged. Pure lists, no rows, no inodes.

A piece is a list: [offset, bytes] for inline bytes, [offset, length, object id, object offset] for an object's. Offsets count
from the chunk's beginning. Pieces are sorted, never overlap, are never empty; what none covers is a hole.
"""

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import Any

from ringfs.base.limits import INLINE_CHUNK_BYTES_MAX

Piece = list[Any]
_offset = itemgetter(0)


def length_of(piece: Piece) -> int:
    """Bytes that a piece covers."""
    length: int = len(piece[1]) if len(piece) == 2 else piece[1]
    return length


def end_of(piece: Piece) -> int:
    """Offset of the first byte after a piece."""
    end: int = piece[0] + (len(piece[1]) if len(piece) == 2 else piece[1])
    return end


def splice(pieces: list[Piece], start: int, end: int, piece: Piece | None, freed: list[tuple[bytes, int]]) -> int:
    """Put a piece (None: a hole) in the place of all that lies in start…end; answers by how much the covered bytes grew.

    What is cut away of objects is appended to freed as (object id, bytes).
    """
    if not pieces or end_of(pieces[-1]) <= start:
        return _append(pieces, piece)
    first = bisect_right(pieces, start, key=_offset)
    if first and end_of(pieces[first - 1]) > start:
        first -= 1
    last = bisect_left(pieces, end, lo=first, key=_offset)
    covered = pieces[first:last]
    grown = -_free(covered, start, end, freed)
    middle: list[Piece] = []
    if covered and covered[0][0] < start:
        middle.append(part_of(covered[0], covered[0][0], start))
    if piece is not None:
        middle.append(piece)
        grown += end - start
    if covered and end_of(covered[-1]) > end:
        middle.append(part_of(covered[-1], end, end_of(covered[-1])))
    pieces[first:last] = middle
    _merge(pieces, max(first - 1, 0), first + len(middle))
    return grown


def _append(pieces: list[Piece], piece: Piece | None) -> int:
    if piece is None:
        return 0
    joined = _joined(pieces[-1], piece) if pieces else None
    if joined is None:
        pieces.append(piece)
    else:
        pieces[-1] = joined
    return length_of(piece)


def _free(covered: list[Piece], start: int, end: int, freed: list[tuple[bytes, int]]) -> int:
    """Bytes of the covered pieces within start…end, those of objects noted in freed."""
    total = 0
    for piece in covered:
        length = min(end, end_of(piece)) - max(start, piece[0])
        total += length
        if len(piece) == 4:
            freed.append((piece[2], length))
    return total


def part_of(piece: Piece, start: int, end: int) -> Piece:
    """What a piece has in start…end, which lies within it."""
    skip = start - piece[0]
    if len(piece) == 2:
        return [start, piece[1][skip : end - piece[0]]]
    return [start, end - start, piece[2], piece[3] + skip]


def _joined(left: Piece, right: Piece) -> Piece | None:
    """Both as one piece, if they touch and are bytes in a row of one object, or inline and small."""
    if len(left) != len(right) or end_of(left) != right[0]:
        return None
    if len(left) == 4:
        in_a_row = left[2] == right[2] and left[3] + left[1] == right[3]
        return [left[0], left[1] + right[1], left[2], left[3]] if in_a_row else None
    if len(left[1]) + len(right[1]) <= INLINE_CHUNK_BYTES_MAX:
        return [left[0], left[1] + right[1]]
    return None


def _merge(pieces: list[Piece], index: int, stop: int) -> None:
    """Join neighbours from index on, up to the pair (stop - 1, stop)."""
    while index < stop and index + 1 < len(pieces):
        joined = _joined(pieces[index], pieces[index + 1])
        if joined is None:
            index += 1
        else:
            pieces[index : index + 2] = [joined]
            stop -= 1
