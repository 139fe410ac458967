"""A client that is cut off for longer than its lease, and not for so long that its session ends: what it had dirty is committed if
nobody changed the file meanwhile; else nobody's bytes are overwritten, and every handle is told once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import LEASE_NS, SESSION_TIMEOUT_NS
from ringfs.client.file_system import Caller, Changes, Handle
from ringfs.wire.messages.content import KEEP_SIZE, PUNCH_HOLE
from tests.support.refusals import refused
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world, until

CALLER = Caller()
LEASE_S = LEASE_NS / 1e9
#: Between the end of the lease and that of the session.
AWAY_S = 20.0
assert LEASE_S + 2 < AWAY_S < SESSION_TIMEOUT_NS / 1e9 - 5
OLD = b"a" * 1000
Other = Callable[[Mounted], Awaitable[None]]


async def made(client: Mounted, data: bytes = OLD) -> Handle:
    """A file, open for writing, with something in it that is committed."""
    handle = await client.fs.create(ROOT_INODE, b"file", 0o100644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, data)
    await client.fs.fsync(handle)
    return handle


async def opened(client: Mounted, *, writes: bool = True) -> Handle:
    inode = await client.fs.lookup(ROOT_INODE, b"file")
    return await client.fs.open(inode.number, writes=writes)


async def content(client: Mounted) -> bytes:
    """What is read by whoever opens the file now."""
    handle = await opened(client, writes=False)
    found = bytes(await client.fs.read(handle, 0, 1 << 24))
    await client.fs.release(handle)
    return found


async def write(client: Mounted) -> None:
    handle = await opened(client)
    await client.fs.write(handle, 0, b"d" * 10)
    await client.fs.fsync(handle)


async def append(client: Mounted) -> None:
    handle = await opened(client)
    await client.fs.write(handle, 0, b"appended", appends=True)
    await client.fs.fsync(handle)


async def truncate(client: Mounted) -> None:
    await client.fs.setattr((await client.fs.lookup(ROOT_INODE, b"file")).number, Changes(size_bytes=5))


async def punch(client: Mounted) -> None:
    await client.fs.ranges.allocate(await opened(client), PUNCH_HOLE | KEEP_SIZE, 10, 20)


async def read(client: Mounted) -> None:
    assert await content(client) == OLD


async def chmod(client: Mounted) -> None:
    await client.fs.setattr((await client.fs.lookup(ROOT_INODE, b"file")).number, Changes(mode=0o600))


CHANGES: dict[Other, bytes] = {
    write: b"d" * 10 + OLD[10:],
    append: OLD + b"appended",
    truncate: OLD[:5],
    punch: OLD[:10] + bytes(20) + OLD[30:],
}


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("other", CHANGES, ids=lambda each: each.__name__)
async def test_changed_by_others(other: Other, shared: bool, autojump_clock: trio.testing.MockClock) -> None:
    """What others did stays, each handle says EIO once, and the file can be written on. shared: they had it open before."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        first = await made(one)
        second = await one.fs.open(first.inode.number, writes=True)
        if shared:
            await opened(two)
        session = one.fs.link.session
        one.port.blacken()
        await one.fs.write(first, 0, b"b" * 2000)
        await other(two)
        await one.fs.write(second, 0, b"c" * 20)
        await trio.sleep(AWAY_S - LEASE_S)
        one.port.whiten()
        for handle in (first, second):
            with refused(Code.IO):
                await one.fs.fsync(handle)
            await one.fs.fsync(handle)
        assert one.fs.link.session == session
        assert await content(two) == await content(one) == CHANGES[other]
        await one.fs.write(first, 0, b"e" * 10)
        await one.fs.fsync(first)
        assert await content(two) == b"e" * 10 + CHANGES[other][10:]
        world.check()


@pytest.mark.parametrize("other", [read, chmod])
async def test_not_changed_by_others(other: Other, autojump_clock: trio.testing.MockClock) -> None:
    """Who reads the file, or changes its mode, loses nothing by what comes then: it is committed."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one)
        one.port.blacken()
        await one.fs.write(handle, 0, b"b" * 100)
        await other(two)
        await trio.sleep(AWAY_S - LEASE_S)
        one.port.whiten()
        await one.fs.fsync(handle)
        assert await content(two) == b"b" * 100 + OLD[100:]
        await write(two)
        await one.fs.write(handle, 500, b"c")
        await one.fs.fsync(handle)
        assert await content(one) == b"d" * 10 + b"b" * 90 + OLD[100:500] + b"c" + OLD[501:]


async def test_an_open_that_the_service_never_heard_of(autojump_clock: trio.testing.MockClock) -> None:
    """A delegated file is opened and written at once, and the connection lost with the word of it."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        await one.fs.release(await made(one))
        await trio.sleep(3)
        number = (await one.fs.lookup(ROOT_INODE, b"file")).number
        await one.fs.getattr(number)
        assert not world.opens.has(one.fs.link.session, number)
        one.port.blacken()
        handle = await opened(one)
        await one.fs.write(handle, 0, b"b" * 100)
        await write(two)
        one.port.whiten()
        with refused(Code.IO):
            await one.fs.fsync(handle)
        assert await content(one) == CHANGES[write]


