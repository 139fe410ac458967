"""Histories of calls on the names of one directory, which begins empty: how they are written down, and what a directory may answer.

The calls are system calls, and those are not single moments on any Linux file system: link(2) looks its source up and then links
that file, under whatever names it has by then; stat(2) looks a name up and then asks for the file's attributes; rename(2)
does nothing if it finds the same file under both names, one after the other. Each such moment is atomic here, as it is there.

A history is a file of JSON lines, a call each; CLOCK_MONOTONIC is the same for all processes of a machine.
"""

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tests.support.linearizability import DONE, Violation, find_violation, partition

KINDS = ("create", "rename", "unlink", "link", "stat")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call returned: the errno's name or "", and of a create the inode number, of a stat that and the number of links."""

    error: str = ""
    inode: int = 0
    links: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """kind: one of KINDS; create is with O_EXCL. other: the second name of rename and link.

    Without an outcome it is not known what it did; then end_ns is None.
    """

    process: str
    kind: str
    name: str
    other: str
    start_ns: int
    end_ns: int | None
    outcome: Outcome | None

    @property
    def names(self) -> tuple[str, ...]:
        """What it is about."""
        return (self.name, self.other) if self.other else (self.name,)

    def __str__(self) -> str:
        arguments = ", ".join(self.names)
        answer = "?" if self.outcome is None else self.outcome.error or f"{self.outcome.inode}/{self.outcome.links}"
        return f"{self.process}: {self.kind}({arguments}) = {answer} [{self.start_ns}, {self.end_ns}]"


@dataclass(frozen=True, slots=True)
class Rest:
    """What a process had changed since its last fsync when it died: so much of that took effect, in its order, and no more.

    None of these calls failed; the last may have no outcome. Each took effect at one moment, link with any file that there was.
    """

    calls: tuple[Call, ...]

    kind: ClassVar[str] = "rest"
    outcome: ClassVar[Outcome | None] = None
    end_ns: ClassVar[int | None] = None

    @property
    def start_ns(self) -> int:
        """Of the first."""
        return self.calls[0].start_ns

    @property
    def names(self) -> tuple[str, ...]:
        """What they are about."""
        return tuple(name for call in self.calls for name in call.names)

    def __str__(self) -> str:
        return f"at most, in order, before {self.calls[0].process} died: {'; '.join(map(str, self.calls))}"


Entry = Call | Rest

#: Name → inode. Below 0: made by a call without an outcome, and nobody ever saw its number.
State = frozenset[tuple[str, int]]


