"""Locks through the client: two mounts and more, with everything going wrong that can."""

from typing import Any

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import REQUESTS_IN_FLIGHT_MAX, SESSION_TIMEOUT_NS
from ringfs.client.file_system import Caller, Handle
from ringfs.meta.namespace.locks import held_on
from ringfs.wire.messages.locks import LOCK_END, LockRange
from tests.support.locks import NONE, READ, WRITE, ranged, whole
from tests.support.refusals import refused
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world, until

CALLER = Caller()
TIMEOUT_S = SESSION_TIMEOUT_NS / 1e9


async def opened(client: Mounted, name: bytes = b"file") -> Handle:
    """A handle that writes; the file is made if need be."""
    return await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=False)


async def take(client: Mounted, handle: Handle, lock: LockRange, *, wait: bool = False) -> None:
    """Set a lock."""
    await client.fs.locks.set(handle, lock, wait=wait)


def held(world: World, handle: Handle) -> list[tuple[int, int, int, int]]:
    """(owner, kind, start, end) of all locks of a file."""
    return [(each.owner, each.kind, each.start, each.end) for each in held_on(world.store, handle.inode.number)]


class Waiting:
    """Somebody who takes a lock, however long it takes."""

    def __init__(self, nursery: trio.Nursery, client: Mounted, handle: Handle, lock: LockRange) -> None:
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.refused: Refused | None = None
        nursery.start_soon(self._run, client, handle, lock)

    async def _run(self, client: Mounted, handle: Handle, lock: LockRange) -> None:
        with self.scope:
            try:
                await take(client, handle, lock, wait=True)
            except Refused as refusal:
                self.refused = refusal
        self.done.set()


async def test_exclusion_between_mounts(autojump_clock: Any) -> None:
    """One mount's lock keeps another out, and another process of the same mount; the pid is told within the mount only."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        file = a.inode.number
        await take(one, a, ranged(file, 1, WRITE, 0, 9, pid=100))
        for client, handle, owner in ((one, a, 2), (two, b, 1)):
            with refused(Code.LOCKED):
                await take(client, handle, ranged(file, owner, READ, 9, 9))
            await take(client, handle, ranged(file, owner, WRITE, 10 * owner + 10, 10 * owner + 10))
        assert (await one.fs.locks.get(ranged(file, 2, READ, 5, 5))).pid == 100
        found = await two.fs.locks.get(ranged(file, 1, READ, 5, 5))
        assert (found.kind, found.start, found.end, found.pid) == (WRITE, 0, 9, 0)
        await one.fs.locks.release_owner(a.inode, 1)
        await take(two, b, ranged(file, 1, WRITE, 0, 9))
        world.check()


async def test_handing_over(autojump_clock: Any) -> None:
    """A counter under a lock, incremented by three mounts at once through handles that stay open: no increment is lost."""
    async with open_world(2) as world:
        clients = [await world.mount(str(index)) for index in range(3)]
        handles = [await opened(client) for client in clients]
        file = handles[0].inode.number

        async def count(index: int) -> None:
            fs, handle = clients[index].fs, handles[index]
            for _ in range(20):
                await fs.locks.set(handle, whole(file, 1, WRITE), wait=True)
                before = int(bytes(await fs.read(handle, 0, 8)) or b"0")
                await trio.sleep(world.draw.random() / 10)
                await fs.write(handle, 0, b"%08d" % (before + 1))
                await fs.locks.set(handle, whole(file, 1, NONE), wait=False)

        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(count, index)
        assert bytes(await clients[0].fs.read(handles[0], 0, 8)) == b"%08d" % 60


async def test_what_is_written_is_there_after_a_crash(autojump_clock: Any) -> None:
    """Giving back a lock of a file that others have open commits what was written: the mount may die right after."""
    async with open_world(3) as world:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        file = a.inode.number
        await take(one, a, ranged(file, 1, WRITE))
        await one.fs.write(a, 0, b"written")
        await take(one, a, ranged(file, 1, NONE))
        await one.crash()
        await take(two, b, ranged(file, 1, WRITE))
        assert bytes(await two.fs.read(b, 0, 100)) == b"written"


async def test_closing_gives_back(autojump_clock: Any) -> None:
    """A closed descriptor gives back its owner's ranges; a closed handle what was locked through it alone, and nothing else."""
    async with open_world(4) as world:
        one = await world.mount("one")
        a, b = await opened(one), await opened(one)
        file = a.inode.number
        for owner in (1, 2):
            await take(one, a, ranged(file, owner, WRITE, owner, owner))
        await take(one, a, whole(file, 77, READ))
        await take(one, b, whole(file, 88, READ))
        await take(one, b, ranged(file, 2, WRITE, 5, 5))
        await one.fs.locks.release_owner(b.inode, 1)
        assert held(world, a) == [(2, WRITE, 2, 2), (2, WRITE, 5, 5), (77, READ, 0, LOCK_END), (88, READ, 0, LOCK_END)]
        await one.fs.release(a)
        assert held(world, b) == [(2, WRITE, 2, 2), (2, WRITE, 5, 5), (88, READ, 0, LOCK_END)]
        await one.fs.release(b)
        assert held(world, b) == []


