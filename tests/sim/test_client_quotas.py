"""Quotas as a client's programs meet them: when EDQUOT is told, what fsync promises, what statfs shows."""

import os

import pytest
import trio

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import MIB
from ringfs.client.file_system import Caller, Changes
from ringfs.wire.messages.namespace import RENAME_EXCHANGE
from ringfs.wire.messages.quota import GetQuota, SetQuota
from tests.sim.test_client_operations import mount_of
from tests.support.refusals import refused
from tests.support.world import Mounted, open_world

CALLER = Caller()


async def limited(client: Mounted, bytes_max: int, files_max: int = 0) -> int:
    """A directory with a quota."""
    directory = await client.fs.mkdir(ROOT_INODE, b"home", 0o755, CALLER)
    await client.fs.link.mutate(SetQuota(directory.number, bytes_max, files_max))
    return directory.number


async def used(client: Mounted, directory: int) -> int:
    answer = await client.fs.link.query(GetQuota(directory))
    return int(answer.bytes_used)


async def test_never_acknowledged_beyond(autojump_clock: trio.testing.MockClock) -> None:
    """fsync says EDQUOT, once to each handle; what was acknowledged before is there; with room again, writes work."""
    async with open_world(1) as world:
        client = await world.mount()
        directory = await limited(client, 3 * MIB)
        handle = await client.fs.create(directory, b"file", 0o644, CALLER, writes=True, exclusive=True)
        await client.fs.write(handle, 0, b"a" * 2 * MIB)
        await client.fs.fsync(handle)
        await client.fs.write(handle, 2 * MIB, b"b" * 2 * MIB)
        with refused(Code.QUOTA):
            await client.fs.fsync(handle)
        await client.fs.fsync(handle)
        assert await used(client, directory) == 2 * MIB
        assert (await client.fs.getattr(handle.inode.number)).merged().size_bytes == 2 * MIB
        await client.fs.setattr(handle.inode.number, Changes(size_bytes=MIB))
        await client.fs.write(handle, MIB, b"c" * 2 * MIB)
        await client.fs.fsync(handle)
        assert await used(client, directory) == 3 * MIB


async def test_two_clients_share_it(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever commits first has it; the sum never passes the limit."""
    async with open_world(1) as world:
        clients = [await world.mount(), await world.mount()]
        directory = await limited(clients[0], 3 * MIB)
        refusals = 0
        for index, client in enumerate(clients):
            handle = await client.fs.create(directory, b"%d" % index, 0o644, CALLER, writes=True, exclusive=True)
            await client.fs.write(handle, 0, b"x" * 2 * MIB)
            if index:
                with refused(Code.QUOTA):
                    await client.fs.fsync(handle)
                refusals += 1
            else:
                await client.fs.fsync(handle)
        assert refusals == 1
        assert await used(clients[0], directory) == 2 * MIB


async def test_close_tells(autojump_clock: trio.testing.MockClock) -> None:
    """A client that knows of quotas flushes before it answers the close of a file that may not fit."""
    async with open_world(1) as world:
        client = await world.mount()
        mount = mount_of(client)
        directory = await limited(client, MIB)
        await trio.sleep(10)
        handle, *_ = await mount.create(directory, b"file", 0o644, os.O_RDWR, CALLER)
        await mount.write(handle, 0, b"x" * 2 * MIB)
        with refused(Code.QUOTA):
            await mount.flush(handle)
        await mount.release(handle)


async def test_close_of_a_removed_file(autojump_clock: trio.testing.MockClock) -> None:
    """It counts nowhere, and its close asks nothing that could fail."""
    async with open_world(1) as world:
        client, other = await world.mount(), await world.mount()
        mount = mount_of(client)
        directory = await limited(client, MIB)
        await trio.sleep(10)
        handle, *_ = await mount.create(directory, b"file", 0o644, os.O_RDWR, CALLER)
        await other.fs.unlink(directory, b"file")
        await mount.write(handle, 0, b"x" * 2 * MIB)
        await mount.flush(handle)
        await mount.release(handle)


async def test_files_and_statfs(autojump_clock: trio.testing.MockClock) -> None:
    """Names are refused at once; statfs shows the quota there, and the cluster elsewhere."""
    async with open_world(1) as world:
        client = await world.mount()
        directory = await limited(client, MIB, 1)
        handle = await client.fs.create(directory, b"file", 0o644, CALLER, writes=True, exclusive=True)
        with refused(Code.QUOTA):
            await client.fs.mkdir(directory, b"more", 0o755, CALLER)
        await client.fs.write(handle, 0, b"x" * 1000)
        await client.fs.fsync(handle)
        figures = await client.fs.statfs(handle.inode.number)
        assert (figures.total_bytes, figures.free_bytes) == (MIB, MIB - 1000)
        assert (figures.inode_count, figures.inode_max) == (1, 1)
        assert (await client.fs.statfs()).total_bytes > MIB


@pytest.mark.parametrize("flags", [0, RENAME_EXCHANGE])
async def test_a_tree_that_comes_under_a_quota(autojump_clock: trio.testing.MockClock, flags: int) -> None:
    """Whoever made it, and has been answering for it himself, does so no more: the very next name too many is refused."""
    async with open_world(1) as world:
        client, other = await world.mount(), await world.mount()
        directory = await limited(other, MIB, 3)
        await other.fs.mkdir(directory, b"there", 0o755, CALLER)
        tree = await client.fs.mkdir(ROOT_INODE, b"tree", 0o755, CALLER)
        sub = await client.fs.mkdir(tree.number, b"sub", 0o755, CALLER)
        for name in (b"1", b"2", b"3", b"4"):
            await client.fs.mknod(sub.number, name, 0o100644, 0, CALLER)
        for name in (b"2", b"3", b"4"):
            await client.fs.unlink(sub.number, name)
        if flags:
            await other.fs.rename(ROOT_INODE, b"tree", directory, b"there", flags)
        else:
            await other.fs.rmdir(directory, b"there")
            await other.fs.rename(ROOT_INODE, b"tree", directory, b"tree", flags)
        with refused(Code.QUOTA):
            await client.fs.mknod(sub.number, b"2", 0o100644, 0, CALLER)
        assert client.fs.mistake_count == 0
