"""Getting bytes down when something is in the way: full and absent nodes, deleted objects, long outages, order of commits."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import MIB, OBJECT_BYTES_MAX
from ringfs.client.file_system import Caller, Changes, Handle
from ringfs.meta.namespace import machine
from ringfs.meta.namespace.machine import Transaction
from ringfs.wire.messages.namespace import Commit
from ringfs.wire.messages.queries import ReadExtents
from tests.support.file_model import difference
from tests.support.refusals import refused
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world

CALLER = Caller()


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


def set_full(world: World, is_full: bool) -> None:
    """All nodes are full, or have space again."""
    for node in world.nodes:
        node.is_full = is_full


async def test_no_space_is_told_once_to_each_handle(autojump_clock: trio.testing.MockClock) -> None:
    """ENOSPC from the nodes: each open handle says so once, at write, fsync or its last look; with space again, writes work."""
    async with open_world(1) as world:
        client = await world.mount()
        first = await created(client)
        second = await client.fs.open(first.inode.number, writes=True)
        third = await client.fs.open(first.inode.number, writes=True)
        await client.fs.write(first, 0, b"a" * 50_000)
        await client.fs.fsync(first)
        set_full(world, True)
        await client.fs.write(first, 25_000, b"b" * 50_000)
        with refused(Code.NO_SPACE):
            await client.fs.fsync(first)
        await client.fs.fsync(first)
        with refused(Code.NO_SPACE):
            await client.fs.write(second, 0, b"c")
        with refused(Code.NO_SPACE):
            client.fs.check_errors(third)
        client.fs.check_errors(third)
        assert await client.fs.read(first, 0, 100_000) == b"a" * 50_000
        later = await client.fs.open(first.inode.number, writes=True)
        set_full(world, False)
        for index, handle in enumerate((first, second, third, later)):
            await client.fs.write(handle, index * 10_000, b"d" * 20_000)
            await client.fs.fsync(handle)
        assert await content(client) == b"d" * 50_000
        world.check()


async def test_without_nodes_writes_end_in_an_error(autojump_clock: trio.testing.MockClock) -> None:
    """Too few nodes: EIO after the rounds of puts, within minutes; a read says EIO too; with the nodes back all is well."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client)
        await client.fs.write(handle, 0, b"a" * 200_000)
        await client.fs.fsync(handle)
        nodes = list(world.nodes)
        for node in nodes[1:]:
            world.kill_node(node)
        with trio.fail_after(300):
            await client.fs.write(handle, 0, b"b" * 200_000)
            with refused(Code.IO):
                await client.fs.fsync(handle)
        world.kill_node(nodes[0])
        other = await world.mount()
        reader = await other.fs.open(handle.inode.number, writes=False)
        with trio.fail_after(300), refused(Code.IO):
            await other.fs.read(reader, 0, 10)
        for node in nodes:
            await world.start_node(node)
        assert await other.fs.read(reader, 0, 200_000) == b"a" * 200_000
        await client.fs.write(handle, 0, b"c" * 200_000)
        await client.fs.fsync(handle)
        assert await content(other) == b"c" * 200_000


async def test_mute_nodes_hang_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A node that takes requests and answers none is passed over, for puts and for gets."""
    async with open_world(1, node_count=3) as world:
        client = await world.mount()
        world.nodes[0].is_mute = True
        for index in range(4):
            handle = await created(client, b"%d" % index)
            with trio.fail_after(120):
                await client.fs.write(handle, 0, world.draw.randbytes(100_000))
                await client.fs.fsync(handle)
        world.nodes[0].is_mute = False
        other = await world.mount(purpose="other")
        world.nodes[1].is_mute = True
        for index in range(4):
            with trio.fail_after(120):
                assert len(await content(other, b"%d" % index)) == 100_000


async def test_objects_that_may_be_deleted_are_put_again(autojump_clock: trio.testing.MockClock) -> None:
    """A commit that comes so late that a deletion may have overtaken its puts is refused, and its objects are put again."""
    async with open_world(1) as world:
        client = await world.mount()
        victim = await created(client, b"victim")
        data = world.draw.randbytes(100_000)
        await client.fs.write(victim, 0, data)
        await client.fs.fsync(victim)
        await client.fs.unlink(ROOT_INODE, b"victim")
        await client.fs.release(victim)
        await trio.sleep(20)
        handle = await created(client)
        await client.fs.write(handle, 0, data)
        await world.crash_meta()
        await trio.sleep(70)
        puts = sum(node.put_count for node in world.nodes)
        assert puts == 4, "it was put before there was anybody to commit to"
        await world.start_meta()
        await client.fs.fsync(handle)
        assert sum(node.put_count for node in world.nodes) == 6
        await trio.sleep(100)
        other = await world.mount("other")
        assert await content(other) == data
        world.check()


async def test_objects_that_are_never_taken_end_in_an_error(autojump_clock: trio.testing.MockClock) -> None:
    """A client whose clock is far behind can commit no objects: EIO, and not puts for ever."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client)
        putter = client.fs.writer._packer._objects._putter
        wall_ns = world.clock.wall_ns
        late = type("Late", (), {"wall_ns": lambda _: wall_ns() - 300 * 10**9, "monotonic_ns": lambda _: 0})()
        putter._clock = late
        await client.fs.write(handle, 0, b"a" * 100_000)
        with trio.fail_after(60), refused(Code.IO):
            await client.fs.fsync(handle)
        putter._clock = world.clock
        await client.fs.write(handle, 0, b"b" * 100_000)
        await client.fs.fsync(handle)
        assert await content(client) == b"b" * 100_000


