"""What a write takes away, who may write, and flags that another client sets."""

import pytest
import trio

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, Changes, Handle
from ringfs.wire.messages.files import FLAG_APPEND, FLAG_IMMUTABLE
from tests.support.refusals import refused
from tests.support.world import Mounted, open_world

CALLER = Caller()


async def created(client: Mounted, mode: int) -> Handle:
    """A new file, open for writing."""
    handle = await client.fs.create(ROOT_INODE, b"file", 0o100600, CALLER, writes=True, exclusive=True)
    await client.fs.setattr(handle.inode.number, Changes(mode=mode, privileged=True))
    return handle


@pytest.mark.parametrize(
    ("mode", "keeps_suid", "after"),
    [(0o6755, False, 0o755), (0o6755, True, 0o6755), (0o2644, False, 0o2644), (0o755, False, 0o755)],
)
async def test_suid(autojump_clock: trio.testing.MockClock, mode: int, keeps_suid: bool, after: int) -> None:
    """Goes with a write, unless the writer may keep it; sgid of what the group may not execute stays."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client, mode)
        await client.fs.write(handle, 0, b"x", kills_privileges=not keeps_suid)
        assert (await client.fs.getattr(handle.inode.number)).attributes.mode & 0o7777 == after


@pytest.mark.parametrize("appends", [False, True])
async def test_suid_that_another_client_gave(autojump_clock: trio.testing.MockClock, appends: bool) -> None:
    """Goes with a write through a handle from before."""
    async with open_world(1) as world:
        client, other = await world.mount(), await world.mount()
        handle = await created(client, 0o644)
        number = handle.inode.number
        for _ in range(2):
            await other.fs.setattr(number, Changes(mode=0o6711, privileged=True))
            await client.fs.write(handle, 0, b"x", appends=appends)
            await client.fs.fsync(handle)
            assert (await other.fs.getattr(number)).attributes.mode & 0o7777 == 0o711


async def test_capabilities(autojump_clock: trio.testing.MockClock) -> None:
    """Go with every write, root's too; other attributes stay."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client, 0o4755)
        for name in (b"security.capability", b"user.a"):
            await client.fs.setxattr(handle.inode.number, name, b"value")
        await client.fs.write(handle, 0, b"x", kills_privileges=False)
        assert await client.fs.listxattr(handle.inode.number) == [b"user.a"]
        assert handle.inode.attributes.mode & 0o7777 == 0o4755


async def test_immutable(autojump_clock: trio.testing.MockClock) -> None:
    """What another client had written is kept first; what it writes from then on is refused: a user's at once, root's by fsync."""
    async with open_world(1) as world:
        client, other = await world.mount(), await world.mount()
        handle = await created(client, 0o644)
        await client.fs.write(handle, 0, b"before")
        await other.fs.protection.set_flags(await other.fs.lookup(ROOT_INODE, b"file"), FLAG_IMMUTABLE, is_privileged=True)
        await client.fs.write(handle, 0, b"after", kills_privileges=False)
        with refused(Code.IO):
            await client.fs.fsync(handle)
        with refused(Code.NOT_PERMITTED):
            await client.fs.open(handle.inode.number, writes=True)
        with refused(Code.NOT_PERMITTED):
            await client.fs.write(handle, 0, b"after")
        reader = await other.fs.open(handle.inode.number, writes=False)
        assert bytes(await other.fs.read(reader, 0, 100)) == b"before"


async def test_append_only(autojump_clock: trio.testing.MockClock) -> None:
    """Only appending handles are opened; given times are refused, now is not; what was refused is not open."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await created(client, 0o644)
        inode = handle.inode
        await client.fs.protection.set_flags(inode, FLAG_APPEND, is_privileged=True)
        await client.fs.release(handle)
        with refused(Code.NOT_PERMITTED):
            await client.fs.open(inode.number, writes=True)
        assert (inode.open_count, inode.write_count) == (0, 0)
        with refused(Code.NOT_PERMITTED):
            await client.fs.setattr(inode.number, Changes(mtime_ns=1))
        await client.fs.setattr(inode.number, Changes(mtime_ns=10**18, is_touch=True))
        appending = await client.fs.open(inode.number, writes=True, appends=True)
        await client.fs.write(appending, 0, b"x")
        await client.fs.fsync(appending)
