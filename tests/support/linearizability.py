"""Is a recorded history of concurrent calls linearizable: is there an order of single moments, each within its call, that a
sequential object could have shown?

Wing and Gong's search, in Lowe's just-in-time form: events are gone through in order of time, with all configurations (state of
the object, what the calls under way have done) that are possible so far, each kept once. A call does something only when another
one's answer needs it. What grows is bounded by how many calls overlap, not by the history's length; a call without an answer
overlaps with all that follow.

Pure. The object is whoever calls' (directory_history.py): `advance(state, call, progress)` tells what a call can do at one moment.
A call may need several moments, as system calls do that look up first and act later.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

#: What a call returns as its progress once its answer is decided. None: it has done nothing yet.
DONE = object()

S = TypeVar("S", bound=Hashable)
C = TypeVar("C", bound="Timed")
#: (state, calls under way as (index, progress)). Not there: those whose answer is decided.
_Configuration = tuple[S, frozenset[tuple[int, Hashable]]]


class Timed(Protocol):
    """A call. end_ns is None if it did not return, or nobody knows what it did: it may take effect at any later time, or never."""

    @property
    def start_ns(self) -> int:
        """When it was made."""
        ...

    @property
    def end_ns(self) -> int | None:
        """When it returned."""
        ...


Advance = Callable[[S, C, Hashable], Iterable[tuple[S, Hashable]]]


@dataclass(frozen=True, slots=True)
class Violation(Generic[S, C]):
    """No order explains a call's answer. beside: what was under way; states: all that the object could be before it."""

    call: C
    beside: list[C]
    states: list[S]


def find_violation(calls: Sequence[C], initial: S, advance: Advance[S, C]) -> Violation[S, C] | None:
    """The first call whose answer no order explains, or None."""
    configurations: set[_Configuration[S]] = {(initial, frozenset())}
    for _, is_return, index in _events(calls):
        if not is_return:
            configurations = {(state, pending | {(index, None)}) for state, pending in configurations}
            continue
        explained = _returned(configurations, index, calls, advance)
        if not explained:
            return _violation(configurations, index, calls)
        configurations = explained
    return None


def partition(calls: Sequence[C], keys: Callable[[C], Iterable[str]]) -> list[list[C]]:
    """Calls that have to do with each other, directly or by way of others: a history is linearizable if each part is."""
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while parents.setdefault(key, key) != key:
            key = parents[key]
        return key

    for call in calls:
        first, *others = keys(call)
        for other in others:
            parents[root(other)] = root(first)
    parts: dict[str, list[C]] = {}
    for call in calls:
        parts.setdefault(root(next(iter(keys(call)))), []).append(call)
    return list(parts.values())


def _events(calls: Sequence[Timed]) -> list[tuple[int, bool, int]]:
    """(time, whether it is a return, index of the call): of what happens at one time, calls come first, so that they overlap."""
    begun = [(call.start_ns, False, index) for index, call in enumerate(calls)]
    ended = [(call.end_ns, True, index) for index, call in enumerate(calls) if call.end_ns is not None]
    return sorted([*begun, *ended])


def _returned(
    configurations: set[_Configuration[S]], index: int, calls: Sequence[C], advance: Advance[S, C]
) -> set[_Configuration[S]]:
    """All configurations in which that call's answer is decided, with no more done than that takes."""
    decided: set[_Configuration[S]] = set()
    seen, left = set(configurations), list(configurations)
    while left:
        state, pending = left.pop()
        if all(other != index for other, _ in pending):
            decided.add((state, pending))
            continue
        for each in pending:
            for new_state, progress in advance(state, calls[each[0]], each[1]):
                others = pending - {each}
                new = (new_state, others if progress is DONE else others | {(each[0], progress)})
                if new not in seen:
                    seen.add(new)
                    left.append(new)
    return decided


def _violation(configurations: set[_Configuration[S]], index: int, calls: Sequence[C]) -> Violation[S, C]:
    beside = sorted({other for _, pending in configurations for other, _ in pending} - {index})
    return Violation(calls[index], [calls[other] for other in beside], list({state for state, _ in configurations}))
