"""Dirty bytes behave like the bytes of a plain file, whatever is written, cut and taken, in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from ringfs.base.errors import Code, Refused
from ringfs.client.dirty import DirtyFile, IntervalBuffer

_SIZE = 200
_writes = st.tuples(st.just("write"), st.integers(0, _SIZE - 1), st.integers(1, 40), st.integers(1, 255))
_removes = st.tuples(st.just("remove"), st.integers(0, _SIZE - 1), st.integers(1, 60), st.just(0))
_takes = st.tuples(st.just("take"), st.integers(0, _SIZE - 1), st.integers(1, 60), st.just(0))


def _oracle_runs(model: list[int | None]) -> list[tuple[int, int]]:
    runs, start = [], None
    for index, value in enumerate([*model, None]):
        if value is not None and start is None:
            start = index
        if value is None and start is not None:
            runs.append((start, index))
            start = None
    return runs


@given(st.lists(st.one_of(_writes, _removes, _takes), max_size=40))
def test_interval_buffer_is_a_sparse_file(steps: list[tuple[str, int, int, int]]) -> None:
    """Parts, size, end and runs agree with an array of bytes after every step."""
    buffer = IntervalBuffer()
    model: list[int | None] = [None] * (_SIZE + 100)
    for kind, start, length, value in steps:
        stop = start + length
        if kind == "write":
            buffer.write(start, bytes([value]) * length)
            model[start:stop] = [value] * length
        elif kind == "remove":
            buffer.remove(start, stop)
            model[start:stop] = [None] * length
        else:
            taken = dict.fromkeys(range(start, stop))
            for at, part in buffer.take(start, stop):
                taken.update(zip(range(at, at + len(part)), part, strict=True))
            assert list(taken.values()) == model[start:stop]
            model[start:stop] = [None] * length
        seen: list[int | None] = [None] * len(model)
        for at, part in buffer.parts(0, len(model)):
            seen[at : at + len(part)] = part
        assert seen == model
        assert buffer.size_bytes == sum(value is not None for value in model)
        assert list(buffer.runs()) == _oracle_runs(model)
        covered = buffer.portions(3)
        assert sorted(set(covered)) == covered
        assert sum(len(part) for low, high in covered for _, part in buffer.parts(low, high)) == buffer.size_bytes
        assert all(len(list(buffer.parts(low, high))) <= 3 for low, high in covered)
        assert buffer.end == max((index + 1 for index, value in enumerate(model) if value is not None), default=0)


def test_long_runs_are_found_as_soon_as_a_mebibyte_more_was_written() -> None:
    """A run is told once it is long enough; scattered parts are not passed again for each of them; taking bytes starts anew."""
    buffer = IntervalBuffer()
    step = memoryview(bytes(1 << 18))
    for index in range(4):
        buffer.write(index << 18, step)
    assert buffer.long_runs(1 << 20) == [(0, 1 << 20)]
    assert buffer.long_runs(1 << 20) == []
    for index in range(4, 8):
        assert buffer.long_runs(1 << 20) == []
        buffer.write(index << 18, step)
    assert buffer.long_runs(1 << 20) == [(0, 2 << 20)]
    buffer.take(0, 1 << 19)
    assert buffer.long_runs(1 << 20) == [(1 << 19, 2 << 20)]


def test_a_buffer_that_is_being_read_does_not_grow_under_the_reader() -> None:
    """A view handed out stays what it was while later writes continue the range."""
    buffer = IntervalBuffer()
    buffer.write(0, b"abc")
    ((_, view),) = buffer.parts(0, 3)
    buffer.write(3, b"def")
    assert bytes(view) == b"abc"
    assert b"".join(bytes(part) for _, part in buffer.parts(0, 6)) == b"abcdef"


def test_newest_bytes_win_over_flights() -> None:
    """What was written after a flight was taken lies over it; failed flights do not count."""
    dirty = DirtyFile()
    dirty.live.write(0, b"aaaa")
    first = dirty.take(0, 4)
    dirty.live.write(2, b"bb")
    second = dirty.take(0, 4)
    dirty.live.write(3, b"c")
    whole = bytearray(4)
    for at, part in dirty.overlay(0, 4):
        whole[at : at + len(part)] = part
    assert whole == b"aabc"
    second.failure = Refused(Code.NO_SPACE)
    assert b"b" not in b"".join(bytes(part) for _, part in dirty.overlay(0, 4))
    assert not dirty.ready_flights()
    second.ready = True
    assert not dirty.ready_flights(), "a later flight waits for an earlier one"
    first.ready = True
    assert dirty.ready_flights() == [first, second]
    assert dirty.end == 4
