"""Transactions applied ahead give the answer and the refusal that the service will give, or NotHeld; never another one."""

import random
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.memory import MemoryView
from ringfs.meta.namespace import keys, machine
from ringfs.meta.namespace.ahead import AHEAD_OPERATIONS, NotHeld, apply_ahead
from ringfs.meta.namespace.facts import child_number
from ringfs.meta.namespace.marks import AheadMark, mark_of
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import Attributes
from ringfs.wire.packing import unpack
from tests.support.namespace import SECOND, TrialNamespace, inline
from tests.support.refusals import refused
from tests.support.seeds import seeds

FIELDS = [m.SET_MODE, m.SET_UID, m.SET_GID, m.SET_ATIME, m.SET_MTIME, m.SET_ATIME_NOW, m.SET_MTIME_NOW, m.SET_CTIME, 1 << 20]
NAMES = [b"a", b"b", b"c", b"d", b".", b"..", b"x" * 255, b"x" * 256, b"", b"a/b"]


@dataclass
class Held:
    """Holdings: everything in a view but some inodes and some names."""

    view: MemoryView
    inodes_missing: set[int] = field(default_factory=set)
    names_missing: set[tuple[int, bytes]] = field(default_factory=set)

    def attributes(self, number: int) -> Attributes:
        """See Holdings."""
        if number in self.inodes_missing or self.view.get(keys.inode(number)) is None:
            raise NotHeld
        attributes: Attributes = machine.query(self.view, q.GetAttributes(number)).attributes
        return attributes

    def child(self, parent: int, name: bytes) -> int:
        """See Holdings."""
        if parent in self.inodes_missing or (parent, name) in self.names_missing:
            raise NotHeld
        return child_number(self.view, parent, name) or 0


class Trial:
    """A namespace to which the same things are done ahead and really."""

    def __init__(self) -> None:
        self.space = TrialNamespace()
        self.space.do(m.ReserveInodes(4096))
        self.held = Held(self.space.view)

    @property
    def numbers(self) -> tuple[int, int]:
        """The reserved numbers that are left."""
        row = self.space.view.get(keys.reserved(self.space.session))
        assert row is not None
        first, stop = unpack(row)
        return first, stop

    def ahead(self, operation: Any) -> Any:
        """What is answered ahead at the time of the next transaction; a Refused or NotHeld in place of raising them."""
        if type(operation) in (m.Mknod, m.Mkdir, m.Symlink):
            operation.inode = self.numbers[0]
        try:
            return apply_ahead(self.held, operation, self.space.now_ns + SECOND, self.space.session, self.numbers)
        except (Refused, NotHeld) as error:
            return error

    def really(self, operation: Any, holders: list[int]) -> Any:
        """The service's answer; that the mark of it is kept for a transaction that was done ahead is checked."""
        space, number = self.space, self.space.numbers[self.space.session] + 1
        twin = MemoryView(dict(space.view.pairs()))
        now_ns = space.now_ns + SECOND
        marked = machine.apply(twin, machine.Transaction(space.session, number, number, 1, holders, operation, now_ns)).answer
        answer = space.outcome(operation, holders=holders).answer
        if isinstance(answer, Refused):
            assert (marked.code, marked.detail) == (answer.code, answer.detail)
        else:
            assert marked == AheadMark(mark_of(answer))
            assert {k: v for k, v in twin.pairs().items() if k[:1] != keys.REPLY} == {
                k: v for k, v in space.view.pairs().items() if k[:1] != keys.REPLY
            }
        return answer

    def compare(self, operation: Any, holders: list[int] | None = None) -> bool:
        """Whether it was answered ahead; then as the service does."""
        foreseen = self.ahead(operation)
        answer = self.really(operation, holders or [])
        if isinstance(foreseen, NotHeld):
            return False
        if isinstance(answer, Refused):
            assert isinstance(foreseen, Refused), f"{operation}: {foreseen} ahead, {answer!r} really"
            assert foreseen.code is answer.code, f"{operation}: {foreseen!r} ahead, {answer!r} really"
            return True
        assert mark_of(foreseen) == mark_of(answer)
        assert _comparable(foreseen) == _comparable(answer), f"{operation}"
        return True


def _comparable(answer: Any) -> str:
    """All that is shown; what somebody keeps or nobody needs any more of an inode without names is not known ahead."""
    if isinstance(answer, m.Removed) and answer.removed.links == 0:
        answer.removed.stored_bytes = 0
    if isinstance(answer, m.Renamed) and answer.other is not None and answer.other.links == 0:
        answer.other.stored_bytes = 0
    return repr(answer)


