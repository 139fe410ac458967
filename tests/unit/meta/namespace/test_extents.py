"""Splicing against a dumb oracle: a map of byte to where it comes from."""

import random
from itertools import pairwise

from ringfs.base.limits import INLINE_CHUNK_BYTES_MAX
from ringfs.meta.namespace.extents import Piece, end_of, length_of, splice

Origin = tuple[bytes, int] | int


def bytes_of(pieces: list[Piece]) -> dict[int, Origin]:
    """Where each covered byte comes from: an inline byte, or (object, offset)."""
    found: dict[int, Origin] = {}
    for piece in pieces:
        for index in range(length_of(piece)):
            assert piece[0] + index not in found
            found[piece[0] + index] = piece[1][index] if len(piece) == 2 else (piece[2], piece[3] + index)
    return found


def drawn(draw: random.Random) -> Piece | None:
    start, length = draw.randrange(60), draw.randint(1, 30)
    kind = draw.randrange(3)
    if kind == 0:
        return None
    if kind == 1:
        return [start, bytes(draw.randrange(256) for _ in range(length))]
    # The object offset often continues what lies before, so that neighbours merge.
    return [start, length, draw.choice([b"one", b"two"]), draw.choice([start, draw.randrange(50)])]


def test_against_a_byte_map() -> None:
    """After any splices: the same bytes, sorted, no overlap, none empty, growth and freed bytes exact, neighbours merged."""
    for seed in range(2000):
        draw = random.Random(seed)
        pieces: list[Piece] = []
        model: dict[int, Origin] = {}
        for _ in range(draw.randint(1, 12)):
            piece = drawn(draw)
            start = piece[0] if piece else draw.randrange(60)
            end = end_of(piece) if piece else start + draw.randint(1, 30)
            freed: list[tuple[bytes, int]] = []
            covered = [origin for byte, origin in model.items() if start <= byte < end]
            before = len(model)
            grown = splice(pieces, start, end, piece, freed)
            for byte in range(start, end):
                model.pop(byte, None)
            model |= bytes_of([piece]) if piece else {}
            assert bytes_of(pieces) == model, f"seed {seed}"
            assert grown == len(model) - before, f"seed {seed}"
            for oid in (b"one", b"two"):
                expected = sum(isinstance(origin, tuple) and origin[0] == oid for origin in covered)
                assert sum(length for freed_id, length in freed if freed_id == oid) == expected, f"seed {seed}"
            for left, right in pairwise(pieces):
                assert end_of(left) <= right[0], f"seed {seed}"
                assert not mergeable(left, right), f"seed {seed}: {left} {right}"


def mergeable(left: Piece, right: Piece) -> bool:
    if end_of(left) != right[0] or len(left) != len(right):
        return False
    return len(left) == 2 or (left[2] == right[2] and left[3] + left[1] == right[3])


def test_inline_pieces_stay_small() -> None:
    """Merged inline pieces are at most INLINE_CHUNK_BYTES_MAX, what a message carries."""
    pieces: list[Piece] = []
    for start in range(0, 3 * INLINE_CHUNK_BYTES_MAX, 1000):
        splice(pieces, start, start + 1000, [start, b"x" * 1000], [])
    assert max(map(length_of, pieces)) <= INLINE_CHUNK_BYTES_MAX
    assert len(pieces) == 4
