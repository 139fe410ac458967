"""Commit: extents spliced, sizes and times, files on their own, objects counted to the byte and never lost to a deletion."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import (
    CHUNK_BYTES,
    CHUNK_EXTENTS_HARD_MAX,
    CLOCK_SKEW_MAX_NS,
    DELETE_GRACE_NS,
    FILE_BYTES_MAX,
    INLINE_CHUNK_BYTES_MAX,
    PUT_FRESH_NS,
)
from ringfs.meta.namespace import facts
from ringfs.meta.namespace.condemned import condemned_page
from ringfs.wire.messages import namespace as m
from tests.support.namespace import SECOND, TrialNamespace, hole, inline, object_id, piece_of
from tests.support.refusals import refused

ONE = object_id(1)


@pytest.fixture
def file(trial: TrialNamespace) -> int:
    """A file to commit to."""
    return trial.file(b"a")


def live(trial: TrialNamespace) -> tuple[int, int]:
    """Live and dead bytes."""
    counters = facts.counters(trial.view)
    return counters.live_bytes, counters.dead_bytes


def condemned_ids(trial: TrialNamespace) -> list[bytes]:
    """All verdicts, as if all grace had passed."""
    return [entry.object for entry in condemned_page(trial.view, 0, 4096, trial.now_ns + DELETE_GRACE_NS).entries]


def code_of(answer: m.CommittedFile) -> int:
    assert (answer.code == 0) == (answer.attributes is not None)
    return answer.code


# --- extents ----------------------------------------------------------------------------------------------------------


def test_first_bytes(trial: TrialNamespace, file: int) -> None:
    """Inline and object extents; size to their end, stored bytes their sum, times now, change grown."""
    before = trial.attributes(file).change
    answer = trial.commit(file, inline(0, b"head"), piece_of(1, 10, 90, 5), objects=[trial.new_object(1, 100)])
    assert answer.attributes == trial.attributes(file)
    got = trial.attributes(file)
    assert (got.size_bytes, got.stored_bytes, got.change) == (100, 94, before + 1)
    assert got.mtime_ns == got.ctime_ns == trial.now_ns > got.atime_ns
    assert trial.extents(file) == [(0, 4, m.INLINE, b"head"), (10, 90, 5, ONE)]
    assert live(trial) == (90, 10)


def test_overwriting_cuts_and_splits(trial: TrialNamespace, file: int) -> None:
    """What is covered goes, what sticks out stays, references follow."""
    trial.commit(file, piece_of(1, 0, 100), objects=[trial.new_object(1, 100)])
    trial.commit(file, piece_of(2, 40, 20), objects=[trial.new_object(2, 20)])
    two = object_id(2)
    assert trial.extents(file) == [(0, 40, 0, ONE), (40, 20, 0, two), (60, 40, 60, ONE)]
    assert live(trial) == (100, 20)
    trial.commit(file, hole(30, 40))
    assert trial.extents(file) == [(0, 30, 0, ONE), (70, 30, 70, ONE)]
    assert trial.attributes(file).stored_bytes == 60
    assert condemned_ids(trial) == [two]


def test_holes_grow_the_size(trial: TrialNamespace, file: int) -> None:
    """A hole past the end makes the file longer and stores nothing."""
    got = trial.commit(file, hole(1000, 24)).attributes
    assert got is not None
    assert (got.size_bytes, got.stored_bytes) == (1024, 0)
    trial.commit(file, inline(0, b"x"))
    assert trial.attributes(file).size_bytes == 1024


def test_neighbours_merge(trial: TrialNamespace, file: int) -> None:
    """Bytes in a row of one object, and small inline ones, become one extent; not across 64 KiB, nor out of a row."""
    trial.commit(file, piece_of(1, 0, 10), piece_of(1, 20, 10, 20), objects=[trial.new_object(1, 1000)])
    trial.commit(file, piece_of(1, 10, 10, 10))
    assert trial.extents(file) == [(0, 30, 0, ONE)]
    trial.commit(file, piece_of(1, 30, 10, 31))
    assert len(trial.extents(file)) == 2
    other = trial.file(b"b")
    trial.commit(other, inline(0, b"a" * 40000), inline(40000, b"b" * 20000))
    trial.commit(other, inline(60000, b"c" * 10000))
    assert [extent[:2] for extent in trial.extents(other)] == [(0, 60000), (60000, 10000)]


def test_extents_in_order(trial: TrialNamespace, file: int) -> None:
    """Later ones of a commit cover earlier ones; what an earlier one brought and a later one covered was for nothing."""
    trial.commit(file, piece_of(1, 0, 10), inline(0, b"y" * 10), objects=[trial.new_object(1, 10)])
    assert trial.extents(file) == [(0, 10, m.INLINE, b"y" * 10)]
    assert condemned_ids(trial) == [ONE]


def test_chunks(trial: TrialNamespace, file: int) -> None:
    """Extents lie in their chunks; one that crosses a boundary is INVALID."""
    trial.commit(file, inline(CHUNK_BYTES - 2, b"ab"), inline(CHUNK_BYTES, b"cd"))
    assert [extent[0] for extent in trial.extents(file)] == [CHUNK_BYTES - 2, CHUNK_BYTES]
    assert code_of(trial.commit(file, inline(CHUNK_BYTES - 1, b"ab"))) == Code.INVALID.number
    trial.commit(file, m.Extent(0, CHUNK_BYTES, m.HOLE, b""))
    assert trial.attributes(file).stored_bytes == 2


def test_end_of_the_largest_file(trial: TrialNamespace, file: int) -> None:
    """The last byte can be written, the one after it is FILE_TOO_BIG."""
    assert code_of(trial.commit(file, inline(FILE_BYTES_MAX - 1, b"z"))) == 0
    assert code_of(trial.commit(file, inline(FILE_BYTES_MAX, b"z"))) == Code.FILE_TOO_BIG.number
    assert code_of(trial.commit(file, m.Extent((1 << 64) - 1, 1, m.INLINE, b"z"))) == Code.FILE_TOO_BIG.number


@pytest.mark.parametrize(
    "extent",
    [
        m.Extent(0, 5, m.INLINE, b"four"),
        m.Extent(0, 4, m.HOLE, b"four"),
        m.Extent(0, 4, -3, b"four"),
        m.Extent(0, 4, 0, b"four"),
        piece_of(1, 0, 10, 91),
        piece_of(1, 0, 10, 1 << 62),
    ],
)
def test_malformed_extents(trial: TrialNamespace, file: int, extent: m.Extent) -> None:
    """A length that is not the source's, a hole with bytes, no such kind, no id, past the object's end: INVALID, nothing done."""
    trial.commit(file, piece_of(1, 0, 10), objects=[trial.new_object(1, 100)])
    before = trial.attributes(file)
    assert code_of(trial.commit(file, inline(50, b"ok"), extent)) == Code.INVALID.number
    assert trial.attributes(file) == before
    assert trial.extents(file) == [(0, 10, 0, ONE)]


def test_a_chunk_is_bounded(trial: TrialNamespace, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More inline bytes or extents in a chunk than a frame carries are INVALID; another chunk takes more."""
    for index in range(16):
        assert code_of(trial.commit(file, inline(index * INLINE_CHUNK_BYTES_MAX, b"x" * INLINE_CHUNK_BYTES_MAX))) == 0
    assert code_of(trial.commit(file, inline(CHUNK_BYTES - 1, b"x"))) == Code.INVALID.number
    assert code_of(trial.commit(file, inline(CHUNK_BYTES, b"x"))) == 0
    other = trial.file(b"b")
    ones = [inline(2 * index, b"x") for index in range(CHUNK_EXTENTS_HARD_MAX + 1)]
    assert code_of(trial.commit(other, *ones[:-1])) == 0
    assert code_of(trial.commit(other, ones[-1])) == Code.INVALID.number


