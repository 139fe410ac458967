"""Locks: the algebra of one owner's ranges, and the rows that keep them. Pure.

An owner's ranges in one file and space are a list [[start, end, kind, pid], …], sorted, without overlap, both ends included;
neighbours of one kind are one range, as POSIX has it. No two owners' ranges conflict: ops/set_lock.py sees to that. Rows of a file
may outlast it (its number never comes back): they end with their owner or session. Not here: who waits (meta/lock_waits.py).
"""

from collections.abc import Iterator
from typing import NamedTuple

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.overlay import Overlay
from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import LOCK_OWNERS_MAX, LOCK_RANGES_MAX, LOCKS_PER_SESSION_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import NOTHING
from ringfs.wire.messages.locks import (
    LOCK_END,
    LOCK_NONE,
    LOCK_READ,
    LOCK_WRITE,
    SPACE_FILES,
    SPACE_RANGES,
    GetLock,
    LockFound,
    LockRange,
)
from ringfs.wire.packing import pack, unpack

Range = list[int]


class Held(NamedTuple):
    """A range that an owner has."""

    space: int
    session: int
    owner: int
    start: int
    end: int
    kind: int
    pid: int

    def is_in_the_way(self, session: int, lock: LockRange) -> bool:
        """Whether the session cannot have a lock because of this one."""
        return (
            self.space == lock.space
            and self.start <= lock.end
            and lock.start <= self.end
            and (self.kind == LOCK_WRITE or lock.kind == LOCK_WRITE)
            and not (self.owner == lock.owner and self.session == session)
        )


def check_lock(lock: LockRange) -> None:
    """Refuse what is no lock: INVALID."""
    if lock.kind not in (LOCK_READ, LOCK_WRITE, LOCK_NONE) or lock.space not in (SPACE_RANGES, SPACE_FILES):
        raise Refused(Code.INVALID, f"lock kind {lock.kind}, space {lock.space}")
    if lock.start > lock.end or (lock.space == SPACE_FILES and (lock.start, lock.end) != (0, LOCK_END)):
        raise Refused(Code.INVALID, f"the range {lock.start}…{lock.end}")


# --- the algebra ------------------------------------------------------------------------------------------------------


def replaced(ranges: list[Range], start: int, end: int, kind: int, pid: int) -> list[Range]:
    """The ranges once start … end is of that kind (LOCK_NONE: of none)."""
    changed: list[Range] = []
    for low, high, its_kind, its_pid in ranges:
        if low < start:
            changed.append([low, min(high, start - 1), its_kind, its_pid])
        if high > end:
            changed.append([max(low, end + 1), high, its_kind, its_pid])
    if kind != LOCK_NONE:
        changed.append([start, end, kind, pid])
    changed.sort()
    return _merged(changed)


def _merged(ranges: list[Range]) -> list[Range]:
    merged: list[Range] = []
    for each in ranges:
        if merged and merged[-1][1] + 1 == each[0] and merged[-1][2] == each[2]:
            merged[-1] = [merged[-1][0], *each[1:]]
        else:
            merged.append(each)
    return merged


# --- rows -------------------------------------------------------------------------------------------------------------


def held_on(view: ReadView, inode: int) -> Iterator[Held]:
    """All that anybody has of a file, by space, session and owner."""
    for key, value in scan_prefix(view, keys.LOCK + keys.u64(inode)):
        for start, end, kind, pid in unpack(value):
            yield Held(key[9], keys.number_at(key, 10), keys.number_at(key, 18), start, end, kind, pid)


def find_in_the_way(view: ReadView, session: int, lock: LockRange) -> Held | None:
    """The lock with the lowest start that keeps the session from having that one."""
    found = (held for held in held_on(view, lock.inode) if held.is_in_the_way(session, lock))
    return min(found, key=lambda held: held.start, default=None)


def get_lock(view: ReadView, session: int, question: GetLock) -> LockFound:
    """The answer to a session's GetLock. Refused INVALID."""
    check_lock(question.lock)
    held = find_in_the_way(view, session, question.lock)
    if held is None:
        return LockFound(0, LOCK_NONE, 0, 0, 0)
    return LockFound(held.session, held.kind, held.start, held.end, held.pid)


def ranges_of(view: ReadView, key: bytes) -> list[Range]:
    """What an owner has, by the key of its row."""
    value = view.get(key)
    ranges: list[Range] = [] if value is None else unpack(value)
    return ranges


def put_ranges(rows: Overlay, inode: int, space: int, session: int, owner: int, ranges: list[Range]) -> None:
    """Write what an owner has. Refused NO_LOCKS if that is one lock, owner or file of a session too many."""
    key = keys.lock(inode, space, session, owner)
    is_new = rows.get(key) is None
    if not ranges:
        if not is_new:
            _remove(rows, key)
        return
    if len(ranges) > LOCK_RANGES_MAX:
        raise Refused(Code.NO_LOCKS, f"{len(ranges)} ranges in a file")
    if is_new:
        count = lock_count(rows, session)
        owners = sum(1 for _ in scan_prefix(rows, keys.LOCK + keys.u64(inode)))
        if count >= LOCKS_PER_SESSION_MAX or owners >= LOCK_OWNERS_MAX:
            raise Refused(Code.NO_LOCKS, f"{count} locks of the session, {owners} owners of the file's")
        rows.put(keys.locker(session, inode, space, owner), NOTHING)
        rows.put(keys.lock_count(session), pack(count + 1))
    rows.put(key, pack(ranges))


def release_session(rows: Overlay, session: int) -> None:
    """Take away everything of a session."""
    for key, _ in list(scan_prefix(rows, keys.LOCKER + keys.u64(session))):
        rows.delete(key)
        rows.delete(keys.lock(keys.number_at(key, 9), key[17], session, keys.number_at(key, 18)))
    if lock_count(rows, session):
        rows.delete(keys.lock_count(session))


def lock_count(view: ReadView, session: int) -> int:
    """How many rows of locks a session has."""
    value = view.get(keys.lock_count(session))
    return 0 if value is None else int(unpack(value))


def _remove(rows: Overlay, key: bytes) -> None:
    inode, space, session, owner = keys.number_at(key, 1), key[9], keys.number_at(key, 10), keys.number_at(key, 18)
    rows.delete(key)
    rows.delete(keys.locker(session, inode, space, owner))
    left = lock_count(rows, session) - 1
    if left:
        rows.put(keys.lock_count(session), pack(left))
    else:
        rows.delete(keys.lock_count(session))
