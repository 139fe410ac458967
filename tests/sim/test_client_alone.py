"""One client against plain files, while connections are cut, replies lost, servers restarted and data nodes killed: what is read is
always right, what fsync acknowledged survives the client's and the server's end, and of names that were changed since, some of the
last changes may be missing, never one in the middle."""

import copy
import os
from dataclasses import dataclass, field

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import MOVE_BYTES
from ringfs.client.file_system import Caller, Changes, FileSystem, Handle
from ringfs.objects.asking import GET_TIMEOUT_S
from ringfs.wire.messages.content import COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from tests.support.file_model import FileModel, allocated, difference, overwritten
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world

CALLER = Caller(1000, 1000, 0o022)
_SIZE_MAX = 400_000


@dataclass
class Named:
    """A file of a worker: what it must hold, its handle if it is open."""

    model: FileModel = field(default_factory=FileModel)
    handle: Handle | None = None


class Worker:
    """One application: a directory of its own, random operations one after the other, each answer checked."""

    def __init__(self, world: World, label: str) -> None:
        self.world = world
        self.draw = world.draw
        self.label = label
        self.directory = 0
        self.files: dict[bytes, Named] = {}
        #: Open, without a name.
        self.nameless: list[Named] = []
        #: What names stood for after each change since the last sync.
        self.history: list[dict[bytes, Named]] = [{}]
        self.made = 0
        self.step = ""
        self.fs: FileSystem

    async def begin(self, fs: FileSystem) -> None:
        """Make the directory."""
        self.fs = fs
        self.directory = (await fs.mkdir(ROOT_INODE, self.label.encode(), 0o755, CALLER)).number
        await fs.fsync_directory(self.directory)

    async def run(self, steps: int) -> None:
        """So many operations."""
        actions = {
            self.create: 6, self.write: 40, self.append: 20, self.read: 25, self.stat: 10, self.truncate: 8, self.fsync: 8,
            self.allocate: 8, self.copy: 8, self.holes: 5, self.close: 10, self.rename: 5, self.unlink: 4,
            self.set_times: 3, self.pause: 10,
        }  # fmt: skip
        for _ in range(steps):
            action = self.draw.choices(list(actions), list(actions.values()))[0]
            self.step = f"{self.label} {action.__name__}"
            await action()
            if self.files != self.history[-1]:
                self.history.append(dict(self.files))

    def _name(self) -> bytes:
        return self.draw.choice(list(self.files))

    async def _opened(self) -> tuple[bytes, Named, Handle]:
        if self.nameless and self.draw.random() < 0.2:
            named = self.draw.choice(self.nameless)
            assert named.handle is not None
            return b"(nameless)", named, named.handle
        if not self.files:
            await self.create()
        name = self._name()
        named = self.files[name]
        if named.handle is None:
            inode = await self.fs.lookup(self.directory, name)
            named.handle = await self.fs.open(inode.number, writes=True)
        return name, named, named.handle

    async def create(self) -> None:
        """A new file, at most eight."""
        if len(self.files) >= 8:
            await self.unlink()
        self.made += 1
        name = b"file%d" % self.made
        handle = await self.fs.create(self.directory, name, 0o100644, CALLER, writes=True, exclusive=True)
        self.files[name] = Named(handle=handle)

    def _length(self) -> int:
        return self.draw.choice([1, 17, 700, 4096, 15_000, 20_000, 66_000, self.draw.randrange(1, 150_000)])

    async def write(self) -> None:
        """Anywhere."""
        _, named, handle = await self._opened()
        offset, length = self.draw.randrange(_SIZE_MAX), self._length()
        if self.draw.random() < 0.6:
            offset = self.draw.randrange(len(named.model.now) + 1)
        data = self.draw.randbytes(length)
        named.model.write(offset, data)
        assert await self.fs.write(handle, offset, data) == length

    async def append(self) -> None:
        """At the end, several times."""
        _, named, handle = await self._opened()
        for _ in range(self.draw.randrange(1, 6)):
            data = self.draw.randbytes(self._length() // 4 + 1)
            offset = len(named.model.now)
            if offset > _SIZE_MAX:
                return
            named.model.write(offset, data)
            await self.fs.write(handle, offset, data)

    async def read(self) -> None:
        """All of it or a part."""
        name, named, handle = await self._opened()
        offset, length = self.draw.choice([(0, 1 << 20), (self.draw.randrange(_SIZE_MAX), self._length())])
        expected = named.model.now[offset : offset + length]
        found = self.fs.read_nowait(handle, offset, length)
        if found is None:
            found = await self.fs.read(handle, offset, length)
        self._check(name, difference(bytes(found), expected))

    async def stat(self) -> None:
        """The size."""
        name, named, handle = await self._opened()
        inode = await self.fs.getattr(handle.inode.number)
        size_bytes = inode.merged().size_bytes
        self._check(name, "" if size_bytes == len(named.model.now) else f"size {size_bytes}, not {len(named.model.now)}")

    async def truncate(self) -> None:
        """Down or up."""
        _, named, handle = await self._opened()
        size_bytes = self.draw.choice([0, self.draw.randrange(_SIZE_MAX), self.draw.randrange(len(named.model.now) + 1)])
        await self.fs.setattr(handle.inode.number, Changes(size_bytes=size_bytes))
        named.model.truncate(size_bytes)

    async def allocate(self) -> None:
        """Durable at once, and so is what was written before."""
        _, named, handle = await self._opened()
        now = named.model.now
        mode = self.draw.choice(
            [0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE, COLLAPSE_RANGE, INSERT_RANGE]
        )
        step = MOVE_BYTES if mode & (COLLAPSE_RANGE | INSERT_RANGE) else 1
        start = self.draw.randrange(len(now) + 1000) // step * step
        stop = start + self._length() // step * step + step
        if mode & (COLLAPSE_RANGE | INSERT_RANGE) and (stop if mode == COLLAPSE_RANGE else start) >= len(now):
            return
        await self.fs.ranges.allocate(handle, mode, start, stop - start)
        named.model.synced(allocated(now, mode, start, stop))

    async def copy(self) -> None:
        """From one file to another, or within one."""
        _, source, handle = await self._opened()
        name, other, target = await self._opened()
        start, to, length = self.draw.randrange(_SIZE_MAX), self.draw.randrange(_SIZE_MAX), self._length()
        if source is other:
            length = min(length, abs(start - to)) or 1
        data = source.model.now[start : start + length]
        if handle.inode is target.inode and abs(start - to) < len(data):
            return
        copied = await self.fs.ranges.copy(handle, start, target, to, length)
        while 0 < copied < len(data):
            copied += await self.fs.ranges.copy(handle, start + copied, target, to + copied, len(data) - copied)
        self._check(name, "" if copied == len(data) else f"{copied} bytes copied, not {len(data)}")
        other.model.synced(overwritten(other.model.now, to, data) if data else other.model.now)
        source.model.synced(source.model.now)

    async def holes(self) -> None:
        """Where a hole is told there are zeros; data and holes take turns up to the end."""
        name, named, handle = await self._opened()
        at, now = 0, named.model.now
        while at < len(now):
            hole = await self.fs.ranges.seek(handle, at, os.SEEK_HOLE)
            if hole == len(now):
                break
            try:
                at = await self.fs.ranges.seek(handle, hole, os.SEEK_DATA)
            except Refused as refusal:
                self._check(name, "" if refusal.code is Code.NO_DATA else str(refusal))
                at = len(now)
            self._check(name, difference(now[hole:at], bytes(at - hole)) or ("" if at > hole else f"an empty hole at {at}"))

    async def fsync(self) -> None:
        """Durable from here on."""
        _, named, handle = await self._opened()
        await self.fs.fsync(handle)
        named.model.synced(named.model.now)
        self.history = [dict(self.files)]

    async def close(self) -> None:
        """Without fsync."""
        opened = [*(named for named in self.files.values() if named.handle is not None), *self.nameless]
        if opened:
            named = self.draw.choice(opened)
            assert named.handle is not None
            self.fs.check_errors(named.handle)
            await self.fs.release(named.handle)
            named.handle = None
            if named in self.nameless:
                self.nameless.remove(named)

    async def rename(self) -> None:
        """Over nothing, or over another file."""
        if not self.files:
            return
        name = self._name()
        self.made += 1
        onto = self._name() if self.draw.random() < 0.4 else b"file%d" % self.made
        await self.fs.rename(self.directory, name, self.directory, onto, 0)
        if onto != name:
            replaced = self.files.get(onto)
            if replaced is not None and replaced.handle is not None:
                self.nameless.append(replaced)
            self.files[onto] = self.files.pop(name)

    async def unlink(self) -> None:
        """It stays readable while it is open."""
        if not self.files:
            return
        name = self._name()
        await self.fs.unlink(self.directory, name)
        named = self.files.pop(name)
        if named.handle is not None:
            self.nameless.append(named)

    async def set_times(self) -> None:
        """They are right at once."""
        name, _, handle = await self._opened()
        mtime_ns = self.draw.randrange(10**18)
        await self.fs.setattr(handle.inode.number, Changes(mtime_ns=mtime_ns))
        found = (await self.fs.getattr(handle.inode.number)).merged().mtime_ns
        self._check(name, "" if found == mtime_ns else f"mtime {found}, not {mtime_ns}")

    async def pause(self) -> None:
        """Background flushes get on."""
        await trio.sleep(self.draw.choice([0.01, 0.3, 1.2, 4]))

    async def verify(self, fs: FileSystem, *, crashed: bool) -> None:
        """A new client sees what it must; go on with that one."""
        self.fs = fs
        self.nameless.clear()
        self.step = f"{self.label} verify"
        if crashed:
            await self._find_what_is_left(fs)
        self.history = [dict(self.files)]
        for name, named in self.files.items():
            named.handle = None
            self._check(name, difference(await self._content(fs, name), named.model.now))

    async def _find_what_is_left(self, fs: FileSystem) -> None:
        """Go on from the state that the directory and its files are in: one they had since the last sync, the latest that fits."""
        page = await fs.readdir(self.directory, 0, 100)
        contents = {entry.name: await self._content(fs, entry.name) for entry in page.entries}
        wrong = f"the names {sorted(contents)} never were there together"
        for state in reversed(self.history):
            if state.keys() == contents.keys():
                files = {name: Named(copy.deepcopy(named.model)) for name, named in state.items()}
                try:
                    for name, named in files.items():
                        named.model.crashed(contents[name])
                except AssertionError as error:
                    wrong = str(error)
                else:
                    self.files = files
                    return
        self._check(b"", wrong)

    async def _content(self, fs: FileSystem, name: bytes) -> bytes:
        inode = await fs.lookup(self.directory, name)
        handle = await fs.open(inode.number, writes=False)
        try:
            return bytes(await fs.read(handle, 0, 1 << 21))
        finally:
            await fs.release(handle)

    def _check(self, name: bytes, wrong: str) -> None:
        assert not wrong, f"seed {self.world.seed}: {self.step} {name!r}: {wrong}"


async def spoil(world: World, client: Mounted) -> None:
    """Faults, one after the other, for ever; never more than one data node is away."""
    draw = world.draw
    while True:
        await trio.sleep(draw.uniform(0.1, 8))
        node = draw.choice(world.nodes)
        match draw.randrange(8):
            case 0:
                client.port.cut(META)
            case 1:
                for link in client.port.links(META):
                    link.to_client.drop()
                await trio.sleep(draw.uniform(0.1, 3))
                client.port.cut(META)
            case 2:
                await world.restart_meta(draw.uniform(0, 3))
            case 3:
                world.kill_node(node)
                await trio.sleep(draw.choice([0.5, 15]))
                await world.start_node(node)
            case 4:
                client.port.cut(node.address)
            case 5:
                node.put_s, node.get_s = draw.uniform(0, 6), draw.uniform(0, 12)
                await trio.sleep(draw.uniform(1, 20))
                node.put_s = node.get_s = 0.0
                await trio.sleep(GET_TIMEOUT_S)
            case 6:
                node.corrupts_content = True
                await trio.sleep(draw.uniform(1, 20))
                node.corrupts_content = False
            case 7:
                for link in client.port.links():
                    link.delay(draw.choice([0.0, 0.01, 0.2]))


async def live(world: World, workers: list[Worker], client: Mounted, steps: int) -> None:
    """All workers at once, under faults; everything is well again afterwards."""
    async with trio.open_nursery() as faults:
        faults.start_soon(spoil, world, client)
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(worker.run, steps)
        faults.cancel_scope.cancel()
    for node in world.nodes:
        node.put_s = node.get_s = 0.0
        node.corrupts_content = False
        if not world.is_alive(node):
            await world.start_node(node)
    if not world.meta_is_up:
        await world.start_meta()


@pytest.mark.parametrize("seed", seeds(10))
async def test_random_operations_under_faults(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Three applications on one client; now and then the client crashes or leaves, and another one goes on."""
    async with open_world(seed, dirty_bytes_max=600_000, cache_bytes_max=3 << 20, readahead_bytes=1 << 20) as world:
        world.journal.append_s = world.draw.choice([0.0, 0.005, 0.05])
        world.thread_s = world.draw.choice([0.0, 0.1])
        workers = [Worker(world, f"worker{index}") for index in range(3)]
        client = await world.mount()
        for worker in workers:
            await worker.begin(client.fs)
        for _ in range(4):
            await live(world, workers, client, 60)
            assert client.fs.mistake_count == 0
            crashed = world.draw.random() < 0.6
            await (client.crash() if crashed else client.close())
            if world.draw.random() < 0.5:
                await world.restart_meta()
            client = await world.mount()
            for worker in workers:
                await worker.verify(client.fs, crashed=crashed)
            world.check()
        await client.close()
