"""Durability and exactly-once of the metadata server, whole but for disks and network, which are in memory and fail on purpose."""

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.meta import leader as leader_module
from ringfs.meta import recovery as recovery_module
from ringfs.meta.daemon import start
from ringfs.meta.journal.interface import JournalFailed
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.namespace.system import BeginSession
from ringfs.wire.messages.cluster import GetStatus
from ringfs.wire.messages.namespace import SET_SIZE, Mkdir, Rmdir, Setattr
from ringfs.wire.messages.queries import GetAttributes, Lookup
from ringfs.wire.messages.session import Query
from tests.support.meta_doubles import CONFIG, MemoryJournal, MemoryStore, TrioClock
from tests.support.meta_world import Client, MetaWorld
from tests.support.refusals import refused


def mkdir(name: bytes) -> Mkdir:
    return Mkdir(ROOT_INODE, name, 0o755, 0, 0, 0)


async def exists(client: Client, name: bytes) -> bool:
    return (await client.query(Lookup(ROOT_INODE, name))).attributes is not None


async def test_request_cut_off_between_append_and_reply(autojump_clock: object) -> None:
    """The journal has it, the client has no answer, the server dies: repeated, it gets the first answer and took effect once."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.journal.gate_after = trio.Event()
        request = alice.mutation(mkdir(b"d"))
        lost = alice.later(request)
        await wait_all_tasks_blocked()
        await world.restart()
        assert isinstance(await lost.wait(), ConnectionLost)
        await alice.resume()
        position = world.leader.applied
        answer = await alice.ask(request)
        assert answer.attributes.inode == (await alice.query(Lookup(ROOT_INODE, b"d"))).attributes.inode
        assert await alice.ask(request) == answer
        assert world.leader.applied == position


async def test_request_that_was_not_durable_never_happened(autojump_clock: object) -> None:
    """Applied, but not in the journal when the server dies: nobody saw it, and the repeated request makes it happen."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.journal.gate = trio.Event()
        request = alice.mutation(mkdir(b"d"))
        lost = alice.later(request)
        await wait_all_tasks_blocked()
        await world.restart()
        assert isinstance(await lost.wait(), ConnectionLost)
        await alice.resume()
        assert not await exists(alice, b"d")
        assert (await alice.ask(request)).attributes.links == 2


async def test_answers_wait_for_what_they_show(autojump_clock: object) -> None:
    """A query, a refusal and a repeated request that see an undurable transaction are answered after it is durable, not before."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        bob = await world.client("bob")
        world.journal.gate = trio.Event()
        request = alice.mutation(mkdir(b"d"))
        first = alice.later(request)
        await wait_all_tasks_blocked()
        waiting = [
            first,
            alice.later(request),
            bob.later(Query(bob.session, Lookup(ROOT_INODE, b"d"))),
            bob.later(bob.mutation(mkdir(b"d"))),
            bob.later(GetStatus()),
        ]
        await wait_all_tasks_blocked()
        assert not any(each.is_done for each in waiting)
        world.journal.gate.set()
        made, again, shown, refusal, _ = [await each.wait() for each in waiting]
        # What may be cached of it is not the same any more: others have asked.
        assert (made.attributes, made.parent) == (again.attributes, again.parent)
        assert shown.attributes == made.attributes
        assert isinstance(refusal, Refused)
        assert refusal.code is Code.EXISTS


async def test_queries_are_not_held_when_all_is_durable(autojump_clock: object) -> None:
    """Without undurable transactions a query does not touch the journal."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.journal.gate = trio.Event()
        assert not await exists(alice, b"d")


async def test_what_arrives_during_an_append_is_one_batch(autojump_clock: object) -> None:
    """Group commit: the first transaction is appended alone, all that arrive meanwhile together."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.journal.batches.clear()
        world.journal.append_s = 0.01
        waiting = [alice.later(alice.mutation(mkdir(b"%d" % number))) for number in range(100)]
        for each in waiting:
            await each.wait()
        assert sum(world.journal.batches) == 100
        assert len(world.journal.batches) <= 3, world.journal.batches


async def test_a_batch_is_bounded(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound of a batch transactions wait their turn; all are answered, in batches of that size."""
    monkeypatch.setattr(leader_module, "BATCH_COUNT_MAX", 10)
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.journal.batches.clear()
        world.journal.append_s = 0.01
        waiting = [alice.later(alice.mutation(mkdir(b"%d" % number))) for number in range(100)]
        for each in waiting:
            await each.wait()
        assert sum(world.journal.batches) == 100
        assert max(world.journal.batches) <= 10, world.journal.batches


async def test_full_journal(autojump_clock: object) -> None:
    """No room: transactions are refused NO_SPACE, what frees space may use the reserve, questions go on; it recovers by itself."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        await alice.mutate(mkdir(b"d"))
        file = await alice.make_file(b"f")
        await alice.mutate(Setattr(file, SET_SIZE, 0, 0, 0, 1000, 0, 0, 0, False))
        world.journal.room_bytes = world.journal.reserve_bytes
        with refused(Code.NO_SPACE):
            await alice.mutate(mkdir(b"e"))
        with refused(Code.NO_SPACE):
            await alice.mutate(Setattr(file, SET_SIZE, 0, 0, 0, 2000, 0, 0, 0, False))
        assert not await exists(alice, b"e")
        assert "full" in (await alice.ask(GetStatus())).trouble
        await alice.mutate(Setattr(file, SET_SIZE, 0, 0, 0, 10, 0, 0, 0, False))
        await alice.mutate(Rmdir(ROOT_INODE, b"d"))
        world.journal.room_bytes = None
        await trio.sleep(2)
        assert (await alice.ask(GetStatus())).trouble == ""
        await alice.mutate(mkdir(b"e"))


async def test_full_store(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no checkpoint can be made, transactions go on in memory up to the bound, then NO_SPACE; with room again, they go on."""
    monkeypatch.setattr(leader_module, "CHECKPOINT_BYTES", 10_000)
    monkeypatch.setattr(leader_module, "UNWRITTEN_BYTES_MAX", 20_000)
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.store.is_full = True
        made = 0
        while True:
            answer = await alice.later(alice.mutation(mkdir(b"%d" % made))).wait()
            if isinstance(answer, Refused):
                break
            made += 1
        assert answer.code is Code.NO_SPACE
        assert 10_000 < world.store.pending_bytes < 30_000
        assert "full" in (await alice.ask(GetStatus())).trouble
        await alice.mutate(Rmdir(ROOT_INODE, b"0"))
        world.store.is_full = False
        await trio.sleep(2)
        await alice.mutate(mkdir(b"last"))
        assert (await alice.ask(GetStatus())).trouble == ""
        await world.restart()
        await alice.resume()
        assert (await alice.query(GetAttributes(ROOT_INODE))).attributes.size_bytes == made


