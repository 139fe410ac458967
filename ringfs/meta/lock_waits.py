"""Who waits for which lock: the volatile queue behind WaitLock, and the search for deadlocks. Pure.

First come, first served, as far as those go who wait: of several that could have a freed lock, the first is told, and others with
it only if they are not in its way, nor in that of others who were told before and have not come back. Who comes new and finds the
lock free has it. Who was told stays in the queue, in its place, until it ends its wait; if it was outrun it asks anew. Not here:
locks (namespace/locks.py), connections (live.py).
"""

from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import TypeVar

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.locks import Held
from ringfs.wire.messages.locks import SPACE_RANGES, LockRange

#: Waiters for the locks of one file, and of all together: about 500 bytes each.
WAITERS_PER_INODE_MAX = 4096
WAITERS_MAX = 32 * 1024

#: All locks that anybody has of a file.
HeldOn = Callable[[int], Sequence[Held]]
K = TypeVar("K", bound=Hashable)
L = TypeVar("L", bound=Hashable)


class Wait:
    """One waiter. `number` is its session's name for it."""

    __slots__ = ("is_of_file", "lock", "number", "session", "told")

    def __init__(self, session: int, number: int, lock: LockRange, is_of_file: bool) -> None:
        self.session = session
        self.number = number
        self.lock = lock
        #: Its owner is an open file.
        self.is_of_file = is_of_file
        #: It was told that nothing is in its way, and has not asked anew.
        self.told = False

    def is_in_the_way(self, session: int, lock: LockRange) -> bool:
        """Whether the session could not have a lock if this waiter had its own."""
        own = self.lock
        return Held(own.space, self.session, own.owner, own.start, own.end, own.kind, own.pid).is_in_the_way(session, lock)


class LockWaits:
    """The waiters by file, by session and by owner: three views of one relation, always changed together."""

    def __init__(self, per_inode_max: int = WAITERS_PER_INODE_MAX, total_max: int = WAITERS_MAX) -> None:
        self._per_inode_max = per_inode_max
        self._total_max = total_max
        #: inode → (session, number) → waiter, first come first.
        self._by_inode: dict[int, dict[tuple[int, int], Wait]] = {}
        #: session → number → waiter.
        self._by_session: dict[int, dict[int, Wait]] = {}
        #: (session, owner) → number → waiter; processes only. Empty ones are left out of all three.
        self._by_owner: dict[tuple[int, int], dict[int, Wait]] = {}
        #: Waiters in all.
        self.count = 0

    def inodes(self) -> list[int]:
        """The files that anybody waits for."""
        return list(self._by_inode)

    def enter(self, session: int, number: int, lock: LockRange, held_on: HeldOn, *, is_of_file: bool) -> bool:
        """Wait for a lock that something is in the way of. Refused DEADLOCK (processes only, as Linux: fs/locks.c
        posix_locks_deadlock), NO_LOCKS, INVALID (the number is another waiter's).

        True for a waiter that had been told, and was outrun: it may have kept others waiting, who are to be woken.
        """
        is_of_file = is_of_file or lock.space != SPACE_RANGES
        if not is_of_file and self._would_never_end(session, lock, held_on):
            raise Refused(Code.DEADLOCK, f"inode {lock.inode}")
        known = self._by_session.get(session, {}).get(number)
        if known is not None:
            if known.lock != lock:
                raise Refused(Code.INVALID, f"waiter {number} waits for another lock")
            was_told, known.told = known.told, False
            return was_told
        queue = self._by_inode.get(lock.inode, {})
        if len(queue) >= self._per_inode_max or self.count >= self._total_max:
            raise Refused(Code.NO_LOCKS, f"{len(queue)} wait for locks of inode {lock.inode}, {self.count} in all")
        wait = Wait(session, number, lock, is_of_file)
        self._by_inode.setdefault(lock.inode, {})[session, number] = wait
        self._by_session.setdefault(session, {})[number] = wait
        if not is_of_file:
            self._by_owner.setdefault((session, lock.owner), {})[number] = wait
        self.count += 1
        return False

    def is_promised(self, session: int, number: int, lock: LockRange) -> bool:
        """Whether another waiter, which was told that its way is free and has not come back, would be in the way."""
        return any(
            wait.told and wait.is_in_the_way(session, lock)
            for key, wait in self._by_inode.get(lock.inode, {}).items()
            if key != (session, number)
        )

    def leave(self, session: int, number: int) -> int | None:
        """The waiter waits no more; the file it waited for, or None if there is no such waiter."""
        wait = self._by_session.get(session, {}).get(number)
        if wait is None:
            return None
        _remove(self._by_session, session, number)
        _remove(self._by_inode, wait.lock.inode, (session, number))
        if not wait.is_of_file:
            _remove(self._by_owner, (session, wait.lock.owner), number)
        self.count -= 1
        return wait.lock.inode

    def drop(self, session: int) -> set[int]:
        """All waiters of a session have gone; the files they waited for."""
        numbers = list(self._by_session.get(session, ()))
        return {inode for number in numbers if (inode := self.leave(session, number)) is not None}

    def wake(self, inode: int, held: Sequence[Held]) -> list[Wait]:
        """Those that are to be told now, given what is held of the file: nothing is in their way, nor are they in each other's.

        To be called whenever one of these may have changed: something is given back, or a waiter leaves or is outrun.
        """
        queue = self._by_inode.get(inode, {}).values()
        promised = [wait for wait in queue if wait.told]
        told: list[Wait] = []
        for wait in queue:
            others: tuple[Held | Wait, ...] = (*held, *promised, *told)
            if not wait.told and not any(each.is_in_the_way(wait.session, wait.lock) for each in others):
                wait.told = True
                told.append(wait)
        return told

    # --- deadlocks ----------------------------------------------------------------------------------------------------

    def _would_never_end(self, session: int, lock: LockRange, held_on: HeldOn) -> bool:
        """Whether what is in the way waits, by way of others or not, for the one that would wait."""
        asking = (session, lock.owner)
        held_on = cache(held_on)
        seen: set[tuple[int, int]] = set()
        todo = [*_owners_in_the_way(session, lock, held_on)]
        while todo:
            owner = todo.pop()
            if owner == asking:
                return True
            if owner not in seen:
                seen.add(owner)
                for wait in self._by_owner.get(owner, {}).values():
                    todo += _owners_in_the_way(wait.session, wait.lock, held_on)
        return False

    def check_invariants(self) -> None:
        """The views agree, and the count."""
        waits = {(session, number): wait for session, numbers in self._by_session.items() for number, wait in numbers.items()}
        assert waits == {key: wait for queue in self._by_inode.values() for key, wait in queue.items()}
        assert all(wait.lock.inode == inode for inode, queue in self._by_inode.items() for wait in queue.values())
        ranges = {key: wait for key, wait in waits.items() if not wait.is_of_file}
        assert ranges == {(key[0], number): wait for key, numbers in self._by_owner.items() for number, wait in numbers.items()}
        assert len(waits) == self.count, "count is the number of waiters"
        assert all((*self._by_inode.values(), *self._by_session.values(), *self._by_owner.values())), "none is empty"


def _remove(view: dict[K, dict[L, Wait]], key: K, inner: L) -> None:
    """Take a waiter out of one view, and what is left empty with it."""
    waits = view[key]
    del waits[inner]
    if not waits:
        del view[key]


def _owners_in_the_way(session: int, lock: LockRange, held_on: HeldOn) -> set[tuple[int, int]]:
    return {(held.session, held.owner) for held in held_on(lock.inode) if held.is_in_the_way(session, lock)}
