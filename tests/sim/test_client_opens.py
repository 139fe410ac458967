"""The metadata service knows what is open here, whatever crosses on the way: reopening, late closes, recalls, lost connections."""

from functools import partial

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, Handle
from ringfs.wire.messages.session import OPEN_READ, OPEN_WRITE
from tests.support.world import META, Mounted, World, open_world

CALLER = Caller()


def server_mode(world: World, client: Mounted, inode: int) -> int:
    """How the service believes the client to have an inode open."""
    return world.opens.mode(client.fs.link.session, inode)


async def made(client: Mounted, name: bytes = b"file", data: bytes = b"content") -> Handle:
    """A file, open for writing, with something in it that is committed."""
    handle = await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, data)
    await client.fs.fsync(handle)
    return handle


def slow_meta(client: Mounted, delay_s: float) -> None:
    """What is sent to and from the metadata server arrives so much later."""
    for link in client.port.links(META):
        link.delay(delay_s)


async def test_a_close_is_told_and_the_inode_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """Some time after the last close the service knows; a file of any size, written in any way."""
    async with open_world(1) as world:
        client = await world.mount()
        for index, size_bytes in enumerate((0, 10, 100_000, 8 << 20, 16 << 20)):
            handle = await client.fs.create(ROOT_INODE, b"%d" % index, 0o100644, CALLER, writes=True, exclusive=True)
            await client.fs.write(handle, 0, bytes(size_bytes))
            await client.fs.release(handle)
            await trio.sleep(10)
            assert server_mode(world, client, handle.inode.number) == 0, size_bytes
            assert not handle.inode.is_pinned


async def test_reopening_while_a_late_close_is_due(autojump_clock: trio.testing.MockClock) -> None:
    """A close that is due while the same file is being opened for writing again is not told after the open."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await made(client)
        await client.fs.release(handle)
        await trio.sleep(5)
        handle = await client.fs.open(handle.inode.number, writes=False)
        await trio.sleep(1)
        await client.fs.release(handle)
        slow_meta(client, 1.5)
        handle = await client.fs.open(handle.inode.number, writes=True)
        await trio.sleep(10)
        assert server_mode(world, client, handle.inode.number) & OPEN_WRITE


async def test_creating_over_a_file_whose_late_close_is_due(autojump_clock: trio.testing.MockClock) -> None:
    """The same for a create that finds the name taken: it opens the file that was closed a moment ago."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await made(client)
        await client.fs.release(handle)
        slow_meta(client, 1.5)
        again = await client.fs.create(ROOT_INODE, b"file", 0o100644, CALLER, writes=True, exclusive=False)
        assert again.inode is handle.inode
        await trio.sleep(10)
        assert server_mode(world, client, handle.inode.number) & OPEN_WRITE


async def test_a_recall_while_the_file_is_being_opened(autojump_clock: trio.testing.MockClock) -> None:
    """A recall that is obeyed between the question and the answer of an open does not close what was just opened."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one)
        await one.fs.release(handle)
        number = handle.inode.number
        await trio.sleep(5)
        handle = await one.fs.open(number, writes=False)
        await trio.sleep(0.5)
        await one.fs.release(handle)
        slow_meta(one, 0.1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(one.fs.open, number, writes=True))
            await trio.sleep(0.05)
            await two.fs.setxattr(number, b"user.a", b"1")
        await trio.sleep(10)
        assert server_mode(world, one, number) & OPEN_WRITE


async def test_many_closes_by_recall_are_all_told(autojump_clock: trio.testing.MockClock) -> None:
    """Closes and opens that are told without waiting get through, however many there are at once."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        numbers = []
        for index in range(60):
            handle = await made(one, b"%d" % index)
            await one.fs.release(handle)
            numbers.append(handle.inode.number)
        await trio.sleep(5)
        slow_meta(one, 0.3)
        handles = [await one.fs.open(number, writes=False) for number in numbers]
        await trio.sleep(2)
        assert {server_mode(world, one, number) for number in numbers} == {OPEN_READ}
        for handle in handles:
            await one.fs.release(handle)
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(two.fs.setxattr, number, b"user.a", b"1")
        await trio.sleep(5)
        assert {server_mode(world, one, number) for number in numbers} == {0}


async def test_a_close_while_the_connection_is_away(autojump_clock: trio.testing.MockClock) -> None:
    """What is closed while there is no connection, or while the session is being resumed, is closed at the service too."""
    for delay_s in (0.0, 0.4):
        async with open_world(1) as world:
            client = await world.mount()
            handle = await made(client)
            await client.fs.release(handle)
            world.network.delay_s = delay_s
            client.port.cut(META)
            await trio.sleep(10)
            assert server_mode(world, client, handle.inode.number) == 0


async def test_unlinked_while_open_is_freed_at_the_last_close(autojump_clock: trio.testing.MockClock) -> None:
    """An orphan is readable and writable until its last close, and gone then, also with bytes on their way."""
    async with open_world(1) as world:
        client = await world.mount()
        first = await made(client, data=b"a" * 100_000)
        second = await client.fs.open(first.inode.number, writes=False)
        await client.fs.write(first, 50_000, b"b" * 100_000)
        await client.fs.unlink(ROOT_INODE, b"file")
        await client.fs.release(first)
        await trio.sleep(3)
        assert await client.fs.read(second, 0, 1 << 20) == b"a" * 50_000 + b"b" * 100_000
        await client.fs.release(second)
        await trio.sleep(5)
        with pytest.raises(Refused) as refused:
            await client.fs.getattr(first.inode.number)
        assert refused.value.code is Code.STALE
        assert len(client.fs.inodes) == 1
        world.check()


async def test_what_is_read_and_closed_soon_is_never_told(autojump_clock: trio.testing.MockClock) -> None:
    """A delegated file that is opened for reading is told of after a while, if it is open still."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await made(client)
        number = handle.inode.number
        await client.fs.release(handle)
        await trio.sleep(10)
        soon = await client.fs.open(number, writes=False)
        await client.fs.release(soon)
        assert client.fs.inodes.get(number) is handle.inode
        assert handle.inode.server_mode == 0
        long = await client.fs.open(number, writes=False)
        assert server_mode(world, client, number) == 0
        await trio.sleep(10)
        assert server_mode(world, client, number) == OPEN_READ
        await client.fs.release(long)
        await trio.sleep(10)
        assert server_mode(world, client, number) == 0


@pytest.mark.parametrize("remover", ["this client", "another client", "another after the server's restart"])
async def test_opened_a_moment_ago_and_removed(remover: str, autojump_clock: trio.testing.MockClock) -> None:
    """It is told of before its last name can go: the file is readable until it is closed, and then freed."""
    async with open_world(1) as world:
        client, other = await world.mount(), await world.mount()
        handle = await made(client)
        number = handle.inode.number
        await client.fs.release(handle)
        await trio.sleep(10)
        reader = await client.fs.open(number, writes=False)
        assert server_mode(world, client, number) == 0
        if remover == "another after the server's restart":
            await world.restart_meta()
        await (client if remover == "this client" else other).fs.unlink(ROOT_INODE, b"file")
        await client.fs.sync()
        assert server_mode(world, client, number) == OPEN_READ
        assert bytes(await client.fs.read(reader, 0, 100)) == b"content"
        await client.fs.release(reader)
        await trio.sleep(10)
        assert server_mode(world, client, number) == 0
        world.check()
        with pytest.raises(Refused) as refused:
            await other.fs.getattr(number)
        assert refused.value.code is Code.STALE