async def test_closing_without_locks_asks_nobody(autojump_clock: Any) -> None:
    """Owners that locked nothing cost no transaction when they close."""
    async with open_world(5) as world:
        one = await world.mount("one")
        a = await opened(one)
        await take(one, a, ranged(a.inode.number, 1, WRITE))
        await take(one, a, ranged(a.inode.number, 1, NONE))
        before = world.leader.applied
        with trio.move_on_after(10):
            await one.fs.locks.release_owner(a.inode, 1)
            await one.fs.locks.release_owner(a.inode, 2)
            await one.fs.release(a)
        assert world.leader.applied == before


async def test_waiting_and_interrupts(autojump_clock: Any) -> None:
    """Who waits gets the lock when it is free; who is interrupted has it not, and does not keep it from the next."""
    async with open_world(6) as world, trio.open_nursery() as nursery:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        file = a.inode.number
        await take(one, a, ranged(file, 1, WRITE))
        first = Waiting(nursery, two, b, ranged(file, 1, WRITE))
        await trio.sleep(1)
        second = Waiting(nursery, one, a, ranged(file, 2, WRITE))
        await trio.sleep(1)
        assert not first.done.is_set()
        first.scope.cancel()
        await first.done.wait()
        await take(one, a, ranged(file, 1, NONE))
        await second.done.wait()
        assert held(world, a) == [(2, WRITE, 0, LOCK_END)]
        await until(lambda: world.handler.live.lock_waits.count == 0)


async def test_an_interrupt_in_the_wrong_moment(autojump_clock: Any) -> None:
    """Interrupted at any moment of taking a free lock: either it was taken and is known to be, or it was not."""
    for step in range(12):
        async with open_world(step) as world:
            one = await world.mount("one")
            a = await opened(one)
            was_taken = False
            with trio.move_on_after(step / 1000):
                await take(one, a, ranged(a.inode.number, 1, WRITE), wait=True)
                was_taken = True
            assert was_taken == bool(held(world, a))


async def test_deadlocks(autojump_clock: Any) -> None:
    """Within one mount and between two: who closes the circle is refused, the other gets its lock when that one lets go."""
    async with open_world(7) as world, trio.open_nursery() as nursery:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        file = a.inode.number
        for client, handle, owner in ((one, a, 2), (two, b, 2)):
            await take(one, a, ranged(file, 1, WRITE, 1, 1))
            await take(client, handle, ranged(file, owner, WRITE, 2, 2))
            waiting = Waiting(nursery, one, a, ranged(file, 1, WRITE, 2, 2))
            await trio.sleep(1)
            with refused(Code.DEADLOCK):
                await take(client, handle, ranged(file, owner, WRITE, 1, 1), wait=True)
            assert not waiting.done.is_set()
            await client.fs.locks.release_owner(handle.inode, owner)
            await waiting.done.wait()
            assert waiting.refused is None
            await one.fs.locks.release_owner(a.inode, 1)


async def test_a_change_of_flock_gives_way(autojump_clock: Any) -> None:
    """Two that share and both want it alone do not block each other for ever: as flock(2), the old lock is given up first."""
    async with open_world(8) as world, trio.open_nursery() as nursery:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        file = a.inode.number
        await take(one, a, whole(file, 1, READ))
        await take(two, b, whole(file, 1, READ))
        first, second = (Waiting(nursery, client, handle, whole(file, 1, WRITE)) for client, handle in ((one, a), (two, b)))
        await until(lambda: first.done.is_set() or second.done.is_set())
        await trio.sleep(1)
        assert first.done.is_set() != second.done.is_set()
        client, handle = (one, a) if first.done.is_set() else (two, b)
        await take(client, handle, whole(file, 1, NONE))
        await first.done.wait()
        await second.done.wait()
        with refused(Code.LOCKED):
            await take(client, handle, whole(file, 1, READ))


async def test_the_holder_dies(autojump_clock: Any) -> None:
    """Its locks go when its session has timed out, and who waits for them gets them then."""
    async with open_world(9) as world, trio.open_nursery() as nursery:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        await take(one, a, ranged(a.inode.number, 1, WRITE))
        waiting = Waiting(nursery, two, b, ranged(a.inode.number, 1, WRITE))
        await trio.sleep(1)
        await one.crash()
        await trio.sleep(TIMEOUT_S / 2)
        assert not waiting.done.is_set()
        await trio.sleep(TIMEOUT_S)
        assert waiting.done.is_set()
        assert waiting.refused is None


async def test_locks_outlive_the_server(autojump_clock: Any) -> None:
    """Who had a lock before the metadata server was killed has it after, and goes on; who waited goes on waiting."""
    async with open_world(10) as world, trio.open_nursery() as nursery:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        file = a.inode.number
        await take(one, a, ranged(file, 1, WRITE))
        waiting = Waiting(nursery, two, b, ranged(file, 1, WRITE))
        await trio.sleep(1)
        await world.restart_meta()
        await until(lambda: world.handler.live.lock_waits.count == 1)
        assert not waiting.done.is_set()
        await one.fs.write(a, 0, b"x")
        await take(one, a, ranged(file, 1, NONE))
        await waiting.done.wait()
        assert bytes(await two.fs.read(b, 0, 9)) == b"x"