# --- files ------------------------------------------------------------------------------------------------------------


def commit_of(number: int, *extents: m.Extent) -> m.FileCommit:
    return m.FileCommit(number, list(extents), -1, -1, -1, 0, False)


def test_each_file_on_its_own(trial: TrialNamespace, file: int) -> None:
    """One file's refusal is its own; the same file twice is committed in order."""
    directory, pipe = trial.directory(b"d"), trial.file(b"p", mode=0o010644)
    outcome = trial.outcome(
        m.Commit(
            [],
            [
                commit_of(999, inline(0, b"a")),
                commit_of(file, inline(0, b"aa")),
                commit_of(directory, inline(0, b"a")),
                commit_of(pipe, inline(0, b"a")),
                commit_of(file, inline(1, b"b")),
            ],
        )
    )
    codes = [answer.code for answer in outcome.answer.files]
    assert codes == [Code.STALE.number, 0, Code.INVALID.number, Code.INVALID.number, 0]
    assert outcome.touched == {file}
    assert trial.extents(file) == [(0, 2, m.INLINE, b"ab")]


def test_expected_change(trial: TrialNamespace, file: int) -> None:
    """CHANGED unless the file is at that change; 0 expects nothing."""
    change = trial.attributes(file).change
    assert code_of(trial.commit(file, inline(0, b"a"), expected_change=change)) == 0
    assert code_of(trial.commit(file, inline(0, b"b"), expected_change=change)) == Code.CHANGED.number
    assert code_of(trial.commit(file, inline(0, b"c"), expected_change=0)) == 0


