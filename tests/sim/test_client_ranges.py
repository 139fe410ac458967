"""Holes, preallocation, SEEK_DATA and SEEK_HOLE, copies by reference and clones, as one client and several see them."""

import os
from unittest.mock import patch

import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import CHUNK_BYTES, FILE_BYTES_MAX
from ringfs.client.file_system import Caller, Changes, FileSystem, Handle
from ringfs.meta.namespace import keys
from ringfs.wire.messages.content import COLLAPSE_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from tests.support.refusals import refused
from tests.support.world import Mounted, World, open_world, until

CALLER = Caller()
PUNCH = PUNCH_HOLE | KEEP_SIZE


async def created(client: Mounted, name: bytes = b"file", data: bytes = b"") -> Handle:
    """A new file, open for writing, with dirty bytes."""
    handle = await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, data)
    return handle


async def read(client: Mounted, handle: Handle, size_bytes: int = 1 << 20) -> bytes:
    return bytes(await client.fs.read(handle, 0, size_bytes))


async def runs(fs: FileSystem, handle: Handle) -> list[tuple[int, int]]:
    """(start, stop) of all data, as SEEK_DATA and SEEK_HOLE tell it."""
    found: list[tuple[int, int]] = []
    at = 0
    while True:
        try:
            start = await fs.ranges.seek(handle, at, os.SEEK_DATA)
        except Refused as refusal:
            assert refusal.code is Code.NO_DATA  # noqa: PT017
            return found
        at = await fs.ranges.seek(handle, start, os.SEEK_HOLE)
        found.append((start, at))


def object_count(world: World) -> int:
    """Copies on all nodes."""
    return sum(len(node.held) for node in world.nodes)


async def test_holes_over_dirty_bytes(autojump_clock: trio.testing.MockClock) -> None:
    """What was written before a hole is made is in it, dirty or not; the file's size stays; what is written after is there."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client, data=b"x" * 100_000)
        await client.fs.ranges.allocate(handle, PUNCH, 50_000, 60_000)
        assert handle.inode.merged().size_bytes == 100_000
        assert await read(client, handle) == b"x" * 50_000 + bytes(50_000)
        await client.fs.write(handle, 60_000, b"y")
        assert await runs(client.fs, handle) == [(0, 50_000), (60_000, 60_001)]
        await client.fs.fsync(handle)
        assert await runs(client.fs, handle) == [(0, 50_000), (60_000, 60_001)]
        await client.fs.ranges.allocate(handle, ZERO_RANGE, 60_000, 60_000)
        assert await read(client, handle) == b"x" * 50_000 + bytes(70_000)
        await client.fs.ranges.allocate(handle, COLLAPSE_RANGE, 0, 49_152)
        assert await read(client, handle) == b"x" * 848 + bytes(70_000)


async def test_preallocation(autojump_clock: trio.testing.MockClock) -> None:
    """The size grows, nothing is stored; more than is free is NO_SPACE, and changes nothing; what is stored need not be free."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client, data=b"data")
        await client.fs.ranges.allocate(handle, 0, 0, 100_000)
        assert handle.inode.merged().size_bytes == 100_000
        assert await runs(client.fs, handle) == [(0, 4)]
        free_bytes = (await client.fs.statfs()).free_bytes
        with refused(Code.NO_SPACE):
            await client.fs.ranges.allocate(handle, 0, 0, free_bytes + 5)
        with refused(Code.NO_SPACE):
            await client.fs.ranges.allocate(handle, KEEP_SIZE, 4, free_bytes + 1)
        assert handle.inode.merged().size_bytes == 100_000
        await client.fs.ranges.allocate(handle, 0, 0, free_bytes + 4)


