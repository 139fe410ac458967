"""Several clients on one file system, under faults: who may act sees all that others did before, by any handle, from any cache."""

from dataclasses import dataclass, field

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import LEASE_NS, SESSION_TIMEOUT_NS
from ringfs.client.file_system import Caller, Changes, Handle
from ringfs.wire.messages.content import COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from tests.support.file_model import allocated, difference, overwritten, resized
from tests.support.refusals import refused
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world

CALLER = Caller()
_SIZE_MAX = 150_000


async def created(client: Mounted, name: bytes = b"file") -> Handle:
    """A new file, open for writing."""
    return await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=True)


async def content(client: Mounted, name: bytes = b"file") -> bytes:
    """What is read by whoever opens the file now."""
    inode = await client.fs.lookup(ROOT_INODE, name)
    handle = await client.fs.open(inode.number, writes=False)
    found = bytes(await client.fs.read(handle, 0, 1 << 27))
    await client.fs.release(handle)
    return found


@dataclass
class Shared:
    """A file that all use, one at a time."""

    name: bytes
    now: bytes = b""
    #: Who wrote last. Clients that write one place at once, each by a handle it had before, are not put in order by anybody.
    writer: int = -1
    turn: trio.Lock = field(default_factory=trio.Lock)
    #: By client.
    handles: dict[int, list[Handle]] = field(default_factory=dict)


