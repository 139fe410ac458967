"""The checker on locks: ranges of living sessions, in order, none in another's way, and both rows of each."""

from collections.abc import Iterator
from itertools import groupby, pairwise

from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.meta.namespace import facts, keys
from ringfs.meta.namespace.finding import Finding
from ringfs.meta.namespace.locks import Held, held_on, ranges_of
from ringfs.wire.messages.locks import LOCK_END, LOCK_READ, LOCK_WRITE, SPACE_FILES, SPACE_RANGES
from ringfs.wire.packing import unpack


def check_locks(view: ReadView) -> Iterator[Finding]:
    """Every lock by itself and among the others of its file, and what sessions are said to have."""
    inode = -1
    for key, _ in scan_prefix(view, keys.LOCK):
        yield from _check_row(view, key)
        if keys.number_at(key, 1) != inode:
            inode = keys.number_at(key, 1)
            yield from _check_conflicts(inode, list(held_on(view, inode)))
    yield from _check_lockers(view)


def _check_row(view: ReadView, key: bytes) -> Iterator[Finding]:
    inode, space, session, owner = keys.number_at(key, 1), key[9], keys.number_at(key, 10), keys.number_at(key, 18)
    ranges = ranges_of(view, key)
    is_right = space in (SPACE_RANGES, SPACE_FILES) and bool(ranges)
    is_right &= all(0 <= start <= end <= LOCK_END and kind in (LOCK_READ, LOCK_WRITE) for start, end, kind, _ in ranges)
    is_right &= all(left[1] + (left[2] == right[2]) < right[0] for left, right in pairwise(ranges))
    if not is_right:
        yield Finding("locks", f"inode {inode}: owner {owner} of session {session} has {ranges}")
    if not facts.has_session(view, session) or view.get(keys.locker(session, inode, space, owner)) is None:
        yield Finding("locks", f"inode {inode} is locked by session {session}, which does not know")


def _check_conflicts(inode: int, held: list[Held]) -> Iterator[Finding]:
    """Sweep by start: only a range that ends last so far, or the writer that does, can be in the way of the next one."""
    for _, group in groupby(sorted(held, key=lambda each: (each.space, each.start)), key=lambda each: each.space):
        open_ranges: list[Held] = []
        for each in group:
            open_ranges = [other for other in open_ranges if other.end >= each.start]
            for other in open_ranges:
                if (other.session, other.owner) != (each.session, each.owner) and LOCK_WRITE in (other.kind, each.kind):
                    yield Finding("locks", f"inode {inode}: {other} and {each}")
            open_ranges.append(each)


def _check_lockers(view: ReadView) -> Iterator[Finding]:
    counts: dict[int, int] = {}
    for key, _ in scan_prefix(view, keys.LOCKER):
        session, inode, space, owner = keys.number_at(key, 1), keys.number_at(key, 9), key[17], keys.number_at(key, 18)
        counts[session] = counts.get(session, 0) + 1
        if view.get(keys.lock(inode, space, session, owner)) is None:
            yield Finding("locks", f"session {session} takes itself for a locker of inode {inode}")
    told = {keys.number_at(key, 1): unpack(value) for key, value in scan_prefix(view, keys.LOCK_COUNT)}
    if told != counts:
        yield Finding("locks", f"sessions count {told} locks, there are {counts}")