async def test_where_data_is(autojump_clock: trio.testing.MockClock) -> None:
    """To the byte, over chunks, committed or dirty; written zeros are data; nothing at or after the end."""
    async with open_world(1) as world:
        client = await world.mount()
        fs, handle = client.fs, await created(client)
        places = [(10, 20), (CHUNK_BYTES - 5, 10), (7 * CHUNK_BYTES, 3), (9 * CHUNK_BYTES - 100_000, 200_000)]
        for at, length in places:
            await fs.write(handle, at, bytes(length))
        await fs.setattr(handle.inode.number, Changes(size_bytes=20 * CHUNK_BYTES))
        expected = [(at, at + length) for at, length in places]
        assert await runs(fs, handle) == expected
        await fs.fsync(handle)
        await fs.write(handle, 12 * CHUNK_BYTES + 1, b"dirty")
        await fs.write(handle, 15, bytes(30))
        expected[0] = (10, 45)
        expected.append((12 * CHUNK_BYTES + 1, 12 * CHUNK_BYTES + 6))
        assert await runs(fs, handle) == expected
        other = await world.mount()
        theirs = await other.fs.open(handle.inode.number, writes=False)
        assert await runs(other.fs, theirs) == expected
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            for offset in (20 * CHUNK_BYTES, FILE_BYTES_MAX, (1 << 63) - 1):
                with refused(Code.NO_DATA):
                    await fs.ranges.seek(handle, offset, whence)
        assert await fs.ranges.seek(handle, 20 * CHUNK_BYTES - 1, os.SEEK_HOLE) == 20 * CHUNK_BYTES - 1
        with refused(Code.NO_DATA):
            await fs.ranges.seek(handle, 13 * CHUNK_BYTES, os.SEEK_DATA)


async def test_the_largest_sparse_file(autojump_clock: trio.testing.MockClock) -> None:
    """A byte at its very end is found with a few questions."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client)
        await client.fs.write(handle, FILE_BYTES_MAX - 1, b"z")
        await client.fs.fsync(handle)
        assert await runs(client.fs, handle) == [(FILE_BYTES_MAX - 1, FILE_BYTES_MAX)]


async def test_a_copy_stores_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Dirty bytes of the source, here or on another client, are stored once, for the source; the copy points to them."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        data = world.draw.randbytes(300_000)
        handle = await created(one, data=data)
        other = await created(two, b"copy", b"old")
        source = await two.fs.open(handle.inode.number, writes=False)
        assert await two.fs.ranges.copy(source, 0, other, 2, 1 << 40) == 300_000
        count = object_count(world)
        assert await read(two, other) == b"ol" + data
        assert await two.fs.ranges.copy(source, 100, other, 500_000, 100) == 100
        assert await two.fs.ranges.copy(source, 300_000, other, 0, 100) == 0
        await one.fs.unlink(ROOT_INODE, b"file")
        await one.fs.release(handle)
        await two.fs.release(source)
        seen = await one.fs.lookup(ROOT_INODE, b"copy")
        theirs = await one.fs.open(seen.number, writes=False)
        assert await read(one, theirs) == (b"ol" + data).ljust(500_000, b"\0") + data[100:200]
        assert object_count(world) == count
        world.check()


async def test_a_copy_over_dirty_bytes(autojump_clock: trio.testing.MockClock) -> None:
    """What was written before to the destination is covered, what is written after covers."""
    async with open_world(1) as world:
        client = await world.mount()
        source = await created(client, b"source", b"s" * 100)
        other = await created(client, b"other", b"o" * 200)
        assert await client.fs.ranges.copy(source, 0, other, 50, 100) == 100
        await client.fs.write(other, 60, b"new")
        expected = b"o" * 50 + b"s" * 10 + b"new" + b"s" * 87 + b"o" * 50
        assert await read(client, other) == expected
        await client.fs.fsync(other)
        assert await read(client, other) == expected


async def test_where_references_will_not_do(autojump_clock: trio.testing.MockClock) -> None:
    """A chunk that gets too many inline bytes is filled by reading and writing instead; each call copies what it can."""
    async with open_world(1) as world:
        client = await world.mount()
        data = world.draw.randbytes(10_000)
        source, other = await created(client, b"source", data), await created(client, b"other")
        for index in range(150):
            assert await client.fs.ranges.copy(source, 0, other, index * 10_000, 10_000) == 10_000
        assert await read(client, other, 1 << 21) == data * 150
        world.check()


async def test_copies_crosswise(autojump_clock: trio.testing.MockClock) -> None:
    """Two clients that write two files, and copy each to the other at once, do not wait for each other for ever."""
    async with open_world(1) as world:
        clients = [await world.mount(name) for name in ("one", "two")]
        await created(clients[0], b"a", b"a" * 1000)
        await created(clients[1], b"b", b"b" * 1000)
        handles = []
        for client in clients:
            numbers = [(await client.fs.lookup(ROOT_INODE, name)).number for name in (b"a", b"b")]
            handles.append([await client.fs.open(number, writes=True) for number in numbers])

        async def copy(index: int) -> None:
            fs, (a, b) = clients[index].fs, handles[index]
            for step in range(20):
                await fs.write(a, 2000 + step, b"x")
                await fs.write(b, 2000 + step, b"x")
                source, other = (a, b) if index else (b, a)
                await fs.ranges.copy(source, 0, other, 5000, 1000)
                await fs.setattr(a.inode.number, Changes(size_bytes=7000))

        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                for index in range(2):
                    nursery.start_soon(copy, index)
        world.check()


async def test_clone(autojump_clock: trio.testing.MockClock) -> None:
    """Content that is dirty included; other clients see it at once; both can be written apart."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await created(one, data=b"data" * 50_000)
        made = await one.fs.ranges.clone(handle.inode.number, ROOT_INODE, b"clone")
        await one.fs.write(handle, 0, b"DATA")
        seen = await two.fs.lookup(ROOT_INODE, b"clone")
        assert seen.number == made.number
        theirs = await two.fs.open(seen.number, writes=True)
        assert await read(two, theirs) == b"data" * 50_000
        await two.fs.write(theirs, 4, b"more")
        assert (await read(one, handle))[:8] == b"DATAdata"
        assert (await read(two, theirs))[:8] == b"datamore"