async def test_a_slow_writer_through_a_long_outage(autojump_clock: trio.testing.MockClock) -> None:
    """Small writes that gather for minutes while the service is away are all committed when it is back."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client)
        await client.fs.write(handle, 0, b"begin")
        await client.fs.fsync(handle)
        expected = bytearray(b"begin")
        await world.crash_meta()
        for _ in range(250):
            data = world.draw.randbytes(7_000)
            await client.fs.write(handle, len(expected), data)
            expected += data
            await trio.sleep(1)
        await world.start_meta()
        await client.fs.fsync(handle)
        other = await world.mount("other")
        assert not difference(await content(other), bytes(expected))
        world.check()


async def test_an_outage_that_ends_too_late(autojump_clock: trio.testing.MockClock) -> None:
    """Requests to a service that stays away end in EIO after minutes, in whatever state they were made; then everything works."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client)
        await client.fs.write(handle, 0, b"a")
        await client.fs.fsync(handle)
        await client.fs.write(handle, 0, b"b")
        await world.crash_meta()
        ended = []

        async def end(ask: Callable[[], Awaitable[object]]) -> None:
            with refused(Code.IO):
                await ask()
            ended.append(trio.current_time())

        with trio.fail_after(700):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end, partial(client.fs.fsync, handle))
                nursery.start_soon(end, partial(client.fs.mkdir, ROOT_INODE, b"d", 0o755, CALLER))
                await trio.sleep(100)
                nursery.start_soon(end, partial(client.fs.mkdir, ROOT_INODE, b"e", 0o755, CALLER))
                nursery.start_soon(end, partial(client.fs.getattr, ROOT_INODE))
        assert len(ended) == 4
        await world.start_meta()
        await client.fs.write(handle, 0, b"c")
        await client.fs.fsync(handle)
        assert await content(client) == b"c"


async def test_many_requests_while_the_service_waits_for_a_session(autojump_clock: trio.testing.MockClock) -> None:
    """In the grace period after a restart the service is too busy for so many: they are sent again, none fails."""
    async with open_world(1) as world:
        client, lost = await world.mount(), await world.mount("lost")
        lost.port.blacken()
        await world.restart_meta()
        async with trio.open_nursery() as nursery:
            for index in range(230):
                nursery.start_soon(client.fs.mkdir, ROOT_INODE, b"%d" % index, 0o755, CALLER)
        assert (await client.fs.getattr(ROOT_INODE)).attributes.links == 232


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03, 0.05, 0.07, 0.1, 0.15])
async def test_fsync_beside_a_truncate(delay_s: float, autojump_clock: trio.testing.MockClock) -> None:
    """An fsync that meets a truncate half-way still makes durable what was written below the new end."""
    async with open_world(1, commit_interval_s=60.0) as world:
        client, other = await world.mount(), await world.mount("other")
        handle = await created(client)
        await client.fs.write(handle, 0, b"a" * 100)
        await client.fs.fsync(handle)
        await other.fs.setattr(handle.inode.number, Changes(mode=0o600))
        assert not handle.inode.extents.is_loaded(0)
        for link in client.port.links(META):
            link.delay(0.03)
        await client.fs.write(handle, 0, b"b" * 80)

        async def truncate() -> None:
            await trio.sleep(delay_s)
            await client.fs.setattr(handle.inode.number, Changes(size_bytes=90))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(truncate)
            await client.fs.fsync(handle)
            await client.crash()
            nursery.cancel_scope.cancel()
        assert await content(other) in (b"b" * 80 + b"a" * 20, b"b" * 80 + b"a" * 10)


