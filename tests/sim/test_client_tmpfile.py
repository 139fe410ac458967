"""Files without a name: they end with their handle, their client, or get a name that everybody sees."""

import trio

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller
from ringfs.wire.messages.queries import StatFs
from tests.support.refusals import refused
from tests.support.world import Mounted, open_world

CALLER = Caller()


async def inode_count(client: Mounted) -> int:
    return int((await client.fs.link.query(StatFs(ROOT_INODE))).inode_count)


async def test_closed_without_a_name(autojump_clock: trio.testing.MockClock) -> None:
    """Read and written like any file; gone after its last close."""
    async with open_world(1) as world:
        client = await world.mount()
        await client.fs.getattr(ROOT_INODE)
        handle = await client.fs.tmpfile(ROOT_INODE, 0o100600, CALLER, is_linkable=True)
        await client.fs.write(handle, 0, b"x" * 100_000)
        await client.fs.fsync(handle)
        assert bytes(await client.fs.read(handle, 99_990, 100)) == b"x" * 10
        assert await inode_count(client) == 2
        await client.fs.release(handle)
        await trio.sleep(10)
        assert await inode_count(client) == 1


async def test_linked(autojump_clock: trio.testing.MockClock) -> None:
    """With the name comes what was written; others find it."""
    async with open_world(1) as world:
        client, other = await world.mount(), await world.mount()
        handle = await client.fs.tmpfile(ROOT_INODE, 0o100600, CALLER, is_linkable=True)
        await client.fs.write(handle, 0, b"content")
        await client.fs.link_to(handle.inode.number, ROOT_INODE, b"name")
        await client.fs.fsync(handle)
        await client.fs.release(handle)
        await trio.sleep(10)
        found = await other.fs.lookup(ROOT_INODE, b"name")
        opened = await other.fs.open(found.number, writes=False)
        assert bytes(await other.fs.read(opened, 0, 100)) == b"content"
        assert found.attributes.links == 1


async def test_exclusive(autojump_clock: trio.testing.MockClock) -> None:
    """O_EXCL: no name, ever."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await client.fs.tmpfile(ROOT_INODE, 0o100600, CALLER, is_linkable=False)
        with refused(Code.NOT_FOUND):
            await client.fs.link_to(handle.inode.number, ROOT_INODE, b"name")


async def test_crash(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is left of it once the client's session has ended."""
    async with open_world(1) as world:
        client, other = await world.mount(), await world.mount()
        await client.fs.tmpfile(ROOT_INODE, 0o100600, CALLER, is_linkable=True)
        assert await inode_count(other) == 2
        await client.crash()
        await trio.sleep(60)
        assert await inode_count(other) == 1