@pytest.mark.parametrize("changes", [False, True])
async def test_a_restart_of_the_service_meanwhile(changes: bool, autojump_clock: trio.testing.MockClock) -> None:
    """It has forgotten who had what open, and lets others go on when its grace period is over."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one)
        session = one.fs.link.session
        one.port.blacken()
        await one.fs.write(handle, 0, b"b" * 100)
        await world.restart_meta()
        await (write if changes else read)(two)
        one.port.whiten()
        await until(lambda: world.opens.has(session, handle.inode.number))
        if changes:
            with refused(Code.IO):
                await one.fs.fsync(handle)
        await one.fs.fsync(handle)
        assert await content(two) == (CHANGES[write] if changes else b"b" * 100 + OLD[100:])


async def test_the_refusal_is_lost_on_its_way(autojump_clock: trio.testing.MockClock) -> None:
    """A commit that is refused and repeated, since the answer never came, is refused again."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one)
        one.port.blacken()
        await one.fs.write(handle, 0, b"b" * 100)
        await write(two)
        world.network.delay_s = 0.05
        one.port.whiten()
        for _ in range(12):
            await trio.sleep(0.11)
            one.port.cut(META)
        with refused(Code.IO):
            await one.fs.fsync(handle)
        assert await content(two) == CHANGES[write]


# --- at random --------------------------------------------------------------------------------------------------------

_SLOTS, _SLOT_BYTES = 3, 800


@dataclass
class Mark:
    """One write of a slot: when its handle was opened, when it had been written."""

    opened_s: float
    written_s: float
    is_durable: bool = False


async def succeeds(act: Callable[[], Awaitable[object]]) -> bool:
    """False if an earlier failure is told, which is EIO."""
    try:
        await act()
    except Refused as failure:
        if failure.code is not Code.IO:
            raise
        return False
    return True


class Slots:
    """A file of slots that several clients write, each write with a mark of its own; some are away for longer than their lease."""

    def __init__(self, world: World, clients: list[Mounted]) -> None:
        self.world = world
        self.clients = clients
        self.marks: dict[tuple[int, int], Mark] = {}
        self.count = 0

    async def act(self, index: int, until_s: float) -> None:
        """Open, write some slots, fsync, and close, again and again."""
        fs, draw = self.clients[index].fs, self.world.draw
        while trio.current_time() < until_s:
            handle = await opened(self.clients[index])
            opened_s = trio.current_time()
            written: list[tuple[int, int]] = []
            for _ in range(draw.randrange(1, 4)):
                await trio.sleep(draw.choice([0, 0.2, 3]))
                key = self.draw_key()
                data = b"%08d" % key[1] * (_SLOT_BYTES // 8)
                if await succeeds(partial(fs.write, handle, key[0] * _SLOT_BYTES, data)):
                    self.marks[key] = Mark(opened_s, trio.current_time())
                    written.append(key)
                else:
                    # What was written before it may have been given up.
                    written.clear()
            if await succeeds(partial(fs.fsync, handle)):
                for key in written:
                    self.marks[key].is_durable = True
            await fs.release(handle)

    def draw_key(self) -> tuple[int, int]:
        """A slot, and the number of the next write."""
        self.count += 1
        return self.world.draw.randrange(_SLOTS), self.count

    async def check(self, client: Mounted) -> None:
        """No slot shows what was written before somebody opened the file whose write of that slot is durable."""
        durable = [(key, mark) for key, mark in self.marks.items() if mark.is_durable]
        found = await content(client)
        for slot in range(_SLOTS):
            piece = found[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES]
            assert piece == piece[:8] * (_SLOT_BYTES // 8), f"slot {slot} is torn"
            shown = self.marks.get((slot, int(piece[:8])))
            if shown is not None:
                lost = [(key, mark) for key, mark in durable if key[0] == slot and mark.opened_s > shown.written_s]
                assert not lost, f"seed {self.world.seed}: slot {slot} shows {int(piece[:8])}, {shown}; lost: {lost}"


@pytest.mark.parametrize("seed", seeds(12))
async def test_at_random(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Absences of every length between lease and session, restarts of the service among them: what was durable is not overwritten
    by what was written before it."""
    async with open_world(seed) as world:
        clients = [await world.mount(name) for name in ("one", "two", "three")]
        await made(clients[0], b"00000000" * (_SLOTS * _SLOT_BYTES // 8))
        slots = Slots(world, clients)
        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(slots.act, index, trio.current_time() + 240)
            for _ in range(8):
                await trio.sleep(world.draw.uniform(0, 5))
                client = world.draw.choice(clients)
                client.port.blacken()
                if world.draw.random() < 0.3:
                    await world.restart_meta()
                await trio.sleep(world.draw.uniform(LEASE_S, SESSION_TIMEOUT_NS / 1e9))
                client.port.whiten()
                await trio.sleep(world.draw.uniform(1, 3))
                await slots.check(clients[seed % 3])
        await slots.check(clients[seed % 3])
        assert sum(mark.is_durable for mark in slots.marks.values()) > 30
        world.check()
