"""Locks at the metadata server: exactly once, over restarts, ends of sessions and lost connections; no waiter is forgotten."""

from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import REQUESTS_IN_FLIGHT_MAX, SESSION_TIMEOUT_NS
from ringfs.meta.namespace.locks import held_on
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.locks import (
    SPACE_RANGES,
    EndWait,
    GetLock,
    LockFound,
    LockFreed,
    LockOwner,
    LockSet,
    LockWait,
    ReleaseLocks,
    SetLock,
    WaitLock,
)
from ringfs.wire.messages.session import OPEN_READ, OPEN_WRITE, Open, Query
from tests.support.locks import NONE, READ, WRITE, ranged
from tests.support.meta_world import Client, MetaWorld
from tests.support.refusals import refused


def freed(client: Client) -> list[int]:
    """The waiters that the client was told may try again."""
    return [waiter for push in client.pushed if isinstance(push, LockFreed) for waiter in push.waiters]


def holders(world: MetaWorld, inode: int) -> list[int]:
    """The sessions that have a lock, ascending."""
    return sorted(held.session for held in held_on(world.leader.view, inode))


async def test_a_lock_is_set_once(autojump_clock: Any) -> None:
    """A SetLock that is sent again gets the first answer, though the lock has gone meanwhile; a refused one is tried again."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f")
        request = alice.mutation(SetLock(ranged(file, 1, WRITE)))
        assert await alice.ask(request) == LockSet(1)
        later = bob.mutation(SetLock(ranged(file, 1, WRITE)))
        with refused(Code.LOCKED):
            await bob.ask(later)
        await alice.mutate(SetLock(ranged(file, 1, NONE)))
        assert await bob.ask(later) == LockSet(1)
        assert await alice.ask(request) == LockSet(1)
        assert holders(world, file) == [bob.session]
        assert await alice.query(GetLock(ranged(file, 1, READ, 5, 6, pid=1))) == LockFound(bob.session, WRITE, 0, (1 << 63) - 1, 7)


async def test_locks_outlive_the_server(autojump_clock: Any) -> None:
    """After a crash the locks are there, before any session has resumed; they are asked for in the grace period too."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f")
        await alice.mutate(SetLock(ranged(file, 1, WRITE)))
        await world.restart()
        await bob.connect()
        await bob.resume()
        assert (await bob.query(GetLock(ranged(file, 1, READ)))).session == alice.session
        assert await bob.query(WaitLock(1, ranged(file, 1, READ), False)) == LockWait(False)
        await alice.connect()
        await alice.resume()
        await alice.mutate(ReleaseLocks(file, [LockOwner(SPACE_RANGES, 1)]))
        await wait_all_tasks_blocked()
        assert freed(bob) == [1]


