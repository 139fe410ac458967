"""When a leader that gathers begins an append: not before those have asked again who were just answered, nor much later."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from ringfs.base.ids import NO_SESSION
from ringfs.meta.leader import GATHER_LULL_OF_APPEND, GATHER_LULLS_MAX, Leader
from ringfs.meta.namespace import machine
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.namespace.system import BeginSession
from tests.support.meta_doubles import CLUSTER, MemoryJournal, MemoryStore, TrioClock

APPEND_S = 0.008
LULL_S = APPEND_S * GATHER_LULL_OF_APPEND
#: Longer than anything here takes.
LONG_S = 60.0


@asynccontextmanager
async def leading(*, gathers: bool = True) -> AsyncIterator[tuple[Leader, MemoryJournal]]:
    """A leader at work on an empty namespace."""
    store: Any = MemoryStore()
    machine.format_namespace(store, CLUSTER, "replica:2", 0)
    journal = MemoryJournal()
    journal.append_s = APPEND_S
    leader = Leader(store, journal, TrioClock(), term=1, position=0, checkpointed=0, now_ns=0, gathers=gathers)
    async with trio.open_nursery() as nursery:
        await nursery.start(leader.run)
        yield leader, journal
        nursery.cancel_scope.cancel()


async def ask(leader: Leader) -> None:
    """One transaction, durable."""
    durable = trio.Event()

    def transact() -> None:
        leader.transact(Transaction(NO_SESSION, 0, 0, 0, [], BeginSession("x")), frees=False)
        leader.when_durable(durable.set)

    leader.admit(transact)
    with trio.fail_after(LONG_S):
        await durable.wait()


async def ask_often(leader: Leader, count: int, pause_s: float = 0.0) -> None:
    """Ask again when answered, perhaps after a while."""
    for _ in range(count):
        await ask(leader)
        await trio.sleep(pause_s)


async def run_clients(leader: Leader, clients: int, count: int, pause_s: float = 0.0) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(ask_often, leader, count, pause_s)


async def test_all_who_ask_again_share_an_append(autojump_clock: object) -> None:
    """The clients that were answered and those that wait become one wave; without gathering they would stay two."""
    async with leading() as (leader, journal):
        await run_clients(leader, 32, 10)
        assert max(journal.batches) == 32
        assert len(journal.batches) <= 12, journal.batches


async def test_they_may_take_a_while_as_long_as_some_come(autojump_clock: object) -> None:
    """Clients that come one after the other, each soon after the one before, are waited for."""
    async with leading() as (leader, journal):
        await run_clients(leader, 8, 1)
        journal.batches.clear()
        async with trio.open_nursery() as nursery:
            for index in range(8):
                nursery.start_soon(ask_often, leader, 3, LULL_S * (1 + index) / 2)
        assert 8 in journal.batches, journal.batches


async def test_who_does_not_come_again_is_not_waited_for_long(autojump_clock: object) -> None:
    """Of many that were in flight one asks: its answer takes two lulls longer than an append, no more."""
    async with leading() as (leader, _journal):
        await run_clients(leader, 32, 2)
        begun_s = trio.current_time()
        await ask(leader)
        assert trio.current_time() - begun_s <= APPEND_S + 2 * LULL_S + 1e-9


async def test_no_wait_is_longer_than_its_bound(autojump_clock: object) -> None:
    """Also if one comes just before each lull would end."""
    async with leading() as (leader, journal):
        await run_clients(leader, 64, 1)
        journal.batches.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(64):
                await trio.sleep(LULL_S * 0.9)
                nursery.start_soon(ask, leader)
        assert max(journal.batches) <= (GATHER_LULLS_MAX * LULL_S + APPEND_S) / (LULL_S * 0.9) + 2, journal.batches


async def test_a_few_are_not_held_up(autojump_clock: object) -> None:
    """One client, or three, have the journal's pace; an append begins as soon as the one before has ended."""
    async with leading() as (leader, _journal):
        for clients in (1, 3):
            begun_s = trio.current_time()
            await run_clients(leader, clients, 10, pause_s=LULL_S)
            assert trio.current_time() - begun_s <= 10 * (2 * APPEND_S + LULL_S) + 1e-9


async def test_a_checkpoint_is_not_held_up(autojump_clock: object) -> None:
    """It shuts admission: nothing more can come, and what is there is appended at once."""
    async with leading() as (leader, journal):
        await run_clients(leader, 32, 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, leader)
            await trio.testing.wait_all_tasks_blocked()
            begun_s = trio.current_time()
            await leader.checkpoint()
            assert trio.current_time() - begun_s <= APPEND_S + 1e-9
        assert leader.checkpointed == leader.applied == len(journal.entries)


async def test_a_leader_that_does_not_gather_appends_at_once(autojump_clock: object) -> None:
    """As on a disk of its own."""
    async with leading(gathers=False) as (leader, _journal):
        await run_clients(leader, 32, 2)
        begun_s = trio.current_time()
        await ask(leader)
        assert trio.current_time() - begun_s <= APPEND_S + 1e-9