async def test_a_lost_session(autojump_clock: Any) -> None:
    """A handle whose locks went with their session fails for ever; other handles, and new ones, do not."""
    async with open_world(11) as world:
        one, two = await world.mount("one"), await world.mount("two")
        a, plain, b = await opened(one), await opened(one), await opened(two)
        file = a.inode.number
        await take(one, a, ranged(file, 1, WRITE))
        one.port.blacken()
        await trio.sleep(2 * TIMEOUT_S)
        await take(two, b, ranged(file, 1, WRITE))
        one.port.whiten()
        await until(lambda: one.fs.link.session not in (0, a.locked_under))
        await one.fs.getattr(ROOT_INODE)
        for _ in range(2):
            with refused(Code.LOCKS_LOST):
                await one.fs.read(a, 0, 1)
            with refused(Code.LOCKS_LOST):
                await one.fs.write(a, 0, b"x")
            with refused(Code.LOCKS_LOST):
                await take(one, a, ranged(file, 1, WRITE))
            with refused(Code.LOCKS_LOST):
                await one.fs.fsync(a)
        await one.fs.write(plain, 0, b"y")
        await one.fs.locks.release_owner(a.inode, 1)
        await one.fs.release(a)
        await two.fs.locks.release_owner(b.inode, 1)
        again = await opened(one)
        await take(one, again, ranged(file, 1, WRITE))
        assert held(world, again) == [(1, WRITE, 0, LOCK_END)]


async def test_many_wait(autojump_clock: Any) -> None:
    """More wait than a connection carries requests; other work goes on, and each gets its turn."""
    async with open_world(12) as world, trio.open_nursery() as nursery:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        file = a.inode.number
        await take(one, a, whole(file, 1, WRITE))
        waiting = [Waiting(nursery, two, b, whole(file, owner, READ)) for owner in range(2 * REQUESTS_IN_FLIGHT_MAX)]
        await until(lambda: world.handler.live.lock_waits.count == len(waiting))
        await opened(two, b"another")
        await take(one, a, whole(file, 1, NONE))
        for each in waiting:
            await each.done.wait()
        assert len(held(world, a)) == len(waiting)


@pytest.mark.parametrize("seed", seeds(6))
async def test_exclusion_under_faults(seed: int, autojump_clock: Any) -> None:
    """Writers never meet, whatever is cut, restarted or interrupted, and everybody gets on: nobody who waits is forgotten."""
    async with open_world(seed) as world:
        clients = [await world.mount(str(index)) for index in range(3)]
        inside: dict[int, int] = {}
        turns = [0] * 6
        ended = trio.Event()

        async def work(process: int) -> None:
            client = clients[process % 3]
            handle = await opened(client)
            lock = (ranged, whole)[0](handle.inode.number, 10 + process, WRITE, 0, 99)
            while not ended.is_set():
                with trio.move_on_after(world.draw.choice([0.05, 1, 1000])):
                    kind = world.draw.choice([READ, WRITE])
                    lock.kind = kind
                    await client.fs.locks.set(handle, lock, wait=True)
                    assert not [other for other in inside.values() if WRITE in (kind, other)], f"seed {seed}: {inside}"
                    inside[process] = kind
                    turns[process] += 1
                    with trio.CancelScope(shield=True):
                        await trio.sleep(world.draw.random() / 5)
                        del inside[process]
                        await client.fs.locks.set(handle, ranged(handle.inode.number, 10 + process, NONE), wait=False)
                await trio.sleep(world.draw.random() / 10)

        async with trio.open_nursery() as nursery:
            for process in range(6):
                nursery.start_soon(work, process)
            for _ in range(8):
                await trio.sleep(world.draw.random() * 3)
                if world.draw.random() < 0.3:
                    await world.restart_meta()
                else:
                    world.draw.choice(clients).port.cut(META)
            before = list(turns)
            await trio.sleep(60)
            ended.set()
        assert all(now > then for now, then in zip(turns, before, strict=True)), f"seed {seed}: {before} {turns}"
        await until(lambda: world.handler.live.lock_waits.count == 0)
        world.check()


async def test_the_end_of_the_client_grants_nothing(autojump_clock: Any) -> None:
    """A lock that was asked for and not answered when the client ends is not there."""
    async with open_world(1) as world, trio.open_nursery() as nursery:
        client = await world.mount("one")
        handle = await opened(client)
        client.port.blacken()
        waiting = Waiting(nursery, client, handle, whole(handle.inode.number, 1, WRITE))
        await trio.sleep(1)
        await client.crash()
        await waiting.done.wait()
        assert waiting.refused is not None
        assert waiting.refused.code is Code.IO
