"""Snapshots while a leader leads: when they are made, and that a crash anywhere leaves one from which the state comes back."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from ringfs.base.errors import Refused
from ringfs.base.kv.memory import MemoryView
from ringfs.meta import marks, snapshot_keeping
from ringfs.meta.daemon import start
from ringfs.meta.etcd.interface import Action, Condition, CreatedAt, Delete, Put, Transacted
from ringfs.meta.live import Live
from ringfs.meta.namespace import facts, keys, machine, system
from ringfs.meta.namespace.check import check
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.snapshot_keeping import SnapshotKeeper
from ringfs.meta.snapshot_loading import load_snapshot
from ringfs.meta.snapshot_pointer import SnapshotPointer, look_at_pointer, pointer_key, unpack_pointer
from ringfs.meta.snapshot_stream import StreamReader, StreamWriter
from ringfs.wire.messages.cluster import NODE_DOWN
from tests.support.etcd_model import EtcdModel, ModelClient
from tests.support.meta_doubles import CLUSTER, CONFIG, MemoryJournal, MemoryStore, TrioClock
from tests.support.ring_model import RingModel

PREFIX = b"/t/"
LEADER = PREFIX + b"leader"
#: Small objects, so that a snapshot has several.
OBJECT_BYTES = 300


class Crash(Exception):
    """The process is gone."""


class KeptJournal(MemoryJournal):
    """A journal that only snapshots shorten, and which remembers everything for the checks."""

    def __init__(self, steps: "Steps") -> None:
        super().__init__()
        self.steps = steps
        self.whole: list[bytes] = []

    async def append(self, term: int, entries: Sequence[bytes]) -> int:
        """See Journal."""
        self.steps.reach("append")
        last = await super().append(term, entries)
        self.whole += entries
        self.steps.reach("appended")
        return last

    async def trim(self, upto: int) -> None:
        """A checkpoint is no reason."""

    def restarted(self) -> "KeptJournal":
        """What the next process finds."""
        journal = KeptJournal(self.steps)
        journal.entries, journal.first, journal.term, journal.whole = list(self.entries), self.first, self.term, list(self.whole)
        return journal


class Trimmed:
    """The journal as the keeper has it."""

    def __init__(self, journal: KeptJournal) -> None:
        self._journal = journal
        self.snapshot_position = 0

    @property
    def held_bytes(self) -> int:
        """See TrimmedJournal."""
        return sum(map(len, self._journal.entries))

    async def trim(self, upto: int) -> None:
        """See TrimmedJournal."""
        assert upto <= self.snapshot_position
        self._journal.steps.reach("trim")
        await MemoryJournal.trim(self._journal, upto)
        self._journal.steps.reach("trimmed")


class Steps:
    """Counts what a leader does to the world, and crashes it at one of them."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        #: How many more may be reached.
        self.left = 1 << 60

    def reach(self, step: str) -> None:
        """One more."""
        self.reached.append(step)
        self.left -= 1
        if self.left < 0:
            raise Crash


class SteppedClient(ModelClient):
    """An etcd whose changes are steps."""

    def __init__(self, model: EtcdModel, steps: Steps) -> None:
        super().__init__(model)
        self._steps = steps

    async def transact(
        self, conditions: Sequence[Condition], then: Sequence[Action], otherwise: Sequence[Action] = (), *, timeout_s: float = 2.0
    ) -> Transacted:
        """See Etcd."""
        is_change = any(isinstance(action, Put | Delete) for action in then)
        if is_change:
            self._steps.reach("etcd")
        done = await super().transact(conditions, then, otherwise, timeout_s=timeout_s)
        if is_change:
            self._steps.reach("etcd done")
        return done


