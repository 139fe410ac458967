"""The extent map agrees with an array of where each byte comes from."""

from hypothesis import given
from hypothesis import strategies as st

from ringfs.base.limits import CHUNK_BYTES
from ringfs.client.extents import ExtentMap
from ringfs.wire.messages.namespace import HOLE, INLINE, Extent

_SIZE = 120
#: Two chunks meet in the middle of the range under test.
_BASE = CHUNK_BYTES - _SIZE // 2
_OBJECTS = (b"A" * 20, b"B" * 20)


@st.composite
def _extents(draw: st.DrawFn) -> Extent:
    start = draw(st.integers(0, _SIZE - 1))
    room = _SIZE // 2 - start if start < _SIZE // 2 else _SIZE - start
    length = draw(st.integers(1, room))
    kind = draw(st.sampled_from(["inline", "hole", "object"]))
    if kind == "inline":
        return Extent(_BASE + start, length, INLINE, draw(st.binary(min_size=length, max_size=length)))
    if kind == "hole":
        return Extent(_BASE + start, length, HOLE, b"")
    return Extent(_BASE + start, length, draw(st.integers(0, 50)), draw(st.sampled_from(_OBJECTS)))


def _places(extent: Extent) -> list[object]:
    if extent.object_offset == INLINE:
        return list(extent.source)
    if extent.object_offset == HOLE:
        return [None] * extent.length
    return [(extent.source, extent.object_offset + index) for index in range(extent.length)]


@given(st.lists(_extents(), max_size=25), st.one_of(st.none(), st.integers(0, _SIZE)))
def test_map_agrees_with_an_array(extents: list[Extent], cut: int | None) -> None:
    """After any commits and a truncate every byte comes from where the last one put it; pieces ascend and do not overlap."""
    known = ExtentMap()
    known.load(0, 2, [])
    model: list[object] = [None] * _SIZE
    for extent in extents:
        known.apply([extent])
        start = extent.offset - _BASE
        model[start : start + extent.length] = _places(extent)
    if cut is not None:
        known.truncate(_BASE + cut)
        model[cut:] = [None] * (_SIZE - cut)
    seen: list[object] = [None] * _SIZE
    end = 0
    for piece in known.pieces(_BASE, _BASE + _SIZE):
        assert piece.start >= end
        end = piece.stop
        seen[piece.start - _BASE : piece.stop - _BASE] = _places(piece.to_extent())
    assert seen == model
    for chunk in (0, 1):
        assert known.inline_bytes(chunk) == sum(
            piece.length for piece in known.chunk_pieces(chunk) if piece.object_offset == INLINE
        )
    assert known.piece_count(_BASE, _BASE + _SIZE) == len(known)


def test_commits_into_chunks_that_are_not_loaded_are_left_out() -> None:
    """A chunk is either complete or absent, never half known."""
    known = ExtentMap()
    known.apply([Extent(0, 5, INLINE, b"hello")])
    assert not len(known)
    assert known.missing_chunks(0, CHUNK_BYTES + 1) == [0, 1]
    known.load(0, 1, [])
    known.apply([Extent(0, 5, INLINE, b"hello")])
    assert known.inline_bytes(0) == 5
    assert known.missing_chunks(0, CHUNK_BYTES + 1) == [1]
    known.clear()
    assert not known.is_loaded(0)


def test_neighbours_in_one_object_become_one_piece_but_not_across_chunks() -> None:
    """Sequential objects keep the map small; an extent never crosses a chunk boundary."""
    known = ExtentMap()
    known.all_loaded = True
    known.apply([Extent(0, 10, 0, _OBJECTS[0]), Extent(10, 10, 10, _OBJECTS[0])])
    assert len(known) == 1
    known.apply([Extent(CHUNK_BYTES - 5, 5, 0, _OBJECTS[1]), Extent(CHUNK_BYTES, 5, 5, _OBJECTS[1])])
    assert len(known) == 3
