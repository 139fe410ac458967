"""Which commits come too late: of files that others changed while nobody could ask for what was dirty."""

from collections.abc import Callable

from ringfs.base.errors import Code
from ringfs.meta.overruns import Overruns
from ringfs.wire.messages.namespace import INLINE, Commit, Committed, CommittedFile, Extent, FileCommit

A, B, FILE, OTHER = 1, 2, 7, 8


def is_refused(overruns: Overruns, number: int, inode: int = FILE, *, rewrite: bool = False) -> bool:
    """Whether A's commit of that number is, as the machine and then the answer have it."""
    commit = Commit([], [FileCommit(inode, [Extent(0, 1, INLINE, b"x")], -1, -1, -1, 0, rewrite)])
    overruns.guard(A, number, commit)
    refused = bool(commit.files[0].expected_change)
    if refused:
        overruns.answered(A, number, commit, Committed([CommittedFile(Code.CHANGED.number, None)]))
    return refused


def test_missed_and_changed() -> None:
    """Both must be so: a file that was only missed, or changed after the recall was obeyed, is committed."""
    overruns = Overruns()
    overruns.changed(B, [FILE], somebody_missing=False)
    assert not is_refused(overruns, 1)
    overruns.missed(A, [FILE, OTHER])
    assert not is_refused(overruns, 2)
    overruns.changed(B, [FILE], somebody_missing=False)
    assert not is_refused(overruns, 3, OTHER)
    assert not is_refused(overruns, 4, rewrite=True)
    assert is_refused(overruns, 5)
    overruns.obeyed(A, [OTHER])
    overruns.changed(B, [OTHER], somebody_missing=False)
    assert not is_refused(overruns, 6, OTHER)


def test_refused_once() -> None:
    """The same request however often, and none after it, until it is missed and changed once more."""
    overruns = Overruns()
    overruns.missed(A, [FILE])
    overruns.changed(B, [FILE], somebody_missing=False)
    assert [is_refused(overruns, number) for number in (5, 5, 6, 7)] == [True, True, False, False]
    for number in (8, 9):
        overruns.missed(A, [FILE])
        overruns.changed(B, [FILE], somebody_missing=False)
        assert is_refused(overruns, number)


def test_ones_own_changes() -> None:
    """Are nobody else's."""
    overruns = Overruns()
    overruns.missed(A, [FILE])
    overruns.changed(A, [FILE], somebody_missing=False)
    assert not is_refused(overruns, 1)


def test_what_is_not_open_any_more() -> None:
    """Nothing is left of what is closed, or not said to be dirty by a session that comes back; an ended session has nothing."""
    ends: list[Callable[[Overruns], None]] = [
        lambda overruns: overruns.closed(A, FILE),
        lambda overruns: overruns.resumed(A, {OTHER}, was_missing=False),
        lambda overruns: overruns.forget(A),
    ]
    for end in ends:
        overruns = Overruns()
        overruns.missed(A, [FILE])
        overruns.changed(B, [FILE], somebody_missing=False)
        end(overruns)
        assert not is_refused(overruns, 1)
        overruns.changed(B, [FILE], somebody_missing=False)
        assert not is_refused(overruns, 2)


def test_after_a_restart() -> None:
    """Whatever is changed while a session is missing counts against it, and everything if that is too much."""
    for changed, expected in (([FILE], [True, False]), (range(100, 104), [True, True]), ([], [False, False])):
        overruns = Overruns(changed_max=3)
        overruns.changed(B, changed, somebody_missing=True)
        overruns.resumed(A, {FILE, OTHER}, was_missing=True)
        overruns.nobody_missing()
        assert [is_refused(overruns, 1), is_refused(overruns, 1, OTHER)] == expected
    overruns.resumed(A, {FILE}, was_missing=True)
    assert not is_refused(overruns, 2)