async def test_restart_with_a_full_store(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash while no checkpoint can be made: the next process has everything from the journal, serves, and keeps the journal."""
    monkeypatch.setattr(leader_module, "CHECKPOINT_BYTES", 10_000)
    monkeypatch.setattr(recovery_module, "CHECKPOINT_BYTES", 10_000)
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.store.is_full = True
        for number in range(200):
            await alice.mutate(mkdir(b"%d" % number))
        for turn in range(2):
            await world.crash()
            world.store.is_full = True
            await world.start()
            await alice.resume()
            assert "full" in (await alice.ask(GetStatus())).trouble
            await alice.mutate(mkdir(b"after %d" % turn))
        assert world.store.checkpoint_count == 0
        assert world.journal.first <= 2
        await world.crash()
        await world.start()
        await alice.resume()
        assert (await alice.ask(GetStatus())).trouble == ""
        assert (await alice.query(GetAttributes(ROOT_INODE))).attributes.size_bytes == 202
        assert world.journal.first > 200


async def test_transactions_wait_for_a_slow_checkpoint(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a checkpoint is written, transactions go on; past the bound of memory they wait for it, and none is refused."""
    monkeypatch.setattr(leader_module, "CHECKPOINT_BYTES", 10_000)
    monkeypatch.setattr(leader_module, "UNWRITTEN_BYTES_MAX", 20_000)
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.store.checkpoint_s = 5
        most_bytes = 0
        for number in range(200):
            await alice.mutate(mkdir(b"%d" % number))
            most_bytes = max(most_bytes, world.store.pending_bytes)
        assert 15_000 < most_bytes < 25_000


async def test_a_checkpoint_holds_only_what_is_durable(autojump_clock: object) -> None:
    """Whenever the server dies around checkpoints, store and journal belong together, and what was acknowledged is there."""
    for step in range(16):
        async with MetaWorld.open() as world:
            alice = await world.client("alice")
            world.journal.append_s = 0.03
            world.store.checkpoint_s = 0.1
            acknowledged: list[bytes] = []

            async def make(client: Client = alice, done: list[bytes] = acknowledged) -> None:
                for number in range(10_000):
                    name = b"%d" % number
                    if isinstance(await client.later(client.mutation(mkdir(name))).wait(), ConnectionLost):
                        return
                    done.append(name)

            world.nursery.start_soon(make)
            world.nursery.start_soon(make)
            await trio.sleep(4.9 + step * 0.025)
            await world.crash()
            marks = world.store.mark(b"leader")
            assert marks is not None
            await world.start()
            await alice.resume()
            for name in acknowledged:
                assert await exists(alice, name), (step, name)


async def test_the_journal_is_trimmed_behind_checkpoints(autojump_clock: object) -> None:
    """Five seconds after the last change the checkpoint has everything, and the journal nothing."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        await alice.mutate(mkdir(b"d"))
        assert world.journal.entries
        await trio.sleep(11)
        assert not world.journal.entries
        status = await alice.ask(GetStatus())
        assert status.checkpoint == status.position == world.journal.last
        count = world.store.checkpoint_count
        await trio.sleep(60)
        assert world.store.checkpoint_count == count, "nothing changed, nothing is written"


async def test_time_never_goes_back(autojump_clock: object) -> None:
    """A wall clock that jumps back does not reach timestamps, not even over a restart."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        before = (await alice.mutate(mkdir(b"a"))).attributes.btime_ns
        world.clock.wall_offset_ns -= 3600 * 10**9
        after = (await alice.mutate(mkdir(b"b"))).attributes.btime_ns
        assert after >= before
        await world.restart()
        await alice.resume()
        assert (await alice.mutate(mkdir(b"c"))).attributes.btime_ns >= after


async def test_every_start_is_a_new_term(autojump_clock: object) -> None:
    """Terms grow with each start, with or without transactions in between."""
    async with MetaWorld.open() as world:
        terms = [world.leader.term]
        for _ in range(3):
            await world.restart()
            terms.append(world.leader.term)
        assert terms == sorted(set(terms)), terms


async def test_a_failed_journal_stops_the_server() -> None:
    """JournalFailed comes out of the leader; nothing of the batch was answered."""
    journal = MemoryJournal()
    store: Any = MemoryStore()
    leader, _ = await start(store, journal, TrioClock(), CONFIG, "meta1")
    journal.fails = True
    released: list[int] = []
    leader.transact(Transaction(0, 0, 0, 0, [], BeginSession("x")), frees=False)
    leader.when_durable(released.append, 1)
    with pytest.RaisesGroup(JournalFailed, flatten_subgroups=True):
        await leader.run()
    assert not released
