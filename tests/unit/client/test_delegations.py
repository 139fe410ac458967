"""What a client may do ahead, and what it waits for or asks: busy inodes, reserved numbers, sessions, odd clocks."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.delegations import Busy, Delegations
from ringfs.client.inodes import InodeTable
from ringfs.meta.namespace.ahead import NotHeld
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.common import DELEGATED, LEASED, Attributes
from ringfs.wire.messages.content import Clone, CopyRange
from tests.support.meta_doubles import TrioClock
from tests.support.refusals import refused

FILE, OTHER = 5, 6


class Line:
    """Stands for the link: what is done ahead is kept; numbers are given when the test says so."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.session = 7
        self.may_act_ahead = True
        self.done: list[Any] = []
        self.reserving = 0
        self.give: trio.Event = trio.Event()
        self.refuses = False

    def act_ahead(self, operation: Any, client_ns: int, mark: int) -> None:
        """See MetadataLink."""
        self.done.append(operation)

    def start_soon(self, function: Any, *arguments: Any) -> None:
        """See MetadataLink."""
        self.nursery.start_soon(function, *arguments)

    async def mutate(self, operation: m.ReserveInodes, *, session: int) -> m.InodesReserved:
        """See MetadataLink."""
        self.reserving += 1
        await self.give.wait()
        if self.refuses or session != self.session:
            raise Refused(Code.NO_SESSION)
        return m.InodesReserved(100 * self.reserving, 100 * self.reserving + 2)


class Trial:
    """Delegations with an empty directory, the root, and two files in it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.line = Line(nursery)
        self.inodes = InodeTable(lambda epoch: epoch == 1)
        self.clock = TrioClock()
        self.delegations = Delegations(self.line, self.inodes, self.clock, enabled=True)  # type: ignore[arg-type]
        self.root = self.add(ROOT_INODE, 0o40755)
        for number, name in ((FILE, b"file"), (OTHER, b"other")):
            self.add(number, 0o100644)
            self.inodes.set_name(self.root, name, number)
        self.root.complete = True

    def add(self, number: int, mode: int) -> Any:
        """An inode that is delegated."""
        attributes = Attributes(number, mode, 0, 0, 2 if mode & 0o40000 else 1, 2, 0, 0, 1, 1, 1, 1, 1, 0, 0)
        return self.inodes.absorb(attributes, 1, own=False, leased=DELEGATED)

    def chmod(self, number: int) -> Any:
        """Do it ahead."""
        return self.delegations.apply(m.Setattr(number, m.SET_MODE, 0o600, 0, 0, 0, 0, 0, 0, True))

    def mkdir(self, name: bytes) -> Any:
        """Do it ahead."""
        return self.delegations.apply(m.Mkdir(ROOT_INODE, name, 0o755, 0, 0, 0))


@pytest.fixture
async def trial(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Trial]:
    async with trio.open_nursery() as nursery:
        yield Trial(nursery)
        nursery.cancel_scope.cancel()


async def test_only_what_is_delegated_now(trial: Trial) -> None:
    """Not what is merely leased, on its way, or of an epoch that is over; nor while the link says no."""
    assert trial.chmod(FILE).mode == 0o100600
    inode = trial.inodes.get(FILE)
    assert inode is not None
    inode.truncating = True
    with pytest.raises(NotHeld):
        trial.chmod(FILE)
    inode.truncating = False
    inode.lease_epoch = 2
    with pytest.raises(NotHeld):
        trial.chmod(FILE)
    trial.inodes.absorb(inode.attributes, 1, own=False, leased=LEASED)
    with pytest.raises(NotHeld):
        trial.chmod(FILE)
    trial.line.may_act_ahead = False
    with pytest.raises(NotHeld):
        trial.chmod(OTHER)
    assert len(trial.line.done) == 1


async def test_a_clock_before_1970_asks(trial: Trial) -> None:
    """Its times could not be told; those of the far future can."""
    trial.clock.wall_offset_ns = -(10**18)
    with pytest.raises(NotHeld):
        trial.chmod(FILE)
    trial.clock.wall_offset_ns = 9 * 10**18
    assert trial.chmod(FILE).ctime_ns >= 9 * 10**18


@pytest.mark.parametrize(
    ("operation", "busy", "free"),
    [
        (m.Unlink(ROOT_INODE, b"file"), {ROOT_INODE, FILE}, {OTHER}),
        (m.Rename(ROOT_INODE, b"file", ROOT_INODE, b"other", 0), {ROOT_INODE, FILE, OTHER}, set()),
        (m.Link(FILE, ROOT_INODE, b"new"), {ROOT_INODE, FILE}, {OTHER}),
        (m.Unlink(99, b"somewhere else"), {ROOT_INODE, FILE, OTHER}, set()),
        (m.Mkdir(99, b"somewhere else", 0, 0, 0, 0), set(), {ROOT_INODE, FILE, OTHER}),
        (CopyRange(FILE, 0, OTHER, 0, 1, True), {FILE, OTHER}, {ROOT_INODE}),
        (Clone(FILE, ROOT_INODE, b"new"), {ROOT_INODE, FILE}, {OTHER}),
    ],
)
async def test_what_is_being_asked_is_busy(trial: Trial, operation: Any, busy: set[int], free: set[int]) -> None:
    """Everything that the service may be changing just now, and no longer than that."""
    with trial.delegations.asking(operation), trial.delegations.asking(operation):
        for number in busy:
            with pytest.raises(Busy):
                trial.chmod(number)
        for number in free:
            trial.chmod(number)
    for number in busy:
        trial.chmod(number)


async def test_who_waits_is_woken_when_it_is_answered(trial: Trial) -> None:
    """Also if who asked was cancelled."""
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope, trial.delegations.asking(m.Unlink(ROOT_INODE, b"file")):
            nursery.start_soon(trial.delegations.wait_idle)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.sleep_forever()
    trial.chmod(FILE)


async def test_numbers_run_out_and_come_again(trial: Trial) -> None:
    """What is made while there are none is asked for, without a number; one request for more at a time."""
    operation = m.Mkdir(ROOT_INODE, b"a", 0o755, 0, 0, 0)
    for _ in range(3):
        with pytest.raises(NotHeld):
            trial.delegations.apply(operation)
    await trio.testing.wait_all_tasks_blocked()
    assert (trial.line.reserving, operation.inode) == (1, 0)
    trial.line.give.set()
    await trio.testing.wait_all_tasks_blocked()
    assert trial.mkdir(b"a").attributes.inode == 100
    with refused(Code.EXISTS):
        trial.mkdir(b"file")
    assert trial.mkdir(b"b").attributes.inode == 101
    with pytest.raises(NotHeld):
        trial.mkdir(b"c")
    await trio.testing.wait_all_tasks_blocked()
    assert trial.mkdir(b"c").attributes.inode == 200


async def test_numbers_are_one_sessions(trial: Trial) -> None:
    """Those of another session, or asked for under it, are not used; a refusal is tried again."""
    trial.line.give.set()
    with pytest.raises(NotHeld):
        trial.mkdir(b"a")
    await trio.testing.wait_all_tasks_blocked()
    trial.line.session, trial.line.refuses = 8, True
    with pytest.raises(NotHeld):
        trial.mkdir(b"a")
    await trio.testing.wait_all_tasks_blocked()
    trial.line.refuses = False
    with pytest.raises(NotHeld):
        trial.mkdir(b"a")
    await trio.testing.wait_all_tasks_blocked()
    assert trial.mkdir(b"a").attributes.inode == 300
