"""ReleaseLocks: owners give back all they have in a file."""

from ringfs.meta.namespace.locks import held_on
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.locks import SPACE_FILES, SPACE_RANGES, LockOwner, ReleaseLocks, SetLock
from tests.support.locks import READ, WRITE, ranged, whole
from tests.support.namespace import TrialNamespace


def test_release(trial: TrialNamespace) -> None:
    """What the named owners have goes, in the named space of the named file; others' stay; again is nothing."""
    file, second, other = trial.file(b"f"), trial.file(b"g"), trial.begin_session("other")
    for lock in (ranged(file, 1, READ, 0, 1), ranged(file, 1, WRITE, 5, 6), whole(file, 1, READ), ranged(second, 1, READ)):
        trial.do(SetLock(lock))
    trial.do(SetLock(ranged(file, 1, READ, 0, 1)), session=other)
    release = ReleaseLocks(file, [LockOwner(SPACE_RANGES, 1), LockOwner(SPACE_RANGES, 2)])
    assert trial.do(release) == Done()
    assert [(held.space, held.session) for held in held_on(trial.view, file)] == [(SPACE_RANGES, other), (SPACE_FILES, 1)]
    assert [held.session for held in held_on(trial.view, second)] == [1]
    assert not trial.outcome(release).changed


def test_release_after_the_file(trial: TrialNamespace) -> None:
    """Locks of a file that has gone are given back all the same."""
    file = trial.file(b"f")
    trial.do(SetLock(ranged(file, 1, READ)))
    trial.do(m.Unlink(1, b"f"))
    assert not trial.exists(file)
    trial.do(ReleaseLocks(file, [LockOwner(SPACE_RANGES, 1)]))
    assert not list(held_on(trial.view, file))
