"""Histories of a directory: the search accepts what some order explains, and refuses what none does."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.directory_hammer import GROUPS, Hammer
from tests.support.directory_history import KINDS, Call, Entry, Outcome, Rest, explain, find_violations, read_history, write_call
from tests.support.linearizability import partition

NAMES = ("a", "b", "c")
OK = Outcome()
NOT_THERE, THERE = Outcome("ENOENT"), Outcome("EEXIST")


def call(kind: str, names: str, start_ns: int, end_ns: int | None, outcome: Outcome | None, process: str = "p") -> Call:
    """names: one or two of a letter each."""
    return Call(process, kind, names[0], names[1:], start_ns, end_ns, outcome)


def made(inode: int) -> Outcome:
    """Of a create."""
    return Outcome(inode=inode)


CREATED = call("create", "a", 0, 1, made(7))

#: A process that died after it had made a, put it in the place of b, and made a again.
REST = Rest((call("create", "a", 0, 1, made(7)), call("rename", "ab", 2, 3, OK), call("create", "a", 4, None, None)))

GOOD: dict[str, list[Entry]] = {
    "of a rest nothing took effect": [REST, call("stat", "a", 10, 11, NOT_THERE), call("create", "b", 12, 13, made(9))],
    "or some of it": [REST, call("stat", "a", 10, 11, Outcome("", 7, 1)), call("create", "b", 12, 13, made(9))],
    "or all of it, bit by bit": [
        REST,
        call("stat", "a", 10, 11, NOT_THERE),
        call("stat", "a", 12, 13, Outcome("", 7, 1)),
        call("stat", "b", 14, 15, Outcome("", 7, 1)),
        call("stat", "a", 16, 17, Outcome("", 8, 1)),
    ],
    "nothing": [],
    "one after the other": [
        CREATED,
        call("create", "a", 2, 3, THERE),
        call("unlink", "a", 4, 5, OK),
        call("stat", "a", 6, 7, NOT_THERE),
    ],
    "a stat sees what overlaps": [call("create", "a", 0, 10, made(7)), call("stat", "a", 1, 2, Outcome("", 7, 1))],
    "or not yet": [call("create", "a", 0, 10, made(7)), call("stat", "a", 1, 2, NOT_THERE)],
    "two renames of one source": [CREATED, call("rename", "ab", 2, 9, OK), call("rename", "ac", 3, 8, NOT_THERE)],
    "a link is to what was looked up, under another name by then": [
        CREATED,
        call("rename", "ab", 2, 9, OK),
        call("link", "ac", 3, 8, OK),
        call("stat", "c", 10, 11, Outcome("", 7, 2)),
    ],
    "a rename of a file onto itself leaves both names": [
        CREATED,
        call("link", "ab", 2, 3, OK),
        call("rename", "ab", 4, 5, OK),
        call("stat", "a", 6, 7, Outcome("", 7, 2)),
    ],
    "what was cut off took effect": [call("create", "a", 0, None, None), call("stat", "a", 5, 6, Outcome("", 9, 1))],
    "what was cut off did not": [call("create", "a", 0, None, None), call("stat", "a", 5, 6, NOT_THERE)],
    "what was cut off takes effect later": [
        CREATED,
        call("unlink", "a", 2, None, None),
        call("stat", "a", 5, 6, Outcome("", 7, 1)),
        call("stat", "a", 7, 8, NOT_THERE),
    ],
    "a stat of what is being removed shows no links": [
        CREATED,
        call("unlink", "a", 2, 9, OK),
        call("stat", "a", 3, 8, Outcome("", 7, 0)),
    ],
}

BAD: dict[str, list[Entry]] = {
    "a rest takes effect in its order": [
        Rest((call("create", "a", 0, 1, made(7)), call("create", "b", 2, 3, made(8)))),
        call("stat", "b", 10, 11, Outcome("", 8, 1)),
        call("stat", "a", 12, 13, NOT_THERE),
    ],
    "a rest takes effect once": [
        REST,
        call("stat", "a", 10, 11, Outcome("", 7, 1)),
        call("unlink", "a", 12, 13, OK),
        call("stat", "a", 14, 15, Outcome("", 7, 1)),
    ],
    "two creates of one name": [CREATED, call("create", "a", 2, 3, made(8))],
    "also at one time": [call("create", "a", 0, 10, made(7)), call("create", "a", 1, 9, made(8))],
    "an acknowledged name is lost": [CREATED, call("stat", "a", 2, 3, NOT_THERE)],
    "an unlink that others see only later": [CREATED, call("unlink", "a", 2, 3, OK), call("stat", "a", 4, 5, Outcome("", 7, 1))],
    "one unlink happens twice": [CREATED, call("unlink", "a", 2, 9, OK), call("unlink", "a", 3, 8, OK)],
    "a repeated rename tells its own effect": [
        CREATED,
        call("rename", "ab", 2, 3, NOT_THERE),
        call("stat", "b", 4, 5, Outcome("", 7, 1)),
    ],
    "a link is counted twice": [CREATED, call("link", "ab", 2, 3, OK), call("stat", "b", 4, 5, Outcome("", 7, 3))],
    "seen, and then not": [
        call("create", "a", 0, 10, made(7)),
        call("stat", "a", 1, 2, Outcome("", 7, 1)),
        call("stat", "a", 3, 4, NOT_THERE),
    ],
    "two rename one source": [CREATED, call("rename", "ab", 2, 9, OK), call("rename", "ac", 3, 8, OK)],
    "what was cut off takes effect twice": [
        CREATED,
        call("unlink", "a", 2, None, None),
        call("stat", "a", 4, 5, NOT_THERE),
        call("create", "a", 6, 7, made(8)),
        call("stat", "a", 8, 9, NOT_THERE),
    ],
    "a rename removes its source later than it returns": [
        CREATED,
        call("rename", "ab", 2, 3, OK),
        call("unlink", "a", 4, 5, OK),
    ],
    "a file that nobody made": [CREATED, call("stat", "b", 2, 3, Outcome("", 9, 1))],
}


@pytest.mark.parametrize("name", GOOD)
def test_accepts(name: str) -> None:
    """An order explains it."""
    assert [explain(violation) for violation in find_violations(GOOD[name])] == []


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str) -> None:
    """No order does, and it says which call's answer it is."""
    (violation,) = find_violations(BAD[name])
    assert f"no order explains {violation.call}" in explain(violation)


