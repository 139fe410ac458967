"""SetLock: who gets what, who is refused, and that others see nothing of it."""

import pytest

from ringfs.base.errors import Code
from ringfs.meta.namespace.locks import held_on
from ringfs.wire.messages.locks import LOCK_END, LockRange, LockSet, SetLock
from tests.support.locks import NONE, READ, WRITE, ranged, whole
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


def test_exclusive_and_shared(trial: TrialNamespace) -> None:
    """Readers share, a writer does not; owners of one number in two sessions are two owners; the spaces do not meet."""
    file, other = trial.file(b"f"), trial.begin_session("other")
    assert trial.do(SetLock(ranged(file, 1, READ))) == LockSet(1)
    trial.do(SetLock(ranged(file, 1, READ, 5, 9)), session=other)
    with refused(Code.LOCKED):
        trial.do(SetLock(ranged(file, 1, WRITE, 9, 9)))
    trial.do(SetLock(ranged(file, 1, WRITE, 10, 10)))
    trial.do(SetLock(whole(file, 1, WRITE)), session=other)
    with refused(Code.LOCKED):
        trial.do(SetLock(whole(file, 1, READ)))


def test_change_at_once_or_not_at_all(trial: TrialNamespace) -> None:
    """A refused upgrade leaves what was there."""
    file = trial.file(b"f")
    trial.do(SetLock(ranged(file, 1, READ, 0, 99)))
    trial.do(SetLock(ranged(file, 2, READ, 50, 50)))
    with refused(Code.LOCKED):
        trial.do(SetLock(ranged(file, 1, WRITE, 0, 99)))
    assert [(held.owner, held.start, held.end, held.kind) for held in held_on(trial.view, file)] == [
        (1, 0, 99, READ),
        (2, 50, 50, READ),
    ]
    assert trial.do(SetLock(ranged(file, 2, NONE))) == LockSet(0)
    trial.do(SetLock(ranged(file, 1, WRITE, 0, 99)))


def test_nothing_to_do(trial: TrialNamespace) -> None:
    """What changes nothing is not journaled; locks touch no inode."""
    file = trial.file(b"f")
    before = trial.attributes(file)
    assert not trial.outcome(SetLock(ranged(file, 1, NONE))).changed
    outcome = trial.outcome(SetLock(ranged(file, 1, READ)))
    assert (outcome.changed, outcome.touched) == (True, set())
    assert not trial.outcome(SetLock(ranged(file, 1, READ, 5, 6))).changed
    assert trial.attributes(file) == before


@pytest.mark.parametrize(
    "lock",
    [
        LockRange(2, 1, 1, 3, 0, 1, 0),
        LockRange(2, 3, 1, READ, 0, LOCK_END, 0),
        LockRange(2, 0, 1, READ, 0, LOCK_END, 0),
        LockRange(2, 1, 1, READ, 2, 1, 0),
        LockRange(2, 2, 1, READ, 0, 1, 0),
    ],
)
def test_invalid(trial: TrialNamespace, lock: LockRange) -> None:
    """Kinds, spaces and ranges that there are not."""
    trial.file(b"f")
    with refused(Code.INVALID):
        trial.do(SetLock(lock))


def test_no_file(trial: TrialNamespace) -> None:
    """STALE."""
    with refused(Code.STALE):
        trial.do(SetLock(ranged(99, 1, READ)))
