"""Locks against an oracle that keeps a kind for every byte and owner, and the limits."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys, locks, system
from ringfs.meta.namespace.locks import held_on, lock_count, replaced
from ringfs.wire.messages.locks import LOCK_END, SPACE_RANGES, GetLock, LockFound, LockOwner, ReleaseLocks, SetLock
from tests.support.locks import NONE, READ, WRITE, ranged, whole
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused

#: The oracle's file has so many bytes; the last one stands for all up to LOCK_END.
BYTES = 12
SETS = st.tuples(st.integers(0, 3), st.sampled_from([READ, WRITE, NONE]), st.integers(0, BYTES - 1), st.integers(0, BYTES - 1))
#: (owner, None): release all of the owner; (session, True): the session ends.
STEPS = st.lists(st.one_of(SETS, SETS, SETS, st.tuples(st.integers(0, 3)), st.just(())), max_size=30)


class Oracle:
    """Owners 0 and 1 are of session 0, 2 and 3 of session 1; owner 0 and owner 2 have the same number there."""

    def __init__(self) -> None:
        self.bytes: dict[int, list[int]] = {owner: [NONE] * BYTES for owner in range(4)}

    def in_the_way(self, owner: int, kind: int, start: int, end: int) -> list[tuple[int, int]]:
        """(byte, owner) of all that keeps the owner out."""
        return [
            (at, other)
            for at in range(start, end + 1)
            for other, kinds in self.bytes.items()
            if other != owner and kinds[at] != NONE and WRITE in (kind, kinds[at])
        ]


class Trial:
    """The same on the machine."""

    def __init__(self) -> None:
        self.namespace = TrialNamespace()
        self.inode = self.namespace.file(b"f")
        self.sessions = [self.namespace.session, self.namespace.begin_session("second")]

    def lock(self, owner: int, kind: int, start: int, end: int) -> Any:
        return ranged(self.inode, owner % 2, kind, start, LOCK_END if end == BYTES - 1 else end)

    def bytes_of(self, owner: int) -> list[int]:
        kinds = [NONE] * BYTES
        for held in held_on(self.namespace.view, self.inode):
            if (held.session, held.owner) == (self.sessions[owner // 2], owner % 2):
                for at in range(held.start, min(held.end, BYTES - 1) + 1):
                    assert kinds[at] == NONE
                    kinds[at] = held.kind
        return kinds


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_as_the_oracle(steps: list[tuple[int, ...]]) -> None:
    """Whatever is asked in whatever order: the same bytes are locked by the same owners, and the same requests are refused."""
    trial, oracle = Trial(), Oracle()
    for step in steps:
        match step:
            case (owner, kind, one, other):
                set_lock(trial, oracle, owner, kind, min(one, other), max(one, other))
            case (owner,):
                release = ReleaseLocks(trial.inode, [LockOwner(SPACE_RANGES, owner % 2)])
                trial.namespace.do(release, session=trial.sessions[owner // 2])
                oracle.bytes[owner] = [NONE] * BYTES
            case _:
                trial.namespace.system(system.EndSession(trial.sessions[1]))
                trial.sessions[1] = trial.namespace.begin_session("again")
                oracle.bytes |= {owner: [NONE] * BYTES for owner in (2, 3)}
        assert {owner: trial.bytes_of(owner) for owner in range(4)} == oracle.bytes


def set_lock(trial: Trial, oracle: Oracle, owner: int, kind: int, start: int, end: int) -> None:
    """One SetLock on both, and what GetLock says before."""
    session, lock = trial.sessions[owner // 2], trial.lock(owner, kind, start, end)
    in_the_way = oracle.in_the_way(owner, kind, start, end) if kind != NONE else []
    found = locks.get_lock(trial.namespace.view, session, GetLock(lock))
    if kind != NONE:
        assert (found.kind == NONE) == (not in_the_way)
    if in_the_way:
        assert found.start <= in_the_way[0][0] <= found.end
        with refused(Code.LOCKED):
            trial.namespace.do(SetLock(lock), session=session)
        return
    answer = trial.namespace.do(SetLock(lock), session=session)
    oracle.bytes[owner][start : end + 1] = [kind] * (end + 1 - start)
    ranges = locks.ranges_of(trial.namespace.view, keys.lock(trial.inode, SPACE_RANGES, session, owner % 2))
    assert answer.ranges == len(ranges)


def test_neighbours_are_one() -> None:
    """What touches and is of one kind is one range; of two kinds, two; a hole splits."""
    ranges = replaced(replaced([], 0, 9, READ, 1), 10, 19, READ, 1)
    assert ranges == [[0, 19, READ, 1]]
    ranges = replaced(ranges, 5, 6, WRITE, 1)
    assert ranges == [[0, 4, READ, 1], [5, 6, WRITE, 1], [7, 19, READ, 1]]
    assert replaced(ranges, 5, 6, NONE, 1) == [[0, 4, READ, 1], [7, 19, READ, 1]]
    assert replaced(ranges, 0, LOCK_END, NONE, 1) == []


def test_get_lock(trial: TrialNamespace) -> None:
    """The first one in the way, whoever has it; the own ones are not; read locks are not in a reader's way."""
    file, other = trial.file(b"f"), trial.begin_session("other")
    trial.do(SetLock(ranged(file, 1, READ, 100, 199, pid=11)))
    trial.do(SetLock(ranged(file, 1, READ, 50, 59, pid=12)), session=other)
    assert locks.get_lock(trial.view, 1, GetLock(ranged(file, 1, WRITE))) == LockFound(other, READ, 50, 59, 12)
    assert locks.get_lock(trial.view, 1, GetLock(ranged(file, 2, WRITE, 60))) == LockFound(1, READ, 100, 199, 11)
    assert locks.get_lock(trial.view, 1, GetLock(ranged(file, 2, READ))).kind == NONE
    with refused(Code.INVALID):
        locks.get_lock(trial.view, 1, GetLock(ranged(file, 2, READ, 2, 1)))