def test_parts_are_searched_apart() -> None:
    """Names that no call connects are parts of their own; each has its own violation."""
    calls = [CREATED, call("create", "b", 0, 1, made(8)), call("rename", "bc", 2, 3, OK)]
    assert sorted(map(len, partition(calls, lambda each: each.names))) == [1, 2]
    lost = [call("stat", "a", 4, 5, NOT_THERE), call("stat", "c", 4, 5, NOT_THERE)]
    assert len(find_violations([*calls, *lost])) == 2


# --- histories of a real object ---------------------------------------------------------------------------------------


class Dictionary:
    """A directory one call at a time, written without the model's help."""

    def __init__(self) -> None:
        self._inodes: dict[str, int] = {}
        self._count = 0

    def do(self, kind: str, name: str, other: str) -> Outcome:
        """What the call returns."""
        inodes = self._inodes
        if kind == "create":
            if name in inodes:
                return THERE
            self._count += 1
            inodes[name] = self._count
            return made(self._count)
        if name not in inodes:
            return NOT_THERE
        if kind == "stat":
            return Outcome("", inodes[name], list(inodes.values()).count(inodes[name]))
        if kind == "unlink":
            del inodes[name]
        elif kind == "link":
            if other in inodes:
                return THERE
            inodes[other] = inodes[name]
        elif inodes.get(other) != inodes[name]:
            inodes[other] = inodes.pop(name)
        return OK


def history(draw: random.Random, count: int, *, losses: float) -> tuple[list[Call], Dictionary]:
    """Of a Dictionary, each call at one moment somewhere in its interval; that part of the answers lost."""
    directory, calls = Dictionary(), []
    for moment in range(count):
        kind = draw.choice(KINDS)
        name, other = draw.sample(NAMES, 2)
        outcome = directory.do(kind, name, other)
        other = other if kind in ("rename", "link") else ""
        at_ns = 100 * moment
        start_ns, end_ns = at_ns - draw.randrange(250), at_ns + draw.randrange(1, 250)
        is_lost = draw.random() < losses
        calls.append(Call(f"p{moment}", kind, name, other, start_ns, None if is_lost else end_ns, None if is_lost else outcome))
    return calls, directory


@given(st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_accepts_what_an_object_did(seed: int) -> None:
    """However its calls overlap, and whatever answers are lost."""
    calls, _ = history(random.Random(seed), 40, losses=0.03)
    assert [explain(violation) for violation in find_violations(calls)] == []


@given(st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_refuses_what_it_did_not_do(seed: int) -> None:
    """After all calls, a name is there that is not, or is not there, or has one link more."""
    draw = random.Random(seed)
    calls, directory = history(draw, 40, losses=0)
    # What overlaps could have happened in another order, and left something else: everybody looks at all names first.
    calls += [call("stat", name, 4400 + 10 * at, 4401 + 10 * at, directory.do("stat", name, "")) for at, name in enumerate(NAMES)]
    name = draw.choice(NAMES)
    true = directory.do("stat", name, "")
    wrong = Outcome("", 1000, 1) if true.error else draw.choice([NOT_THERE, Outcome("", true.inode, true.links + 1)])
    assert not find_violations([*calls, call("stat", name, 5000, 5001, true)])
    (violation,) = find_violations([*calls, call("stat", name, 5000, 5001, wrong)])
    assert violation.call.outcome == wrong


def test_hammer_in_a_local_directory(tmp_path: Path) -> None:
    """What a process writes down of a local directory is read back, and accepted; a mutation of it is not."""
    directory = tmp_path / "names"
    directory.mkdir()
    hammer = Hammer(directory, tmp_path / "history", "one", 7)
    for group in GROUPS:
        for kind in ("create", "link", "stat", "rename", "unlink", "create"):
            hammer.call(kind, group[0], group[1] if kind in ("link", "rename") else "")
    hammer.look()
    calls = read_history([tmp_path / "history"])
    assert find_violations(calls) == []
    assert {each.kind for each in calls} == {"create", "rename", "unlink", "link", "stat"}
    lost = [each for each in calls if each.kind != "unlink"]
    assert len(find_violations(lost)) == len(GROUPS)


def test_call_without_its_second_line_is_open(tmp_path: Path) -> None:
    """Its process was cut off in the middle of it."""
    path = tmp_path / "history"
    path.write_text(write_call(CREATED) + write_call(call("unlink", "a", 5, None, None)))
    assert [each.outcome for each in read_history([path])] == [made(7), None]
