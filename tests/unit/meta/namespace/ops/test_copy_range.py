"""CopyRange: the same objects, inline bytes and holes in another place; short, clamped and refused copies."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES, CHUNK_INLINE_BYTES_HARD_MAX, COPIED_EXTENTS_MAX, FILE_BYTES_MAX, INLINE_CHUNK_BYTES_MAX
from ringfs.meta.namespace import facts
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.content import CopyRange
from tests.support.namespace import TrialNamespace, inline, object_id, piece_of
from tests.support.refusals import refused

ONE = object_id(1)


def copy(trial: TrialNamespace, source: int, start: int, other: int, target: int, length: int) -> int:
    """How much was copied."""
    size_bytes = trial.attributes(source).size_bytes if source < 999 else 0
    answer = trial.do(CopyRange(source, start, other, target, length, False))
    assert answer.copied_bytes + answer.left_bytes == max(0, min(length, size_bytes - start, FILE_BYTES_MAX - target))
    assert answer.destination == trial.attributes(other)
    copied_bytes: int = answer.copied_bytes
    return copied_bytes


@pytest.fixture
def source(trial: TrialNamespace) -> int:
    """1000 bytes of an object, a hole of 1000, 4 inline bytes, and a hole up to 3000."""
    number = trial.file(b"source")
    trial.commit(number, piece_of(1, 0, 1000), inline(2000, b"data"), objects=[trial.new_object(1, 1000)])
    trial.do(m.Setattr(number, m.SET_SIZE, 0, 0, 0, 3000, 0, 0, 0, True))
    return number


def test_whole(trial: TrialNamespace, source: int) -> None:
    """The extents are the source's, nothing new is stored on nodes; live bytes count twice, dead ones are none."""
    other = trial.file(b"other")
    assert copy(trial, source, 0, other, 0, 1 << 60) == 3000
    assert trial.extents(other) == trial.extents(source)
    got = trial.attributes(other)
    assert (got.size_bytes, got.stored_bytes, got.mtime_ns, got.ctime_ns) == (3000, 1004, trial.now_ns, trial.now_ns)
    counters = facts.counters(trial.view)
    assert (counters.live_bytes, counters.dead_bytes) == (2000, 0)


def test_the_copy_lives_on(trial: TrialNamespace, source: int) -> None:
    """Removing either leaves the other whole; the object is condemned with the last."""
    other = trial.file(b"other")
    copy(trial, source, 0, other, 0, 3000)
    trial.do(m.Unlink(1, b"source"))
    assert trial.extents(other)[0] == (0, 1000, 0, ONE)
    assert not [key for key in trial.view.pairs() if key[:1] == b"V"]
    trial.do(m.Unlink(1, b"other"))
    assert [key for key in trial.view.pairs() if key[:1] == b"V"]


def test_part_over_other_bytes(trial: TrialNamespace, source: int) -> None:
    """Cut at both ends; holes replace what was there; the size grows only if it must."""
    other = trial.file(b"other")
    trial.commit(other, inline(0, b"o" * 5000))
    assert copy(trial, source, 500, other, 100, 1502) == 1502
    assert trial.extents(other) == [
        (0, 100, m.INLINE, b"o" * 100),
        (100, 500, 500, ONE),
        (1600, 3400, m.INLINE, b"da" + b"o" * 3398),
    ]
    assert trial.attributes(other).size_bytes == 5000


def test_within_a_file(trial: TrialNamespace, source: int) -> None:
    """Up to its own beginning, and behind it; ranges that overlap are INVALID, also backwards."""
    assert copy(trial, source, 0, source, 3000, 3000) == 3000
    assert trial.attributes(source).size_bytes == 6000
    for start, target, length in ((0, 999, 1000), (999, 0, 1000), (0, 0, 1)):
        with refused(Code.INVALID):
            copy(trial, source, start, source, target, length)
    # What would overlap lies behind the end, which is where the copy ends.
    assert copy(trial, source, 5000, source, 0, 1 << 50) == 1000