class World:
    """A metadata server with a keeper, which can crash and start again."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.model = EtcdModel()
        self.etcd = SteppedClient(self.model, self.steps)
        self.clock = TrioClock()
        self.ring = RingModel(self.clock.wall_ns)
        self.journal = KeptJournal(self.steps)
        self.store: Any = MemoryStore()
        self.live: Live
        self.keeper: SnapshotKeeper
        self.base_position = 0
        self.told = (0, "")

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """A term."""
        self.journal, self.store = self.journal.restarted(), self.store.restarted()
        leader, server = await start(self.store, self.journal, self.clock, CONFIG, "meta1")
        self.live = server.live
        await ModelClient(self.model).transact([], [Delete(LEADER)])
        revision = (await ModelClient(self.model).transact([], [Put(LEADER, b"me")])).revision
        self.keeper = SnapshotKeeper(
            self.live,
            Trimmed(self.journal),
            self.etcd,
            PREFIX,
            CreatedAt(LEADER, revision),
            self.ring,
            self.base_position,
            self._note,
        )
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(leader.run)
                nursery.start_soon(self.keeper.run)
                yield
                nursery.cancel_scope.cancel()
        except* Crash:
            pass

    def _note(self, position: int, trouble: str) -> None:
        self.told = (position, trouble)

    async def transact(self, operation: Any) -> None:
        """A transaction of anybody's, durable."""
        done = trio.Event()

        def act() -> None:
            answer = self.live.transact_own(operation)
            assert not isinstance(answer, Refused), answer
            self.live.leader.when_durable(done.set)

        self.live.leader.admit(act)
        await done.wait()

    async def work(self, count: int = 30) -> None:
        """Transactions."""
        for number in range(count):
            await self.transact(system.BeginSession(f"session {number}"))

    async def settled(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        """Until something holds, in virtual time."""
        with trio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110 -- in virtual time
                await trio.sleep(0.01)

    # --- checks ---------------------------------------------------------------------------------------------------------

    def pointer(self) -> SnapshotPointer | None:
        """The one in etcd."""
        pair = self.model.pair(pointer_key(PREFIX))
        return None if pair is None else unpack_pointer(pair.value)

    def durable(self) -> MemoryView:
        """The state as the next process will have it."""
        store, journal = self.store.restarted(), self.journal
        found = marks.read(store)
        assert found is not None
        return applied(store, journal.whole[found.position :])

    def check(self) -> None:
        """The pointer's snapshot can be read, nothing of it may be deleted, and with the journal after it the state comes back."""
        state = self.durable()
        assert [str(finding) for finding in check(state)] == []
        pointer = self.pointer()
        if pointer is None:
            assert self.journal.first == 1
            return
        position = pointer.marks.position
        assert self.journal.first <= position + 1
        assert all(state.get(keys.object_row(each.oid)) is not None for each in pointer.objects)
        assert pointer.inode in facts.orphans_of(state, 0)
        rows = self.rows(pointer)
        after = self.journal.entries[position - self.journal.first + 1 :]
        assert applied(MemoryView(rows), after).pairs() == state.pairs()

    def rows(self, pointer: SnapshotPointer) -> dict[bytes, bytes]:
        """What a snapshot has."""
        reader = StreamReader()
        rows: dict[bytes, bytes] = {}
        for each in pointer.objects:
            rows.update(reader.feed(self.ring.held[each.oid]))
        reader.finish(pointer.size_bytes, pointer.digest)
        return rows

    def check_clean(self) -> None:
        """Nothing is kept but the pointer's snapshot."""
        self.check()
        pointer = self.pointer()
        assert self.told == (self.keeper.position, "")
        assert list(facts.orphans_of(self.live.leader.view, 0)) == ([] if pointer is None else [pointer.inode])


def applied(view: MemoryView, entries: Sequence[bytes]) -> MemoryView:
    """A state after more transactions."""
    for entry in entries:
        assert machine.apply(view, Transaction.decode(entry)).changed
    return view


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Everything empty; objects are small."""
    monkeypatch.setattr(snapshot_keeping, "StreamWriter", partial(StreamWriter, OBJECT_BYTES))
    return World()


async def snapshot(world: World) -> int:
    """Have one made; its position."""
    before = world.keeper.position
    world.keeper.want()
    await world.settled(lambda: world.keeper.position > before)
    # What follows it is done too when the keeper waits again.
    await world.settled(lambda: world.keeper.position + 1 == world.journal.first)
    await trio.sleep(1)
    return world.keeper.position


async def test_a_snapshot_is_made(world: World, autojump_clock: object) -> None:
    """The state comes back from it; the journal before it is gone; the one before it is let go of."""
    async with world.leading():
        await world.work()
        first = await snapshot(world)
        world.check_clean()
        assert len(world.ring.held) > 3
        await world.work()
        second = await snapshot(world)
        assert second > first
        world.check_clean()
        counters = facts.counters(world.live.leader.view)
        pointer = world.pointer()
        assert pointer is not None
        assert counters.live_bytes == pointer.size_bytes
        assert counters.dead_bytes > 0


async def test_a_new_server_reads_it(world: World, autojump_clock: object, tmp_path: Any) -> None:
    """Keeper and loader mean the same."""
    async with world.leading():
        await world.work()
        await snapshot(world)
        found = await load_snapshot(world.etcd, PREFIX, world.ring, tmp_path / "store", CLUSTER)
        pointer = world.pointer()
        assert pointer is not None
        assert found == pointer.marks


async def test_when_one_is_due(world: World, autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes in the journal, by transactions, or because the journal does not begin at the beginning; not before."""
    async with world.leading():
        await world.work()
        await trio.sleep(10)
        assert world.pointer() is None
        monkeypatch.setattr(snapshot_keeping, "JOURNAL_BYTES", 500)
        await world.settled(lambda: world.pointer() is not None)
        await trio.sleep(10)
        count = world.ring.put_count
        await trio.sleep(100)
        assert world.ring.put_count == count
        monkeypatch.setattr(snapshot_keeping, "JOURNAL_BYTES", 1 << 30)
        monkeypatch.setattr(snapshot_keeping, "JOURNAL_ENTRIES", 60)
        before = world.keeper.position
        await world.work(20)
        await trio.sleep(10)
        assert world.keeper.position == before
        await world.work(40)
        await world.settled(lambda: world.keeper.position > before)


async def test_base_position_needs_one_at_once(world: World, autojump_clock: object) -> None:
    """What came from a file journal is in no journal in etcd: the first leader's snapshot is all that others have."""
    world.base_position = 5
    async with world.leading():
        await world.work(3)
        await world.settled(lambda: world.pointer() is not None)


async def test_ring_is_down(world: World, autojump_clock: object) -> None:
    """It is said, tried again, and nothing is left over once it has worked; the journal is not trimmed meanwhile."""
    async with world.leading():
        await world.work()

        def before_put(number: int) -> None:
            if number > 2:
                world.ring.is_down = True

        world.ring.before_put = before_put
        world.keeper.want()
        await world.settled(lambda: bool(world.keeper.trouble))
        assert "no node answers" in world.keeper.trouble
        assert world.told == (0, world.keeper.trouble)
        assert "yet" in world.keeper.trouble
        assert world.pointer() is None
        await trio.sleep(200)
        assert world.ring.put_count < 20
        assert len(list(facts.orphans_of(world.live.leader.view, 0))) <= 1
        world.ring.before_put = lambda _number: None
        world.ring.is_down = False
        await world.settled(lambda: not world.keeper.trouble)
        world.check_clean()
        assert world.pointer() is not None


async def test_etcd_loses_answers_and_is_away(world: World, autojump_clock: object) -> None:
    """The pointer is written once; the leader waits for etcd."""
    async with world.leading():
        await world.work()
        world.etcd.answers_to_lose = 2
        await snapshot(world)
        world.check_clean()
        world.etcd.is_cut = True
        world.keeper.want()
        await world.settled(lambda: bool(world.keeper.trouble))
        world.etcd.is_cut = False
        await world.settled(lambda: not world.keeper.trouble)
        world.check_clean()
        seen = await look_at_pointer(world.etcd, PREFIX)
        assert seen is not None
        assert seen.version == 2


async def test_full_etcd(world: World, autojump_clock: object) -> None:
    """The pointer finds no space: said, and tried until it does."""
    async with world.leading():
        await world.work()
        world.model.quota_bytes = world.model.used_bytes
        world.keeper.want()
        await world.settled(lambda: "database space" in world.keeper.trouble)
        world.model.quota_bytes = 1 << 30
        world.model.disarm()
        await world.settled(lambda: world.pointer() is not None)
        await trio.sleep(2)
        world.check_clean()


async def test_damaged_pointer_is_replaced(world: World, autojump_clock: object) -> None:
    """The leader has the state: it writes another snapshot, and lets go of nothing before."""
    async with world.leading():
        await world.work()
        await snapshot(world)
    pair = world.model.pair(pointer_key(PREFIX))
    assert pair is not None
    await ModelClient(world.model).transact([], [Put(pointer_key(PREFIX), b"x" + pair.value[1:])])
    world.ring.is_down = True
    async with world.leading():
        await world.settled(lambda: bool(world.keeper.trouble))
        assert unpack_pointer(pair.value).inode in facts.orphans_of(world.live.leader.view, 0)
        world.ring.is_down = False
        await world.settled(lambda: world.keeper.position > 0)
        await trio.sleep(2)
        world.check_clean()


async def test_nodes_that_move_are_told(world: World, autojump_clock: object) -> None:
    """The pointer always says where the nodes are now; that one is up or down is not worth a word."""
    enter = system.EnterNode("uuid-1", "data1", "here:7000", "rack", 100)
    async with world.leading():
        await world.transact(enter)
        await snapshot(world)
        await world.transact(system.SetNodeState(1, NODE_DOWN))
        await trio.sleep(5)
        seen = await look_at_pointer(world.etcd, PREFIX)
        assert seen is not None
        assert (seen.version, [node.address for node in seen.read().map.nodes]) == (1, ["here:7000"])
        await world.transact(system.EnterNode("uuid-1", "data1", "there:7000", "rack", 100))
        await trio.sleep(5)
        seen = await look_at_pointer(world.etcd, PREFIX)
        assert seen is not None
        assert (seen.version, [node.address for node in seen.read().map.nodes]) == (2, ["there:7000"])
        assert world.ring.map is not None
        world.check_clean()


async def test_slow_put_is_tried_again(world: World, autojump_clock: object) -> None:
    """An object whose put took so long that a deletion may have overtaken it is not kept: the snapshot begins anew."""
    async with world.leading():
        await world.work()
        wall_ns = world.ring._wall_ns
        world.ring._wall_ns = lambda: wall_ns() - 40 * 10**9
        world.keeper.want()
        await world.settled(lambda: bool(world.keeper.trouble))
        world.ring._wall_ns = wall_ns
        await world.settled(lambda: not world.keeper.trouble)
        world.check_clean()


async def _history(world: World, crash_after: int) -> bool:
    """A snapshot, work, a second one beside more work, until the crash; whether it came."""
    world.steps.left = crash_after
    is_done = False
    async with world.leading():
        await world.work(12)
        await snapshot(world)
        await world.work(3)
        world.keeper.want()
        await world.work(9)
        await world.settled(lambda: world.keeper.position > 15)
        await trio.sleep(2)
        is_done = True
    world.steps.left = 1 << 60
    return not is_done


async def test_crash_anywhere(world: World, autojump_clock: object) -> None:
    """At each change of ring, etcd and journal, before and after it: what is left is right, and the next leader cleans up."""
    assert not await _history(world, 1 << 60)
    total = len(world.steps.reached)
    assert {"append", "appended", "etcd", "etcd done", "trim", "trimmed"} <= set(world.steps.reached)
    crash_count = 0
    for crash_after in range(total):
        again = World()
        crash_count += await _history(again, crash_after)
        again.check()
        async with again.leading():
            await trio.sleep(3)
            again.check_clean()
            await again.work(2)
            await snapshot(again)
            again.check_clean()
    assert crash_count > total * 0.9


async def test_puts_crash_too(world: World, autojump_clock: object) -> None:
    """Before any put of either snapshot."""
    assert not await _history(world, 1 << 60)
    for number in range(1, world.ring.put_count + 1):
        again = World()

        def before_put(count: int, crash_at: int = number) -> None:
            if count == crash_at:
                raise Crash

        again.ring.before_put = before_put
        assert await _history(again, 1 << 60)
        again.check()
        async with again.leading():
            await trio.sleep(3)
            again.check_clean()
            await snapshot(again)
            again.check_clean()


async def test_deposed_leader(world: World, autojump_clock: object) -> None:
    """Its snapshot gets no pointer, and what the pointer says is not touched."""
    async with world.leading():
        await world.work()
        await snapshot(world)
        pointer = world.pointer()
        await ModelClient(world.model).transact([], [Delete(LEADER)])
        world.keeper.want()
        await world.settled(lambda: "leads no more" in world.keeper.trouble)
        assert world.pointer() == pointer
        world.check()