async def test_waiters_are_told(autojump_clock: Any) -> None:
    """By an unlock, a downgrade, a release and the end of the one before them; a lock that is free is not waited for."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f")
        assert await bob.query(WaitLock(1, ranged(file, 1, READ), False)) == LockWait(True)
        ways = [
            SetLock(ranged(file, 1, NONE, 5, 5)),
            SetLock(ranged(file, 1, READ, 5, 5)),
            ReleaseLocks(file, [LockOwner(SPACE_RANGES, 1)]),
        ]
        for number, way in enumerate(ways):
            await alice.mutate(SetLock(ranged(file, 1, WRITE)))
            assert await bob.query(WaitLock(number, ranged(file, 1, READ, 5, 5), False)) == LockWait(False)
            await alice.mutate(way)
            await wait_all_tasks_blocked()
            assert freed(bob) == list(range(number + 1))
        assert await bob.query(EndWait(1)) == Done()


async def test_a_told_waiter_that_goes_makes_way(autojump_clock: Any) -> None:
    """The next one is told when the first gave up, or lost its connection, with the chance in its hands."""
    async with MetaWorld.open() as world:
        alice, bob, carol = [await world.client(name) for name in ("alice", "bob", "carol")]
        file = await alice.make_file(b"f")
        await alice.mutate(SetLock(ranged(file, 1, WRITE)))
        for number in (1, 2):
            await bob.query(WaitLock(number, ranged(file, number, WRITE), False))
        await carol.query(WaitLock(1, ranged(file, 1, WRITE), False))
        await alice.mutate(SetLock(ranged(file, 1, NONE)))
        await wait_all_tasks_blocked()
        assert (freed(bob), freed(carol)) == ([1], [])
        await bob.query(EndWait(1))
        await wait_all_tasks_blocked()
        assert (freed(bob), freed(carol)) == ([1, 2], [])
        bob.cut()
        await wait_all_tasks_blocked()
        assert freed(carol) == [1]
        assert world.server.live.lock_waits.count == 1


async def test_locks_of_the_silent_are_freed(autojump_clock: Any) -> None:
    """A client that dies keeps its locks until its session ends; then who waits is told."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f")
        await alice.mutate(SetLock(ranged(file, 1, WRITE)))
        await bob.query(WaitLock(1, ranged(file, 1, WRITE), False))
        alice.is_ended = True
        alice.cut()
        await trio.sleep(SESSION_TIMEOUT_NS / 2e9)
        assert freed(bob) == []
        await trio.sleep(SESSION_TIMEOUT_NS / 1e9)
        assert freed(bob) == [1]
        assert holders(world, file) == []


async def test_a_clean_end_frees(autojump_clock: Any) -> None:
    """CloseSession gives back everything at once."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f")
        await alice.mutate(SetLock(ranged(file, 1, WRITE)))
        await bob.query(WaitLock(1, ranged(file, 1, WRITE), False))
        await alice.close_session()
        await wait_all_tasks_blocked()
        assert freed(bob) == [1]
        await bob.mutate(SetLock(ranged(file, 1, WRITE)))


async def test_deadlock_between_sessions(autojump_clock: Any) -> None:
    """Who would close the circle is refused, and the other one gets its lock when that one gives way."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f")
        await alice.mutate(SetLock(ranged(file, 1, WRITE, 0, 0)))
        await bob.mutate(SetLock(ranged(file, 1, WRITE, 1, 1)))
        await alice.query(WaitLock(1, ranged(file, 1, WRITE, 1, 1), False))
        with refused(Code.DEADLOCK):
            await bob.query(WaitLock(1, ranged(file, 1, WRITE, 0, 0), False))
        await bob.mutate(ReleaseLocks(file, [LockOwner(SPACE_RANGES, 1)]))
        await wait_all_tasks_blocked()
        assert (freed(alice), freed(bob)) == ([1], [])


async def test_more_waiters_than_requests(autojump_clock: Any) -> None:
    """Far more may wait than a connection carries requests: waiting holds none, and other requests go on."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f")
        await alice.mutate(SetLock(ranged(file, 1, WRITE)))
        count = 3 * REQUESTS_IN_FLIGHT_MAX
        for number in range(count):
            assert await bob.query(WaitLock(number, ranged(file, number, READ), False)) == LockWait(False)
        await bob.make_file(b"g")
        await alice.mutate(SetLock(ranged(file, 1, NONE)))
        await wait_all_tasks_blocked()
        assert freed(bob) == list(range(count))


async def test_locks_wait_for_no_flush(autojump_clock: Any) -> None:
    """A lock is given while another session leaves a recall of the file unanswered: locks say nothing of its content."""
    async with MetaWorld.open() as world:
        alice, bob = await world.client("alice"), await world.client("bob")
        file = await alice.make_file(b"f", open_mode=OPEN_WRITE)
        alice.obeys = False
        opening = bob.later(Query(bob.session, Open(file, OPEN_READ)))
        await wait_all_tasks_blocked()
        assert not opening.is_done
        assert await bob.mutate(SetLock(ranged(file, 1, WRITE))) == LockSet(1)
        alice.obeys = True
        for recall in alice.recalls:
            await alice.obey(recall)
        assert not isinstance(await opening.wait(), Refused)
