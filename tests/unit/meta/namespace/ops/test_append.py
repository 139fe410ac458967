"""Append: bytes behind the end that the transaction finds, cut where chunks end."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES, FILE_BYTES_MAX, INLINE_CHUNK_BYTES_MAX
from ringfs.meta.namespace import content
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.sharing import Append, Appended
from tests.support.namespace import TrialNamespace, hole, inline, object_id, piece_of
from tests.support.refusals import refused


@pytest.fixture
def file(trial: TrialNamespace) -> int:
    return trial.file(b"f")


def grown(trial: TrialNamespace, file: int, size_bytes: int) -> None:
    """The file has that size, all hole."""
    trial.do(m.Setattr(file, m.SET_SIZE, 0, 0, 0, size_bytes, 0, 0, 0, True))


def append(
    trial: TrialNamespace, file: int, *extents: m.Extent, objects: list[m.NewObject] | None = None, privileged: bool = False
) -> Appended:
    answer: Appended = trial.do(Append(file, objects or [], list(extents), privileged))
    return answer


def test_one_after_the_other(trial: TrialNamespace, file: int) -> None:
    """Two clients that know nothing of each other's bytes: both are there, in the order of the transactions."""
    other = trial.begin_session("other")
    before = trial.attributes(file)
    first = append(trial, file, inline(0, b"one"))
    second = trial.do(Append(file, [], [inline(0, b"two")], False), session=other)
    assert (first.offset, second.offset, second.attributes.size_bytes) == (0, 3, 6)
    assert trial.extents(file) == [(0, 6, m.INLINE, b"onetwo")]
    after = trial.attributes(file)
    assert (after.mtime_ns, after.ctime_ns, after.change) == (trial.now_ns, trial.now_ns, before.change + 2)


def test_delivered_twice(trial: TrialNamespace, file: int) -> None:
    """The same request appends once, and is told the same place."""
    request = Append(file, [], [inline(0, b"once")], False)
    first = trial.do(request)
    trial.numbers[trial.session] -= 1
    assert trial.do(request) == first
    assert trial.attributes(file).size_bytes == 4


def test_across_a_chunk(trial: TrialNamespace, file: int) -> None:
    """What crosses a chunk's end is cut there, inline bytes and objects."""
    grown(trial, file, CHUNK_BYTES - 2)
    append(trial, file, inline(0, b"abcde"), piece_of(1, 5, 10, 7), objects=[trial.new_object(1, 20)])
    assert trial.extents(file) == [
        (CHUNK_BYTES - 2, 2, m.INLINE, b"ab"),
        (CHUNK_BYTES, 3, m.INLINE, b"cde"),
        (CHUNK_BYTES + 3, 10, 7, object_id(1)),
    ]
    grown(trial, file, 2 * CHUNK_BYTES - 4)
    append(trial, file, piece_of(1, 0, 10, 7))
    assert trial.extents(file)[-2:] == [(2 * CHUNK_BYTES - 4, 4, 7, object_id(1)), (2 * CHUNK_BYTES, 6, 11, object_id(1))]


def test_a_full_chunk(trial: TrialNamespace, file: int) -> None:
    """More inline bytes than a chunk should have are refused INLINE_FULL; an object is taken, and so is the next chunk."""
    append(trial, file, inline(0, bytes(INLINE_CHUNK_BYTES_MAX - 1)))
    append(trial, file, inline(0, b"x"))
    with refused(Code.INLINE_FULL):
        append(trial, file, inline(0, b"x"))
    append(trial, file, piece_of(1, 0, 10), objects=[trial.new_object(1, 10)])
    grown(trial, file, CHUNK_BYTES)
    assert append(trial, file, inline(0, b"x")).offset == CHUNK_BYTES
    assert content.inline_bytes(trial.view, file, 0) == INLINE_CHUNK_BYTES_MAX


def test_privileges_go(trial: TrialNamespace) -> None:
    """As with any write: but for those who may keep them."""
    file = trial.file(b"suid", mode=0o106755)
    append(trial, file, inline(0, b"x"), privileged=True)
    assert trial.attributes(file).mode == 0o106755
    append(trial, file, inline(0, b"x"))
    assert trial.attributes(file).mode == 0o100755


@pytest.mark.parametrize("extents", [[inline(1, b"x")], [inline(0, b"x"), inline(2, b"y")], [inline(0, b"xy"), inline(1, b"y")]])
def test_gaps(trial: TrialNamespace, file: int, extents: list[m.Extent]) -> None:
    """Extents that do not follow each other from 0 on are INVALID."""
    with refused(Code.INVALID):
        append(trial, file, *extents)


def test_other_refusals(trial: TrialNamespace, file: int) -> None:
    """No file, another kind of file, an object that nobody put, and the largest size."""
    with refused(Code.STALE):
        append(trial, 99, inline(0, b"x"))
    with refused(Code.INVALID):
        append(trial, trial.directory(b"d"), inline(0, b"x"))
    with refused(Code.NO_OBJECT):
        append(trial, file, piece_of(1, 0, 10))
    grown(trial, file, FILE_BYTES_MAX)
    with refused(Code.FILE_TOO_BIG):
        append(trial, file, hole(0, 1))