def _operation(draw: random.Random, directories: list[int], inodes: list[int]) -> Any:
    parent, other = draw.choice(directories), draw.choice(directories)
    name, new_name = draw.choices(NAMES, [6, 6, 6, 6, 1, 1, 1, 1, 1, 1], k=2)
    match draw.randrange(9):
        case 0:
            mode = draw.choice([0o100644, 0o106755, 0o010600, 0o020666, 0o040755, 0o120777])
            return m.Mknod(parent, name, mode, 7, 1, 2, 0o027, draw.choice([0, 2]), draw.random() < 0.5)
        case 1 | 2:
            return m.Mkdir(parent, name, draw.choice([0o777, 0o7777]), 1, 2, 0o027)
        case 3:
            return m.Symlink(parent, name, draw.choice([b"t", b"", b"x" * 5000]), 1, 2)
        case 4:
            return m.Unlink(parent, name)
        case 5:
            return m.Rmdir(parent, name)
        case 6:
            return m.Rename(parent, name, other, new_name, draw.choice([0, 0, 0, 1, 2, 3, 4, 5, 8]))
        case 7:
            return m.Link(draw.choice(inodes), parent, name)
        case _:
            valid = sum(draw.sample(FIELDS, draw.randrange(1, 4)))
            return m.Setattr(
                draw.choice(inodes), valid, draw.choice([0o644, 0o6755]), 5, draw.choice([6, 0xFFFFFFFF]), 0, 7, 8, 9, True
            )


def _some(draw: random.Random, trial: Trial) -> Any:
    """What is not done ahead, but makes what is done more interesting."""
    space = trial.space
    files = [number for number in trial_inodes(trial) if space.attributes(number).mode & 0o170000 == 0o100000]
    if files and draw.random() < 0.5:
        space.commit(draw.choice(files), inline(0, b"content"))
    elif draw.random() < 0.5:
        space.do(m.SetXattr(draw.choice(trial_inodes(trial)), b"trusted.a", b"1", 0, False))
    elif files:
        with_name = (draw.choice(files), draw.choice(directories_of(trial)), b"l%d" % space.now_ns)
        if space.attributes(with_name[0]).links:
            space.do(m.Link(*with_name))


def trial_inodes(trial: Trial) -> list[int]:
    """All that there are."""
    return [keys.number_at(key, 1) for key in trial.space.view.pairs() if key[:1] == keys.INODE]


def directories_of(trial: Trial) -> list[int]:
    """All with a name."""
    found = [trial.space.attributes(number) for number in trial_inodes(trial)]
    return [int(each.inode) for each in found if each.mode & 0o170000 == 0o040000 and each.links]


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.parametrize("part", [0.0, 0.15])
def test_the_service_answers_the_same(seed: int, part: float) -> None:
    """Random operations; `part` of the inodes and names is not held. Most are answered ahead, all of them rightly."""
    draw = random.Random(seed)
    trial = Trial()
    answered = 0
    with patch("ringfs.meta.namespace.ops.mkdir.LINKS_MAX", 6), patch("ringfs.meta.namespace.ops.rename.LINKS_MAX", 6):
        for _ in range(150):
            inodes = trial_inodes(trial)
            trial.held.inodes_missing = {number for number in inodes if draw.random() < part}
            trial.held.names_missing = {
                (number, name) for number in inodes for name in NAMES if len(name) < 256 and draw.random() < part
            }
            operation = _operation(draw, [*directories_of(trial), inodes[-1], 4000], [*inodes, 4000])
            holders = [trial.space.session] if draw.random() < 0.3 else []
            answered += trial.compare(operation, holders)
            if draw.random() < 0.1:
                _some(draw, trial)
    assert answered > (100 if part == 0 else 50)


def test_what_is_not_held_is_asked() -> None:
    """Contents, whiteouts, other operations, what changes nothing; and what needs rows that only the service has."""
    trial = Trial()
    space = trial.space
    file, directory, other = space.file(b"f"), space.directory(b"d"), space.directory(b"o")
    space.do(m.SetXattr(directory, b"trusted.a", b"1", 0, False))
    linked = space.file(b"l1")
    space.do(m.Link(linked, ROOT_INODE, b"l2"))
    times = (0, 0, 0, 0)
    for operation in (
        m.Setattr(file, m.SET_SIZE, 0, 0, 0, *times, True),
        m.Rename(ROOT_INODE, b"f", ROOT_INODE, b"g", m.RENAME_WHITEOUT),
        m.SetXattr(file, b"trusted.a", b"1", 0, False),
        m.Mkdir(directory, b"below an inode with xattrs", 0o755, 0, 0, 0),
        m.Unlink(ROOT_INODE, b"l1"),
        m.Link(file, ROOT_INODE, b"another"),
        m.Rename(ROOT_INODE, b"l1", other, b"l1", 0),
        m.Rename(ROOT_INODE, b"l1", ROOT_INODE, b"l2", 0),
        m.Mknod(ROOT_INODE, b"f", 0o100644, 0, 0, 0, 0, 0, False),
    ):
        assert isinstance(trial.ahead(operation), NotHeld), operation
    assert m.SetXattr not in AHEAD_OPERATIONS


def test_a_number_that_is_not_set_apart_is_refused() -> None:
    """Each number once, and none of another session's."""
    trial = Trial()
    space = trial.space
    first, stop = trial.numbers
    space.do(m.Mkdir(ROOT_INODE, b"a", 0o755, 0, 0, 0, first + 2))
    assert trial.numbers == (first + 3, stop)
    for number in (first, first + 2, stop, 1):
        with refused(Code.INVALID):
            space.do(m.Mkdir(ROOT_INODE, b"b", 0o755, 0, 0, 0, number))
    with refused(Code.INVALID):
        space.do(m.Mkdir(ROOT_INODE, b"b", 0o755, 0, 0, 0, first + 3), session=space.begin_session())
