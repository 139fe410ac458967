"""Bounded work: what a huge file loses is doomed, nobody sees it any more, and it is let go of bit by bit, exactly."""

from unittest.mock import patch

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES
from ringfs.meta.namespace import doomed, facts, keys
from ringfs.meta.namespace.system import EndSession
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.content import KEEP_SIZE, PUNCH_HOLE, Allocate, FindChunk, ReleaseDoomed
from tests.support.namespace import TrialNamespace, inline, object_id, piece_of
from tests.support.refusals import refused

CHUNKS = 8


@pytest.fixture(autouse=True)
def _small_share() -> object:
    """A transaction lets go of two extents."""
    with patch("ringfs.meta.namespace.work.RELEASED_EXTENTS_MAX", 2) as patched:
        yield patched


@pytest.fixture
def file(trial: TrialNamespace) -> int:
    """Eight chunks with ten bytes of an object each, at their beginning."""
    number = trial.file(b"a")
    extents = [piece_of(index, index * CHUNK_BYTES, 10) for index in range(CHUNKS)]
    trial.commit(number, *extents, objects=[trial.new_object(index, 10) for index in range(CHUNKS)])
    return number


def truncate(trial: TrialNamespace, inode: int, size_bytes: int) -> None:
    trial.do(m.Setattr(inode, m.SET_SIZE, 0, 0, 0, size_bytes, 0, 0, 0, True))


def live(trial: TrialNamespace) -> int:
    return facts.counters(trial.view).live_bytes


def release(trial: TrialNamespace, extents_max: int = 1) -> bool:
    more: bool = trial.system(ReleaseDoomed(extents_max)).more
    return more


def test_unlink(trial: TrialNamespace, file: int) -> None:
    """The inode is gone at once, its objects a step at a time; at the end there is nothing left of it."""
    trial.do(m.Unlink(1, b"a"))
    with refused(Code.STALE):
        trial.attributes(file)
    assert live(trial) == 60
    assert release(trial, 2)
    assert live(trial) == 40
    assert release(trial, 2)
    assert not release(trial, 2)
    assert live(trial) == 0
    assert not [key for key in trial.view.pairs() if key[:1] in (keys.CHUNK, keys.REFERENCE, keys.DOOMED, keys.OBJECT)]
    assert not release(trial)


def test_truncate(trial: TrialNamespace, file: int) -> None:
    """Size, stored bytes and extents are right at once, and growing again shows zeros."""
    truncate(trial, file, CHUNK_BYTES + 5)
    assert (trial.attributes(file).stored_bytes, len(trial.extents(file))) == (15, 2)
    assert live(trial) > 15
    truncate(trial, file, 100 * CHUNK_BYTES)
    assert len(trial.extents(file)) == 2
    assert trial.ask(FindChunk(file, 2)).chunk == -1
    while release(trial):
        assert trial.attributes(file).stored_bytes == 15
    assert live(trial) == 15


@pytest.mark.parametrize("size_chunks", range(CHUNKS))
def test_stored_bytes_from_either_side(trial: TrialNamespace, file: int, size_chunks: int) -> None:
    """Counted in what goes or in what stays: the same (the trial's checker counts anew)."""
    truncate(trial, file, size_chunks * CHUNK_BYTES)
    assert trial.attributes(file).stored_bytes == 10 * size_chunks


def test_a_doomed_chunk_is_written_again(trial: TrialNamespace, file: int) -> None:
    """What it had is let go of first; the chunks around it stay doomed."""
    truncate(trial, file, 0)
    assert doomed.ranges_of(trial.view, file) == [[2, CHUNKS]]
    trial.commit(file, inline(4 * CHUNK_BYTES, b"new"))
    assert doomed.ranges_of(trial.view, file) == [[2, 4], [5, CHUNKS]]
    assert trial.extents(file) == [(4 * CHUNK_BYTES, 3, m.INLINE, b"new")]
    while release(trial):
        pass
    assert trial.extents(file) == [(4 * CHUNK_BYTES, 3, m.INLINE, b"new")]
    assert live(trial) == 0


def test_doomed_twice(trial: TrialNamespace, file: int) -> None:
    """What is written between two truncations is doomed with the rest, and removing the file with what is doomed of it ends all."""
    truncate(trial, file, 0)
    trial.commit(file, *[inline(index * CHUNK_BYTES, b"new") for index in range(3, 7)])
    truncate(trial, file, 0)
    trial.commit(file, inline(2 * CHUNK_BYTES, b"new"))
    trial.do(m.Unlink(1, b"a"))
    while release(trial, 3):
        pass
    assert not [key for key in trial.view.pairs() if key[:1] in (keys.CHUNK, keys.REFERENCE, keys.DOOMED)]


def test_a_large_hole(trial: TrialNamespace, file: int) -> None:
    """Made in the middle of a file, edges to the byte."""
    trial.do(Allocate(file, PUNCH_HOLE | KEEP_SIZE, 5, 6 * CHUNK_BYTES, False))
    assert [extent[:2] for extent in trial.extents(file)] == [(0, 5), (6 * CHUNK_BYTES + 5, 5), (7 * CHUNK_BYTES, 10)]
    assert trial.attributes(file).stored_bytes == 20
    assert live(trial) > 20
    assert [trial.ask(FindChunk(file, first)).chunk for first in (0, 1, 7, 8)] == [0, 6, 7, -1]
    assert not release(trial, 1000)
    assert live(trial) == 20


def test_an_object_that_comes_back(trial: TrialNamespace, file: int) -> None:
    """What only doomed chunks point to is live still: a commit may point to it without putting it again."""
    truncate(trial, file, 0)
    other = trial.file(b"other")
    assert trial.commit(other, piece_of(7, 0, 10)).code == 0
    while release(trial):
        pass
    assert trial.extents(other) == [(0, 10, 0, object_id(7))]


def test_orphans_of_a_session_share(trial: TrialNamespace) -> None:
    """A session that ends with many orphans lets go of no more than others in one transaction."""
    session = trial.begin_session()
    for name in (b"b", b"c", b"d", b"e"):
        inode = trial.file(name)
        trial.commit(inode, inline(0, b"x"), piece_of(1, 10, 10), objects=[trial.new_object(1, 10)])
        trial.do(m.Unlink(1, name), holders=[session])
    trial.system(EndSession(session))
    assert live(trial) == 30
    assert not release(trial, 1000)
    assert live(trial) == 0