@pytest.mark.parametrize("limit", ["LOCK_RANGES_MAX", "LOCK_OWNERS_MAX", "LOCKS_PER_SESSION_MAX"])
def test_limits(trial: TrialNamespace, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Past each limit: NO_LOCKS, and nothing is changed; what is given back makes room."""
    monkeypatch.setattr(locks, limit, 2)
    file, second = trial.file(b"f"), trial.file(b"g")
    wanted = {
        "LOCK_RANGES_MAX": [ranged(file, 1, READ, at, at) for at in (0, 2, 4)],
        "LOCK_OWNERS_MAX": [ranged(file, owner, READ) for owner in (1, 2, 3)],
        "LOCKS_PER_SESSION_MAX": [ranged(file, 1, READ), whole(file, 1, READ), ranged(second, 1, READ)],
    }[limit]
    for lock in wanted[:2]:
        trial.do(SetLock(lock))
    with refused(Code.NO_LOCKS):
        trial.do(SetLock(wanted[2]))
    gone = wanted[0]
    trial.do(SetLock(ranged(file, gone.owner, NONE, gone.start, gone.end)))
    trial.do(SetLock(wanted[2]))


def test_ended_sessions_leave_nothing(trial: TrialNamespace) -> None:
    """All rows of a session's locks go with it, and no others."""
    file, other = trial.file(b"f"), trial.begin_session("other")
    for owner in range(3):
        trial.do(SetLock(ranged(file, owner, WRITE, owner, owner)), session=other)
        trial.do(SetLock(whole(file, owner, READ)), session=other)
    trial.do(SetLock(ranged(file, 0, WRITE, 9, 9)))
    assert lock_count(trial.view, other) == 6
    trial.system(system.EndSession(other))
    assert [(held.session, held.start) for held in held_on(trial.view, file)] == [(1, 9)]
    assert lock_count(trial.view, other) == 0


def test_refused_is_an_exception() -> None:
    """NO_LOCKS and the others are rows of the error table."""
    assert {Refused(code).code.errno for code in (Code.LOCKED, Code.DEADLOCK, Code.NO_LOCKS)} == {11, 35, 37}