async def test_a_clone_in_several_transactions(autojump_clock: trio.testing.MockClock) -> None:
    """It is complete, and has the mode and times of the source."""
    with patch("ringfs.meta.namespace.ops.copy_range.COPIED_EXTENTS_MAX", 2):
        async with open_world(1) as world:
            client = await world.mount()
            handle = await created(client)
            for chunk in range(8):
                await client.fs.write(handle, chunk * CHUNK_BYTES + 100_000, b"%d" % chunk * 70_000)
            await client.fs.fsync(handle)
            await client.fs.setxattr(handle.inode.number, b"security.capability", b"caps")
            await client.fs.setattr(handle.inode.number, Changes(mode=0o4755, mtime_ns=5, atime_ns=6))
            await client.fs.fsync(handle)
            made = await client.fs.ranges.clone(handle.inode.number, ROOT_INODE, b"clone")
            assert await client.fs.getxattr(made.number, b"security.capability") == b"caps"
            copy = await client.fs.open(made.number, writes=False)
            assert await runs(client.fs, copy) == await runs(client.fs, handle)
            kept = (await client.fs.getattr(made.number)).merged()
            assert (kept.mode, kept.mtime_ns, kept.atime_ns, kept.size_bytes) == (0o104755, 5, 6, 7 * CHUNK_BYTES + 170_000)


async def test_a_huge_file_is_released_in_steps(autojump_clock: trio.testing.MockClock) -> None:
    """Removing it takes one short transaction; the leader lets go of its objects afterwards, also after a restart."""
    with patch("ringfs.meta.namespace.work.RELEASED_EXTENTS_MAX", 2), patch("ringfs.meta.releaser.STEP_EXTENTS", 1):
        async with open_world(1) as world:
            client = await world.mount()
            handle = await created(client)
            for chunk in range(20):
                await client.fs.write(handle, chunk * CHUNK_BYTES, world.draw.randbytes(70_000))
            await client.fs.fsync(handle)
            await client.fs.release(handle)
            await client.fs.unlink(ROOT_INODE, b"file")
            await until(lambda: not world.opens.count)
            world.check()

            def doomed() -> bool:
                return world.store.get(keys.doomed(handle.inode.number)) is not None

            await until(doomed)
            await world.restart_meta()
            await until(lambda: not doomed())
            world.check()
            await until(lambda: not object_count(world), 300)


async def test_refusals(autojump_clock: trio.testing.MockClock) -> None:
    """What the service refuses is refused, and the file is as it was."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client, data=b"x" * 200)
        with refused(Code.INVALID):
            await client.fs.ranges.copy(handle, 0, handle, 199, 200)
        with refused(Code.FILE_TOO_BIG):
            await client.fs.ranges.copy(handle, 0, handle, FILE_BYTES_MAX, 200)
        with refused(Code.INVALID):
            await client.fs.ranges.allocate(handle, COLLAPSE_RANGE, 0, 4096)
        with refused(Code.NOT_SUPPORTED):
            await client.fs.ranges.allocate(handle, PUNCH_HOLE, 0, 4096)
        with refused(Code.INVALID):
            await client.fs.ranges.seek(handle, 0, os.SEEK_END)
        assert await read(client, handle) == b"x" * 200