def test_times(trial: TrialNamespace, file: int) -> None:
    """Given times count, also without extents; atime is only ever given; without extents or times, nothing of them moves."""
    got = trial.commit(file, inline(0, b"a"), mtime_ns=5, ctime_ns=6, atime_ns=7).attributes
    assert got is not None
    assert (got.mtime_ns, got.ctime_ns, got.atime_ns) == (5, 6, 7)
    got = trial.commit(file, mtime_ns=8).attributes
    assert got is not None
    assert (got.mtime_ns, got.ctime_ns, got.atime_ns) == (8, 6, 7)
    got = trial.commit(file, inline(0, b"b")).attributes
    assert got is not None
    assert (got.mtime_ns, got.ctime_ns, got.atime_ns) == (trial.now_ns, trial.now_ns, 7)


def test_rewrite(trial: TrialNamespace, file: int) -> None:
    """The same bytes in another place: extents and references change, what others see does not; it never grows the file."""
    trial.commit(file, inline(0, b"x" * 100))
    before = trial.attributes(file)
    outcome = trial.outcome(
        m.Commit([trial.new_object(1, 100)], [m.FileCommit(file, [piece_of(1, 0, 100)], -1, -1, -1, before.change, True)])
    )
    assert outcome.touched == set()
    assert trial.attributes(file) == before
    assert trial.extents(file) == [(0, 100, 0, ONE)]
    assert live(trial) == (100, 0)
    assert code_of(trial.commit(file, inline(100, b"x"), rewrite=True)) == Code.INVALID.number


# --- objects ----------------------------------------------------------------------------------------------------------


def test_one_object_for_many_files(trial: TrialNamespace, file: int) -> None:
    """It is dead when the last file lets go of it."""
    other = trial.file(b"b")
    files = [commit_of(file, piece_of(1, 0, 60)), commit_of(other, piece_of(1, 0, 40, 60))]
    trial.do(m.Commit([trial.new_object(1, 100)], files))
    assert live(trial) == (100, 0)
    trial.do(m.Unlink(1, b"a"))
    assert live(trial) == (40, 60)
    assert condemned_ids(trial) == []
    trial.do(m.Unlink(1, b"b"))
    assert live(trial) == (0, 100)
    assert condemned_ids(trial) == [ONE]


def test_shared_bytes_count_twice(trial: TrialNamespace, file: int) -> None:
    """More live bytes than the object has: none of them is dead."""
    trial.commit(file, piece_of(1, 0, 100), piece_of(1, 1000, 100), objects=[trial.new_object(1, 100)])
    assert live(trial) == (200, 0)
    trial.commit(file, hole(0, 50))
    assert live(trial) == (150, 0)


def test_live_objects_need_no_declaration(trial: TrialNamespace, file: int) -> None:
    """A clone points to what is there; a declaration of what is live changes nothing, however old its put."""
    trial.commit(file, piece_of(1, 0, 100), objects=[trial.new_object(1, 100)])
    other = trial.file(b"b")
    assert code_of(trial.commit(other, piece_of(1, 0, 100))) == 0
    old = trial.new_object(1, 100, age_ns=10**15)
    assert code_of(trial.commit(other, piece_of(1, 100, 100), objects=[old])) == 0
    assert live(trial) == (300, 0)


def test_unknown_objects(trial: TrialNamespace, file: int) -> None:
    """NO_OBJECT names what is missing; no file of the commit is changed."""
    files = [commit_of(file, inline(0, b"a"), piece_of(1, 4, 4)), commit_of(file, piece_of(2, 8, 4))]
    with refused(Code.NO_OBJECT):
        trial.do(m.Commit([trial.new_object(3, 10)], files))
    outcome = trial.outcome(m.Commit([], files))
    assert outcome.answer.detail == f"{object_id(1).hex()},{object_id(2).hex()}"
    assert trial.attributes(file).size_bytes == 0
    many = [commit_of(file, *[piece_of(label, 4 * label, 4) for label in range(500)])]
    assert len(trial.outcome(m.Commit([], many)).answer.detail) < 4096