def test_across_chunks(trial: TrialNamespace) -> None:
    """An extent that lands on a boundary is cut in two, and comes together again on the way back."""
    inode, other = trial.file(b"a"), trial.file(b"b")
    trial.commit(inode, piece_of(1, 0, 1000), objects=[trial.new_object(1, 1000)])
    copy(trial, inode, 0, other, CHUNK_BYTES - 400, 1000)
    assert trial.extents(other) == [(CHUNK_BYTES - 400, 400, 0, ONE), (CHUNK_BYTES, 600, 400, ONE)]
    copy(trial, other, CHUNK_BYTES - 400, inode, 5000, 1000)
    assert trial.extents(inode)[1] == (5000, 1000, 0, ONE)


def test_nothing_to_copy(trial: TrialNamespace, source: int) -> None:
    """At or behind the end, or a length of 0: nothing changes, not even times."""
    other = trial.file(b"other")
    before = trial.attributes(other)
    for start, length in ((3000, 1), (1 << 50, 1), (0, 0)):
        assert copy(trial, source, start, other, 7, length) == 0
    assert trial.attributes(other) == before


def test_short_with_many_extents(trial: TrialNamespace) -> None:
    """It ends at a chunk's beginning, a hole behind the last of them included, and goes on from there."""
    inode, other = trial.file(b"a"), trial.file(b"b")
    trial.commit(inode, *[inline(index * 2, b"x") for index in range(COPIED_EXTENTS_MAX)])
    trial.commit(inode, inline(5 * CHUNK_BYTES + 7, b"y"), inline(6 * CHUNK_BYTES, b"z"))
    size_bytes = trial.attributes(inode).size_bytes
    assert copy(trial, inode, 0, other, 0, size_bytes) == 5 * CHUNK_BYTES
    assert trial.attributes(other).size_bytes == 5 * CHUNK_BYTES
    done = 5 * CHUNK_BYTES
    assert copy(trial, inode, done, other, done, size_bytes) == size_bytes - done
    assert trial.extents(other) == trial.extents(inode)


def test_huge_holes(trial: TrialNamespace) -> None:
    """A file of the largest size with nothing in it is copied at once; an end past the largest is cut off."""
    inode, other = trial.file(b"a"), trial.file(b"b")
    trial.do(m.Setattr(inode, m.SET_SIZE, 0, 0, 0, FILE_BYTES_MAX, 0, 0, 0, True))
    assert copy(trial, inode, 0, other, 0, FILE_BYTES_MAX) == FILE_BYTES_MAX
    assert copy(trial, inode, 0, other, FILE_BYTES_MAX - 5, FILE_BYTES_MAX) == 5
    with refused(Code.FILE_TOO_BIG):
        copy(trial, inode, 0, other, FILE_BYTES_MAX, 1)


def test_too_much_for_a_chunk(trial: TrialNamespace) -> None:
    """More inline bytes than a chunk carries are refused, with nothing changed."""
    inode, other = trial.file(b"a"), trial.file(b"b")
    trial.commit(inode, inline(0, b"x" * INLINE_CHUNK_BYTES_MAX))
    for index in range(CHUNK_INLINE_BYTES_HARD_MAX // INLINE_CHUNK_BYTES_MAX):
        copy(trial, inode, 0, other, index * INLINE_CHUNK_BYTES_MAX, INLINE_CHUNK_BYTES_MAX)
    with refused(Code.NOT_BY_REFERENCE):
        copy(trial, inode, 0, other, CHUNK_INLINE_BYTES_HARD_MAX, INLINE_CHUNK_BYTES_MAX)


def test_no_files(trial: TrialNamespace, source: int) -> None:
    """A directory, a fifo, nothing, on either side."""
    for inode, code in ((1, Code.IS_DIRECTORY), (trial.file(b"p", mode=0o010644), Code.INVALID), (999, Code.STALE)):
        with refused(code):
            copy(trial, inode, 0, source, 0, 1)
        with refused(code):
            copy(trial, source, 0, inode, 0, 1)


def test_privileges_go(trial: TrialNamespace, source: int) -> None:
    """The destination's, as with a write."""
    other = trial.file(b"other", mode=0o106755)
    copy(trial, source, 0, other, 0, 1)
    assert trial.attributes(other).mode & 0o7777 == 0o755
    trial.do(m.Setattr(other, m.SET_MODE, 0o4755, 0, 0, 0, 0, 0, 0, True))
    trial.do(CopyRange(source, 0, other, 0, 1, True))
    assert trial.attributes(other).mode & 0o7777 == 0o4755
