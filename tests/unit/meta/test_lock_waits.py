"""The queue for locks: who is told, in which order, and which waits would never end."""

import pytest

from ringfs.base.errors import Code
from ringfs.meta.lock_waits import LockWaits
from ringfs.meta.namespace.locks import Held
from ringfs.wire.messages.locks import LockRange
from tests.support.locks import READ, WRITE, ranged, whole
from tests.support.refusals import refused

FILE, SECOND = 2, 3


class Locks:
    """Who has what, as the state would say."""

    def __init__(self) -> None:
        self.held: dict[int, list[Held]] = {}
        self.waits = LockWaits()

    def take(self, session: int, lock: LockRange) -> None:
        """The session has the lock."""
        held = Held(lock.space, session, lock.owner, lock.start, lock.end, lock.kind, lock.pid)
        self.held.setdefault(lock.inode, []).append(held)

    def free(self, session: int, owner: int, inode: int = FILE) -> None:
        """An owner has nothing there any more."""
        self.held[inode] = [each for each in self.held[inode] if (each.session, each.owner) != (session, owner)]

    def on(self, inode: int) -> list[Held]:
        """See HeldOn."""
        return self.held.get(inode, [])

    def wait(self, session: int, number: int, lock: LockRange, *, is_of_file: bool = False) -> bool:
        """Enter a waiter; whether others are to be woken."""
        was_outrun = self.waits.enter(session, number, lock, self.on, is_of_file=is_of_file)
        self.waits.check_invariants()
        return was_outrun

    def woken(self, inode: int = FILE) -> list[tuple[int, int]]:
        """Who is told now."""
        told = [(wait.session, wait.number) for wait in self.waits.wake(inode, self.on(inode))]
        self.waits.check_invariants()
        return told


@pytest.fixture
def locks() -> Locks:
    return Locks()


def test_first_come_first_served(locks: Locks) -> None:
    """Of writers the first is told, and only when nothing is in its way; the next when the first has gone."""
    locks.take(1, ranged(FILE, 1, WRITE))
    locks.wait(2, 1, ranged(FILE, 1, WRITE))
    locks.wait(3, 1, ranged(FILE, 1, WRITE))
    assert locks.woken() == []
    locks.free(1, 1)
    assert locks.woken() == [(2, 1)]
    locks.take(2, ranged(FILE, 1, WRITE))
    assert locks.waits.leave(2, 1) == FILE
    assert locks.woken() == []
    locks.free(2, 1)
    assert locks.woken() == [(3, 1)]


def test_readers_together(locks: Locks) -> None:
    """All readers before the first writer's turn are told at once; ranges that do not meet are not in each other's way."""
    locks.take(1, ranged(FILE, 1, WRITE))
    for number, lock in enumerate(
        [
            ranged(FILE, 10, READ, 0, 9),
            ranged(FILE, 11, READ, 5, 9),
            ranged(FILE, 12, WRITE, 9, 9),
            ranged(FILE, 13, WRITE, 20, 30),
        ]
    ):
        locks.wait(2, number, lock)
    locks.free(1, 1)
    assert locks.woken() == [(2, 0), (2, 1), (2, 3)]


def test_told_and_outrun(locks: Locks) -> None:
    """Who was told and finds it taken again keeps its place; who was told and goes makes way for the next."""
    locks.take(1, ranged(FILE, 1, WRITE))
    locks.wait(2, 1, ranged(FILE, 1, WRITE))
    locks.wait(3, 1, ranged(FILE, 1, WRITE))
    locks.free(1, 1)
    assert locks.woken() == [(2, 1)]
    locks.take(4, ranged(FILE, 1, WRITE))
    locks.wait(2, 1, ranged(FILE, 1, WRITE))
    locks.free(4, 1)
    assert locks.woken() == [(2, 1)]
    assert locks.waits.drop(2) == {FILE}
    assert locks.woken() == [(3, 1)]


def test_spaces_do_not_meet(locks: Locks) -> None:
    """flock's waiters wait for flock's locks."""
    locks.take(1, whole(FILE, 1, WRITE))
    locks.take(1, ranged(FILE, 1, WRITE))
    locks.wait(2, 1, whole(FILE, 1, WRITE))
    locks.wait(2, 2, ranged(FILE, 1, WRITE))
    locks.held[FILE] = [each for each in locks.held[FILE] if each.space == 1]
    assert locks.woken() == [(2, 1)]