def test_put_for_nothing(trial: TrialNamespace, file: int) -> None:
    """What is declared and not pointed to is condemned at once: unused, or meant for a file that is refused."""
    trial.do(m.Commit([trial.new_object(1, 100), trial.new_object(2, 7)], [commit_of(999, piece_of(2, 0, 7))]))
    assert sorted(condemned_ids(trial)) == [object_id(1), object_id(2)]
    assert live(trial) == (0, 107)


def test_covered_and_pointed_to_again(trial: TrialNamespace, file: int) -> None:
    """An object whose last reference goes and comes back in one commit never was dead."""
    trial.commit(file, piece_of(1, 0, 100), objects=[trial.new_object(1, 100)])
    trial.commit(file, hole(0, 100), piece_of(1, 200, 100))
    assert condemned_ids(trial) == []
    assert live(trial) == (100, 0)


def dead_object(trial: TrialNamespace, file: int) -> None:
    """Object 1 of 100 bytes was live and is condemned."""
    trial.commit(file, piece_of(1, 0, 100), objects=[trial.new_object(1, 100)])
    trial.commit(file, hole(0, 100))
    assert condemned_ids(trial) == [ONE]


def test_dead_object_needs_declaration(trial: TrialNamespace, file: int) -> None:
    """Condemned is not live, however lately."""
    dead_object(trial, file)
    with refused(Code.NO_OBJECT):
        trial.commit(file, piece_of(1, 0, 100))


def test_young_verdict_is_taken_back(trial: TrialNamespace, file: int) -> None:
    """No node was told yet: the object lives again, even if its put was long ago."""
    dead_object(trial, file)
    assert code_of(trial.commit(file, piece_of(1, 0, 50), objects=[trial.new_object(1, 100, age_ns=10**15)])) == 0
    assert condemned_ids(trial) == []
    assert live(trial) == (50, 50)


def test_old_verdict_needs_a_fresh_put(trial: TrialNamespace, file: int) -> None:
    """Deletion may have begun: only what was put a moment ago, and thus is younger than the verdict, lives again."""
    dead_object(trial, file)
    trial.now_ns += PUT_FRESH_NS
    with refused(Code.NO_OBJECT):
        trial.commit(file, piece_of(1, 0, 50), objects=[trial.new_object(1, 100, age_ns=PUT_FRESH_NS)])
    assert code_of(trial.commit(file, piece_of(1, 0, 50), objects=[trial.new_object(1, 100, age_ns=PUT_FRESH_NS - 1)])) == 0
    assert condemned_ids(trial) == []


def test_old_put_of_an_unknown_object(trial: TrialNamespace, file: int) -> None:
    """It may have been condemned, deleted and forgotten since: NO_OBJECT."""
    with refused(Code.NO_OBJECT):
        trial.commit(file, piece_of(1, 0, 50), objects=[trial.new_object(1, 100, age_ns=PUT_FRESH_NS)])
    assert code_of(trial.commit(file, piece_of(1, 0, 50), objects=[trial.new_object(1, 100, age_ns=PUT_FRESH_NS - 1)])) == 0


def test_a_put_for_nothing_renews_the_verdict(trial: TrialNamespace, file: int) -> None:
    """A copy put again is younger than the old verdict and would never be deleted by it: the verdict becomes a new one."""
    dead_object(trial, file)
    first = condemned_page(trial.view, 0, 10, trial.now_ns + DELETE_GRACE_NS).entries[0]
    trial.now_ns += 100 * SECOND
    trial.do(m.Commit([trial.new_object(1, 100)], []))
    page = condemned_page(trial.view, 0, 10, trial.now_ns + DELETE_GRACE_NS)
    assert [entry.sequence for entry in page.entries] == [first.sequence + 1]
    assert page.entries[0].verdict_ns == trial.now_ns
    assert live(trial) == (0, 100)


def test_clock_ahead(trial: TrialNamespace, file: int) -> None:
    """A put later than now by more than clocks may differ shows a wrong clock, which the rule cannot stand: INVALID."""
    assert code_of(trial.commit(file, piece_of(1, 0, 5), objects=[trial.new_object(1, 5, age_ns=-CLOCK_SKEW_MAX_NS)])) == 0
    with refused(Code.INVALID):
        trial.commit(file, piece_of(2, 0, 5), objects=[trial.new_object(2, 5, age_ns=-CLOCK_SKEW_MAX_NS - 1)])