class Players:
    """Actors on every client; each takes a file's turn, and must find what the last one left."""

    def __init__(self, world: World, clients: list[Mounted]) -> None:
        self.world = world
        self.draw = world.draw
        self.clients = clients
        self.files: list[Shared] = []
        self.nameless: list[Shared] = []
        #: Clients that are cut off and must not be waited for.
        self.away: set[int] = set()
        self.made = 0

    async def act(self, index: int, steps: int) -> None:
        """So many turns of one client."""
        for _ in range(steps):
            await trio.sleep(self.draw.choice([0, 0.01, 0.5, 2]))
            while index in self.away:
                await self.peek(index)
                await trio.sleep(1)
            file = self.draw.choice(self.files + self.nameless) if self.files else await self.create(index)
            async with file.turn:
                if index not in self.away:
                    await self.turn(index, file)

    async def create(self, index: int) -> Shared:
        """One more file."""
        self.made += 1
        file = Shared(b"%d" % self.made)
        async with file.turn:
            self.files.append(file)
            file.handles[index] = [await created(self.clients[index], file.name)]
        return file

    async def turn(self, index: int, file: Shared) -> None:
        """One operation, with a handle from long ago or a new one."""
        fs = self.clients[index].fs
        handles = file.handles.setdefault(index, [])
        if not handles or (file in self.files and self.draw.random() < 0.3):
            if file not in self.files:
                return
            inode = await fs.lookup(ROOT_INODE, file.name)
            handles.append(await fs.open(inode.number, writes=True))
        handle = self.draw.choice(handles)
        action = self.draw.randrange(12)
        if action in (3, 4, 5, 6, 10, 11) and file.writer != index:
            handle = await fs.open(handle.inode.number, writes=True)
            handles.append(handle)
            file.writer = index
        match action:
            case 0 | 1 | 2:
                found = fs.read_nowait(handle, 0, 1 << 20)
                self.check(index, file, bytes(found if found is not None else await fs.read(handle, 0, 1 << 20)))
            case 3 | 4 | 5:
                offset, length = self.draw.randrange(_SIZE_MAX), self.draw.choice([1, 3000, 20_000, 70_000])
                data = self.draw.randbytes(length)
                await fs.write(handle, offset, data)
                file.now = overwritten(file.now, offset, data)
            case 6:
                size_bytes = self.draw.randrange(_SIZE_MAX)
                await fs.setattr(handle.inode.number, Changes(size_bytes=size_bytes))
                file.now = resized(file.now, size_bytes)
            case 7:
                size_bytes = (await fs.getattr(handle.inode.number)).merged().size_bytes
                assert size_bytes == len(file.now), (
                    f"seed {self.world.seed}: client {index}, size {size_bytes}, not {len(file.now)}"
                )
            case 8:
                handles.remove(handle)
                fs.check_errors(handle)
                await fs.release(handle)
            case 9 if file in self.files:
                await self.rename(index, file)
            case 10:
                mode = self.draw.choice([0, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, COLLAPSE_RANGE, INSERT_RANGE])
                start, stop = (4096 * step for step in sorted(self.draw.sample(range(_SIZE_MAX // 4096), 2)))
                if mode in (0, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE) or stop < len(file.now):
                    await fs.ranges.allocate(handle, mode, start, stop - start)
                    file.now = allocated(file.now, mode, start, stop)
            case 11:
                start, to = self.draw.randrange(len(file.now) + 1), self.draw.randrange(_SIZE_MAX)
                data = file.now[start : start + abs(start - to)]
                copied = await fs.ranges.copy(handle, start, handle, to, len(data)) if data else 0
                file.now = overwritten(file.now, to, data[:copied]) if copied else file.now
            case _:
                await fs.fsync(handle)

    async def rename(self, index: int, file: Shared) -> None:
        """Rename or remove; everybody sees it at once, and what is open stays open."""
        fs = self.clients[index].fs
        if self.draw.random() < 0.5:
            self.made += 1
            name = b"%d" % self.made
            await fs.rename(ROOT_INODE, file.name, ROOT_INODE, name, 0)
            old, file.name = file.name, name
        else:
            await fs.unlink(ROOT_INODE, file.name)
            old = file.name
            self.files.remove(file)
            self.nameless.append(file)
        other = self.clients[(index + 1) % len(self.clients)]
        if (index + 1) % len(self.clients) not in self.away:
            with refused(Code.NOT_FOUND):
                await other.fs.lookup(ROOT_INODE, old)

    async def peek(self, index: int) -> None:
        """A client that is cut off may show what it has cached, if it is right."""
        for file in self.files:
            for handle in file.handles.get(index, []):
                if file.turn.statistics().locked:
                    continue
                found = self.clients[index].fs.read_nowait(handle, 0, 1 << 20)
                if found is not None:
                    self.check(index, file, bytes(found))

    def check(self, index: int, file: Shared, found: bytes) -> None:
        """What client index read."""
        wrong = difference(found, file.now)
        assert not wrong, f"seed {self.world.seed}: client {index} at {trio.current_time():.3f} s, file {file.name!r}: {wrong}"

    async def isolate(self) -> None:
        """Cut one client off for a while, after it has made everything durable; its unlinked files may go with its session."""
        index = self.draw.randrange(len(self.clients))
        client = self.clients[index]
        turns = self.files + self.nameless
        for file in turns:
            await file.turn.acquire()
        self.away.add(index)
        await client.fs.sync()
        client.port.blacken()
        for file in turns:
            file.turn.release()
        away_s = self.draw.choice([3, 12, 25, 50])
        await trio.sleep(away_s)
        if away_s * 1e9 > SESSION_TIMEOUT_NS / 2:
            for file in [*self.nameless]:
                if file.handles.pop(index, None) is not None and not any(file.handles.values()):
                    self.nameless.remove(file)
        client.port.whiten()
        # Changes that are asked for while nobody knows yet that the session has ended would be refused.
        await client.fs.statfs()
        self.away.discard(index)

    async def spoil(self) -> None:
        """Faults, one after the other, for ever."""
        while True:
            await trio.sleep(self.draw.uniform(0.5, 8))
            client = self.draw.choice(self.clients)
            match self.draw.randrange(5):
                case 0:
                    client.port.cut(META)
                case 1:
                    await self.world.restart_meta(self.draw.uniform(0, 2))
                case 2:
                    for link in client.port.links():
                        link.delay(self.draw.choice([0.0, 0.02, 0.3]))
                case 3:
                    for link in client.port.links(META):
                        link.to_client.drop()
                    await trio.sleep(self.draw.uniform(0.1, 2))
                    client.port.cut(META)
                case 4:
                    await self.isolate()


@pytest.mark.parametrize("seed", seeds(10))
async def test_turns_under_faults(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Clients take turns on shared files and always find what the last one left, by old handles and new ones."""
    async with open_world(seed, cache_bytes_max=2 << 20) as world:
        world.journal.append_s = world.draw.choice([0.0, 0.01])
        clients = [await world.mount(name) for name in ("one", "two", "three")]
        players = Players(world, clients)
        for index in range(3):
            await players.create(index)
        async with trio.open_nursery() as faults:
            faults.start_soon(players.spoil)
            async with trio.open_nursery() as nursery:
                for index in range(3):
                    nursery.start_soon(players.act, index, 60)
            faults.cancel_scope.cancel()
        if not world.meta_is_up:
            await world.start_meta()
        for client in clients:
            client.port.whiten()
        for file in players.files:
            for index in range(3):
                players.check(index, file, await content(clients[index], file.name))
        world.check()


@pytest.mark.parametrize("seed", seeds(6))
async def test_disjoint_ranges(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Clients that write their own ranges of one file at once: after all have fsynced, nobody's bytes are missing."""
    async with open_world(seed) as world:
        draw = world.draw
        clients = [await world.mount(name) for name in ("one", "two", "three")]
        first = await created(clients[0])
        model = bytearray(300_000)
        await clients[0].fs.write(first, 0, bytes(model))

        async def write(index: int) -> None:
            client = clients[index]
            handle = await client.fs.open(first.inode.number, writes=True)
            for _ in range(20):
                stripe = draw.randrange(20) * 3 + index
                start = stripe * 5000 + draw.randrange(2000)
                data = draw.randbytes(draw.randrange(1, 3000))
                model[start : start + len(data)] = data
                await client.fs.write(handle, start, data)
                await trio.sleep(draw.choice([0, 0.2, 1]))
                if draw.random() < 0.3:
                    await client.fs.fsync(handle)
                found = await client.fs.read(handle, start, len(data))
                assert found == data, f"seed {seed}: client {index} does not read what it wrote"
                if draw.random() < 0.1:
                    client.port.cut(META)
            await client.fs.fsync(handle)

        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(write, index)
        for client in clients:
            wrong = difference(await content(client), bytes(model))
            assert not wrong, f"seed {seed}: {wrong}"
        world.check()


@pytest.mark.parametrize("away_s", [5.0, 15.0, 60.0])
async def test_a_client_that_stands_still(away_s: float, autojump_clock: trio.testing.MockClock) -> None:
    """Others wait for its lease and not longer; it serves nothing from its caches after that; when it is back, all is right."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await created(one)
        await one.fs.write(handle, 0, b"a" * 100)
        await one.fs.fsync(handle)
        await one.fs.read(handle, 0, 100)
        assert one.fs.read_nowait(handle, 0, 100) == b"a" * 100
        await trio.sleep(1)
        one.port.blacken()
        begun_s = trio.current_time()
        done_s = 0.0

        async def change() -> None:
            nonlocal done_s
            theirs = await two.fs.open(handle.inode.number, writes=True)
            await two.fs.write(theirs, 0, b"b" * 100)
            await two.fs.fsync(theirs)
            await two.fs.mkdir(ROOT_INODE, b"d", 0o755, CALLER)
            done_s = trio.current_time()

        async def look() -> None:
            while trio.current_time() < begun_s + away_s:
                found = one.fs.read_nowait(handle, 0, 100)
                assert found in ((None, b"a" * 100) if not done_s else (None,))
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            nursery.start_soon(look)
            await trio.sleep(away_s)
            one.port.whiten()
        assert done_s - begun_s < LEASE_NS / 1e9 + 2
        assert await one.fs.read(handle, 0, 100) == b"b" * 100
        assert (await one.fs.lookup(ROOT_INODE, b"d")).number
        await one.fs.write(handle, 100, b"c" * 100)
        await one.fs.release(handle)
        assert await content(two) == b"b" * 100 + b"c" * 100


async def test_recalls_during_commits(autojump_clock: trio.testing.MockClock) -> None:
    """A reader that comes while the writer's puts and commits are on their way sees all that was written before it came."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        for node in world.nodes:
            node.put_s = 0.7
        world.journal.append_s = 0.05
        handle = await created(one)
        expected = b""
        for index in range(30):
            data = bytes([index]) * world.draw.choice([100, 30_000])
            await one.fs.write(handle, len(expected), data)
            expected += data
            await trio.sleep(world.draw.choice([0, 0.3, 1.1]))
            wrong = difference(await content(two), expected)
            assert not wrong, f"after write {index}: {wrong}"


@pytest.mark.parametrize("releases_first", [True, False])
async def test_dirty_bytes_of_an_unlinked_file(releases_first: bool, autojump_clock: trio.testing.MockClock) -> None:
    """They count as long as anybody has the file open, though it has no name, and nobody here has it open; then all is gone."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await created(one)
        reading = await two.fs.open(handle.inode.number, writes=False)
        await one.fs.write(handle, 0, b"a" * 50_000)
        if releases_first:
            await one.fs.release(handle)
        await one.fs.unlink(ROOT_INODE, b"file")
        if not releases_first:
            await one.fs.release(handle)
        assert await two.fs.read(reading, 0, 100_000) == b"a" * 50_000
        await two.fs.release(reading)
        await trio.sleep(5)
        assert not one.fs.writer.dirty_bytes
        assert len(one.fs.inodes) == 1
        with refused(Code.STALE):
            await one.fs.getattr(handle.inode.number)
        world.check()


async def test_an_unlinked_file_of_another_client(autojump_clock: trio.testing.MockClock) -> None:
    """What one client unlinks stays readable and writable for the other that has it open, and is freed when that closes it."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await created(one)
        await one.fs.write(handle, 0, b"a" * 100_000)
        await one.fs.fsync(handle)
        await two.fs.unlink(ROOT_INODE, b"file")
        await one.fs.write(handle, 50_000, b"b" * 100_000)
        await one.fs.fsync(handle)
        await world.restart_meta()
        assert await one.fs.read(handle, 0, 1 << 20) == b"a" * 50_000 + b"b" * 100_000
        await one.fs.release(handle)
        await trio.sleep(5)
        with pytest.raises(Refused):
            await one.fs.getattr(handle.inode.number)
        world.check()
        await trio.sleep(200)
        assert not any(node.held for node in world.nodes)
