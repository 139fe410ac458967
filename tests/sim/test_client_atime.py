"""atime under relatime, strictatime and noatime: what a client's reads do to it, here, at the service, and for others."""

import pytest
import trio

from ringfs.base.ids import ROOT_INODE
from ringfs.client.access_times import AccessTimes, Policy
from ringfs.client.file_system import Caller, Changes, Handle
from ringfs.wire.messages.files import FLAG_NOATIME
from ringfs.wire.messages.queries import GetAttributes
from tests.support.world import Mounted, World, open_world

CALLER = Caller()
LONG_AGO = 10**9


async def opened(client: Mounted) -> Handle:
    """A new file, open for reading alone, whose atime is after its mtime but ctime."""
    made = await client.fs.create(ROOT_INODE, b"file", 0o644, CALLER, writes=True, exclusive=True)
    await client.fs.write(made, 0, b"content")
    await client.fs.fsync(made)
    await client.fs.release(made)
    await client.fs.setattr(made.inode.number, Changes(atime_ns=LONG_AGO, mtime_ns=LONG_AGO - 1))
    await trio.sleep(1)
    return await client.fs.open(made.inode.number, writes=False)


async def atime(client: Mounted, handle: Handle) -> int:
    """As stat says."""
    return (await client.fs.getattr(handle.inode.number)).merged().atime_ns


async def told(world: World, client: Mounted, handle: Handle) -> int:
    """What the service knows, some time later."""
    await trio.sleep(10)
    return int((await client.fs.link.query(GetAttributes(handle.inode.number))).attributes.atime_ns)


def set_policy(client: Mounted, policy: Policy) -> None:
    """Another one, for all handles that are opened from now on."""
    old = client.fs.access_times
    client.fs.access_times = AccessTimes(old._link, old._clock, policy)


async def test_relatime(autojump_clock: trio.testing.MockClock) -> None:
    """The first read moves it, further ones do not, until the file changes."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await opened(client)
        await client.fs.read(handle, 0, 100)
        first_ns = await atime(client, handle)
        assert first_ns > LONG_AGO
        assert await told(world, client, handle) == first_ns
        await client.fs.read(handle, 0, 100)
        assert await atime(client, handle) == first_ns
        await client.fs.setattr(handle.inode.number, Changes(mode=0o600))
        await trio.sleep(1)
        await client.fs.read(handle, 0, 100)
        assert await atime(client, handle) > first_ns


async def test_strictatime(autojump_clock: trio.testing.MockClock) -> None:
    """Every read moves it."""
    async with open_world(1) as world:
        client = await world.mount()
        set_policy(client, Policy.STRICTATIME)
        handle = await opened(client)
        times = []
        for _ in range(3):
            await trio.sleep(1)
            await client.fs.read(handle, 0, 100)
            times.append(await atime(client, handle))
        assert times == sorted(set(times))
        await client.fs.sync()
        assert await told(world, client, handle) == times[-1]


@pytest.mark.parametrize("way", ["noatime", "O_NOATIME", "chattr +A"])
async def test_none(autojump_clock: trio.testing.MockClock, way: str) -> None:
    """By the mount, by the handle, by the file: no read moves it."""
    async with open_world(1) as world:
        client = await world.mount()
        set_policy(client, Policy.NOATIME if way == "noatime" else Policy.STRICTATIME)
        handle = await opened(client)
        handle.keeps_atime = way == "O_NOATIME"
        if way == "chattr +A":
            await client.fs.protection.set_flags(handle.inode, FLAG_NOATIME, is_privileged=False)
        await client.fs.read(handle, 0, 100)
        assert await atime(client, handle) == LONG_AGO
        assert await told(world, client, handle) == LONG_AGO


async def test_what_is_set_counts(autojump_clock: trio.testing.MockClock) -> None:
    """utimensat after a read that is not told yet."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await opened(client)
        await client.fs.read(handle, 0, 100)
        await client.fs.setattr(handle.inode.number, Changes(atime_ns=5, mtime_ns=4))
        assert await atime(client, handle) == 5
        assert await told(world, client, handle) == 5


async def test_others_keep_what_they_cached(autojump_clock: trio.testing.MockClock) -> None:
    """A read here recalls nothing there; who asks later sees it."""
    async with open_world(1) as world:
        client, other, third = await world.mount(), await world.mount(), await world.mount()
        handle = await opened(client)
        number = handle.inode.number
        await other.fs.getattr(number)
        recalls = other.fs.link.recalls_seen
        await client.fs.read(handle, 0, 100)
        at_ns = await told(world, client, handle)
        assert other.fs.link.recalls_seen == recalls
        assert (await third.fs.getattr(number)).merged().atime_ns == at_ns > LONG_AGO


async def test_a_removed_file(autojump_clock: trio.testing.MockClock) -> None:
    """What was read and is gone before it is told harms nobody."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await opened(client)
        await client.fs.read(handle, 0, 100)
        await client.fs.unlink(ROOT_INODE, b"file")
        await client.fs.release(handle)
        await trio.sleep(20)
        assert await client.fs.lookup(ROOT_INODE, b".") is not None