async def test_a_truncate_that_fails_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """What was dirty past the new end is still there if the truncate was refused."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client)
        await client.fs.write(handle, 0, b"a" * 1000)
        link = client.fs.link
        real = link.mutate

        async def refusing(operation: object, **options: object) -> object:
            if not isinstance(operation, Commit):
                raise Refused(Code.NO_SPACE)
            return await real(operation, **options)  # type: ignore[arg-type]

        link.mutate = refusing  # type: ignore[method-assign]
        with refused(Code.NO_SPACE):
            await client.fs.setattr(handle.inode.number, Changes(size_bytes=10))
        assert await client.fs.read(handle, 0, 2000) == b"a" * 1000
        await client.fs.fsync(handle)
        assert await content(client) == b"a" * 1000


@pytest.mark.parametrize("limit_s", [0.0, 0.01, 0.05, 0.07, 0.1, 0.13])
async def test_a_cancelled_fsync_leaves_nothing_behind(limit_s: float, autojump_clock: trio.testing.MockClock) -> None:
    """Cancelling an fsync at any moment keeps the bytes; the next one makes them durable."""
    async with open_world(1, commit_interval_s=60.0) as world:
        client, other = await world.mount(), await world.mount("other")
        handles = [await created(client, b"%d" % index) for index in range(3)]
        for handle in handles:
            await client.fs.write(handle, 0, b"a" * 100)
            await client.fs.fsync(handle)
            await other.fs.setattr(handle.inode.number, Changes(mode=0o600))
        for link in client.port.links(META):
            link.delay(0.03)
        for handle, size_bytes in zip(handles, (20_000, 100, 100), strict=True):
            await client.fs.write(handle, 50, b"b" * size_bytes)
        with trio.move_on_after(limit_s):
            await client.fs.writer.flush([handle.inode for handle in handles])
        with trio.fail_after(50):
            for handle in handles:
                await client.fs.fsync(handle)
        for index, size_bytes in enumerate((20_000, 100, 100)):
            assert await content(other, b"%d" % index) == b"a" * 50 + b"b" * size_bytes


async def test_a_cancelled_change_is_not_missed(autojump_clock: trio.testing.MockClock) -> None:
    """A change whose answer nobody waited for is seen all the same: what was cached is asked for again."""
    async with open_world(1) as world:
        client = await world.mount()
        await client.fs.mknod(ROOT_INODE, b"file", 0o100644, 0, CALLER)
        for link in client.port.links(META):
            link.delay(0.1)
        with trio.move_on_after(0.05):
            await client.fs.unlink(ROOT_INODE, b"file")
        await trio.sleep(1)
        with refused(Code.NOT_FOUND):
            await client.fs.lookup(ROOT_INODE, b"file")


@pytest.mark.parametrize("seed", seeds(4))
async def test_commits_are_in_order(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """At every journal position a file that is written from its beginning has no hole below its size."""
    async with open_world(seed, dirty_bytes_max=40 * MIB) as world:
        client = await world.mount()
        world.thread_s = 0.5
        view = world.store.restarted()
        handles = [await created(client, b"%d" % index) for index in range(2)]
        data = world.draw.randbytes(MIB)

        async def write(handle: Handle, size_bytes: int) -> None:
            at = 0
            while at < size_bytes:
                piece = data[: world.draw.choice([1000, 20_000, 300_000, MIB])]
                await client.fs.write(handle, at, piece)
                at += len(piece)
                await trio.sleep(world.draw.choice([0, 0.01, 0.8]))

        async def vary() -> None:
            while True:
                await trio.sleep(0.3)
                for node in world.nodes:
                    node.put_s = world.draw.choice([0.0, 0.1, 3.0])

        async with trio.open_nursery() as varying:
            varying.start_soon(vary)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write, handles[0], OBJECT_BYTES_MAX + MIB)
                nursery.start_soon(write, handles[1], 3 * MIB)
            for handle in handles:
                await client.fs.fsync(handle)
            varying.cancel_scope.cancel()
        numbers = [handle.inode.number for handle in handles]
        commits = 0
        for position, entry in world.journal.history:
            transaction = Transaction.decode(entry)
            machine.apply(view, transaction)
            if isinstance(transaction.operation, Commit):
                commits += 1
                for number in numbers:
                    found = machine.query(view, ReadExtents(number, 0, 4))
                    covered = sum(extent.length for extent in found.extents)
                    assert covered == found.attributes.size_bytes, f"seed {seed}: a hole at position {position}"
        assert commits > 1