class Directory:
    """The sequential object. strays: inodes that were seen, and that no call is known to have made."""

    def __init__(self, strays: frozenset[int]) -> None:
        self._strays = strays

    def advance(self, state: State, call: Entry, progress: Hashable) -> Iterator[tuple[State, Hashable]]:
        """See linearizability.py; progress is the inode that was looked up, of a Rest how many of its calls took effect."""
        if isinstance(call, Rest):
            done = progress if isinstance(progress, int) else 0
            is_last = done + 1 == len(call.calls)
            yield from ((new, DONE if is_last else done + 1) for new in self._changed(state, call.calls[done]))
            return
        match call.kind:
            case "create":
                yield from self._create(state, call)
            case "unlink":
                yield from self._unlink(state, call)
            case "rename":
                yield from self._rename(state, call, progress)
            case "link":
                yield from self._link(state, call, progress)
            case "stat":
                yield from self._stat(state, call, progress)
            case _:
                raise ValueError(call.kind)

    def _changed(self, state: State, call: Call) -> Iterator[State]:
        """What the state may be after that call, if it succeeded."""
        inodes = dict(state)
        match call.kind:
            case "create" if call.name not in inodes:
                made = (*self._strays, -1 - call.start_ns) if call.outcome is None else (call.outcome.inode,)
                yield from (state | {(call.name, inode)} for inode in made)
            case "unlink" if call.name in inodes:
                yield _with(state, {call.name: None})
            case "rename" if call.name in inodes and inodes.get(call.other) == inodes[call.name]:
                yield state
            case "rename" if call.name in inodes:
                yield _with(state, {call.name: None, call.other: inodes[call.name]})
            case "link" if call.other not in inodes:
                yield from (_with(state, {call.other: inode}) for inode in set(inodes.values()))

    def _create(self, state: State, call: Call) -> Iterator[tuple[State, Hashable]]:
        if call.name in dict(state):
            yield from _answer(state, call, "EEXIST")
        elif call.outcome is None:
            for inode in (*self._strays, -1 - call.start_ns):
                yield state | {(call.name, inode)}, DONE
        elif not call.outcome.error:
            yield state | {(call.name, call.outcome.inode)}, DONE

    def _unlink(self, state: State, call: Call) -> Iterator[tuple[State, Hashable]]:
        if call.name in dict(state):
            yield from _answer(state, call, "", _with(state, {call.name: None}))
        else:
            yield from _answer(state, call, "ENOENT")

    def _rename(self, state: State, call: Call, progress: Hashable) -> Iterator[tuple[State, Hashable]]:
        inodes = dict(state)
        if progress is not None:
            if inodes.get(call.other) == progress:
                yield from _answer(state, call, "")
            return
        source = inodes.get(call.name)
        if source is None:
            yield from _answer(state, call, "ENOENT")
        elif inodes.get(call.other) == source:
            yield from _answer(state, call, "")
        else:
            yield from _answer(state, call, "", _with(state, {call.name: None, call.other: source}))
            yield state, source

    def _link(self, state: State, call: Call, progress: Hashable) -> Iterator[tuple[State, Hashable]]:
        inodes = dict(state)
        if progress is None:
            source = inodes.get(call.name)
            if source is None:
                yield from _answer(state, call, "ENOENT")
            else:
                yield state, source
            return
        assert isinstance(progress, int)
        if call.other in inodes:
            yield from _answer(state, call, "EEXIST")
        if not _links(state, progress):
            yield from _answer(state, call, "ENOENT")
        elif call.other not in inodes:
            yield from _answer(state, call, "", _with(state, {call.other: progress}))

    def _stat(self, state: State, call: Call, progress: Hashable) -> Iterator[tuple[State, Hashable]]:
        outcome = call.outcome
        if outcome is None:
            return
        if progress is None:
            inode = dict(state).get(call.name)
            if inode is None:
                yield from _answer(state, call, "ENOENT")
            elif outcome.error or inode == outcome.inode:
                yield state, inode
            return
        assert isinstance(progress, int)
        links = _links(state, progress)
        # Of a file that has just lost its last name, there may be nothing to tell.
        if (outcome.error == "ENOENT" and not links) or (not outcome.error and links == outcome.links):
            yield state, DONE


def _answer(state: State, call: Call, error: str, new: State | None = None) -> Iterator[tuple[State, Hashable]]:
    """The call ends with that error or "", if that is what it returned; the state is new afterwards, or the same."""
    if call.outcome is None or call.outcome.error == error:
        yield state if new is None else new, DONE


def _with(state: State, changes: dict[str, int | None]) -> State:
    return frozenset((name, inode) for name, inode in {**dict(state), **changes}.items() if inode is not None)


def _links(state: State, inode: int) -> int:
    return sum(inode == other for _, other in state)


# --- whole histories --------------------------------------------------------------------------------------------------


def find_violations(calls: Sequence[Entry]) -> list[Violation[State, Entry]]:
    """What no order explains, at most one for each set of names that have to do with each other."""
    each = [call for entry in calls for call in (entry.calls if isinstance(entry, Rest) else (entry,))]
    shown = {kind: {call.outcome.inode for call in each if call.kind == kind and call.outcome} for kind in ("create", "stat")}
    directory = Directory(frozenset(shown["stat"] - shown["create"] - {0}))
    found = (find_violation(part, State(), directory.advance) for part in partition(calls, lambda call: call.names))
    return [violation for violation in found if violation is not None]


def explain(violation: Violation[State, Entry]) -> str:
    """For people."""
    states = [str(dict(sorted(state))) for state in violation.states[:8]]
    return "\n".join(
        [
            f"no order explains {violation.call}",
            *(f"    beside {call}" for call in violation.beside),
            *(f"    after {state}" for state in states),
        ]
    )


def write_call(call: Call) -> str:
    """A line. A process writes one without an outcome before each call, and one with it after it."""
    return json.dumps(asdict(call)) + "\n"


def read_history(paths: Iterable[Path]) -> list[Call]:
    """All calls of several processes' files, in the order in which each made them."""
    calls: dict[tuple[str, int], Call] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            outcome = row.pop("outcome")
            call = Call(**row, outcome=None if outcome is None else Outcome(**outcome))
            calls[call.process, call.start_ns] = call
    return list(calls.values())