def test_deadlocks(locks: Locks) -> None:
    """Two owners, of two sessions or of one, and a chain of three over two files; who asks last is refused."""
    for session, owner in ((1, 1), (1, 2), (2, 1)):
        locks.take(session, ranged(FILE, owner, WRITE, 10 * session + owner, 10 * session + owner))
    locks.take(3, ranged(SECOND, 1, WRITE))
    locks.wait(1, 1, ranged(FILE, 1, WRITE, 12, 12))
    with refused(Code.DEADLOCK):
        locks.wait(1, 2, ranged(FILE, 2, WRITE, 11, 11))
    locks.wait(1, 2, ranged(FILE, 2, WRITE, 21, 21))
    with refused(Code.DEADLOCK):
        locks.wait(2, 1, ranged(FILE, 1, READ, 11, 11))
    locks.wait(2, 1, ranged(SECOND, 1, READ))
    with refused(Code.DEADLOCK):
        locks.wait(3, 1, ranged(FILE, 1, WRITE, 12, 12))
    assert locks.waits.count == 3


def test_no_deadlock(locks: Locks) -> None:
    """Waiting for somebody who waits for somebody else ends; the same owner number in another session is somebody else; flock's
    waits are not looked at."""
    locks.take(1, ranged(FILE, 1, WRITE, 1, 1))
    locks.take(2, ranged(FILE, 1, WRITE, 2, 2))
    locks.take(3, ranged(FILE, 1, WRITE, 3, 3))
    locks.wait(1, 1, ranged(FILE, 1, WRITE, 2, 2))
    locks.wait(2, 1, ranged(FILE, 1, WRITE, 3, 3))
    locks.take(1, whole(FILE, 1, WRITE))
    locks.take(2, whole(SECOND, 1, WRITE))
    locks.wait(1, 2, whole(SECOND, 1, WRITE))
    locks.wait(2, 2, whole(FILE, 1, WRITE))
    assert locks.waits.count == 4


def test_open_files_make_no_deadlock(locks: Locks) -> None:
    """OFD locks: a circle of them waits, and one that they are part of, in whatever order it is closed."""
    for owner in (1, 2, 3):
        locks.take(1, ranged(FILE, owner, WRITE, owner, owner))
    locks.wait(1, 1, ranged(FILE, 1, WRITE, 2, 2), is_of_file=True)
    locks.wait(1, 2, ranged(FILE, 2, WRITE, 1, 1), is_of_file=True)
    assert locks.waits.leave(1, 2) == FILE
    locks.wait(1, 2, ranged(FILE, 2, WRITE, 3, 3))
    locks.wait(1, 3, ranged(FILE, 3, WRITE, 1, 1))
    assert locks.waits.leave(1, 1) == FILE
    locks.wait(1, 1, ranged(FILE, 1, WRITE, 2, 2), is_of_file=True)
    assert locks.waits.leave(1, 1) == FILE
    with refused(Code.DEADLOCK):
        locks.wait(1, 1, ranged(FILE, 1, WRITE, 2, 2))


def test_bounds() -> None:
    """Too many waiters of a file, or of all, are refused; asking again under the same number is no new waiter."""
    locks = Locks()
    locks.waits = LockWaits(per_inode_max=2, total_max=3)
    for inode in (FILE, SECOND):
        locks.take(1, ranged(inode, 1, WRITE))
    for number in (1, 2, 2):
        locks.wait(2, number, ranged(FILE, number, READ))
    with refused(Code.NO_LOCKS):
        locks.wait(2, 3, ranged(FILE, 3, READ))
    locks.wait(2, 3, ranged(SECOND, 3, READ))
    with refused(Code.NO_LOCKS):
        locks.wait(2, 4, ranged(SECOND, 4, READ))
    assert locks.waits.leave(2, 9) is None
    assert locks.waits.drop(2) == {FILE, SECOND}
    assert (locks.waits.count, locks.waits.inodes()) == (0, [])


def test_another_lock_under_the_same_number(locks: Locks) -> None:
    """A number is one waiter's until it ends its wait."""
    locks.take(1, ranged(FILE, 1, WRITE))
    locks.wait(2, 1, ranged(FILE, 1, WRITE))
    with refused(Code.INVALID):
        locks.wait(2, 1, ranged(FILE, 1, WRITE, 0, 5))


def test_promised(locks: Locks) -> None:
    """Who was told is waited for as if it had the lock already; when it is outrun, those it kept waiting are told."""
    locks.take(1, ranged(FILE, 1, WRITE))
    locks.wait(2, 1, ranged(FILE, 1, WRITE, 0, 9))
    locks.free(1, 1)
    assert locks.woken() == [(2, 1)]
    assert locks.waits.is_promised(3, 1, ranged(FILE, 1, WRITE))
    assert not locks.waits.is_promised(2, 1, ranged(FILE, 1, WRITE))
    assert not locks.waits.is_promised(3, 1, ranged(FILE, 1, WRITE, 10))
    assert not locks.wait(3, 1, ranged(FILE, 1, WRITE))
    assert locks.woken() == []
    locks.take(4, ranged(FILE, 1, WRITE, 0, 0))
    assert locks.wait(2, 1, ranged(FILE, 1, WRITE, 0, 9))
    locks.free(4, 1)
    assert locks.woken() == [(2, 1)]
