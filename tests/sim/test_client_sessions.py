"""A session that ends while bytes are dirty: they are committed if nobody changed the file, else every handle says EIO once."""

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, Changes, Handle
from tests.support.refusals import refused
from tests.support.world import META, Mounted, World, open_world, until

CALLER = Caller()
#: Longer than the service keeps a silent session.
AWAY_S = 45.0


async def made(client: Mounted, data: bytes = b"a" * 100_000) -> Handle:
    """A file, open for writing, with something in it that is committed."""
    handle = await client.fs.create(ROOT_INODE, b"file", 0o100644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, data)
    await client.fs.fsync(handle)
    return handle


async def content(client: Mounted) -> bytes:
    """What is read by whoever opens the file now."""
    inode = await client.fs.lookup(ROOT_INODE, b"file")
    handle = await client.fs.open(inode.number, writes=False)
    found = bytes(await client.fs.read(handle, 0, 1 << 24))
    await client.fs.release(handle)
    return found


async def back(client: Mounted, session: int) -> None:
    """The client is on the network again, and has a session again."""
    client.port.whiten()
    await until(lambda: client.fs.link.session != session)


@pytest.mark.parametrize("size_bytes", [100, 50_000])
async def test_an_unchanged_file(size_bytes: int, autojump_clock: trio.testing.MockClock) -> None:
    """What was written before and while the client was away is committed under the new session, inline or in objects."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one)
        session = one.fs.link.session
        await one.fs.write(handle, 0, b"b" * size_bytes)
        one.port.blacken()
        await trio.sleep(AWAY_S)
        await one.fs.write(handle, size_bytes, b"c" * size_bytes)
        await back(one, session)
        await one.fs.fsync(handle)
        await one.fs.release(handle)
        assert await content(two) == b"b" * size_bytes + b"c" * size_bytes + b"a" * (100_000 - 2 * size_bytes)
        world.check()


@pytest.mark.parametrize("size_bytes", [100, 50_000])
@pytest.mark.parametrize("looks", [False, True])
async def test_a_changed_file(size_bytes: int, looks: bool, autojump_clock: trio.testing.MockClock) -> None:
    """Another client's bytes are not overwritten, whatever was asked in between; every handle says EIO once; new writes work."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        first = await made(one)
        second = await one.fs.open(first.inode.number, writes=True)
        session = one.fs.link.session
        await one.fs.write(first, 0, b"b" * size_bytes)
        one.port.blacken()
        await trio.sleep(AWAY_S)
        theirs = await two.fs.open(first.inode.number, writes=True)
        await two.fs.write(theirs, 0, b"d" * 1000)
        await two.fs.fsync(theirs)
        await two.fs.release(theirs)
        await one.fs.write(second, 60_000, b"c" * size_bytes)
        await back(one, session)
        if looks:
            await one.fs.getattr(first.inode.number)
        for handle in (first, second):
            with refused(Code.IO):
                await one.fs.fsync(handle)
            await one.fs.fsync(handle)
        assert await content(one) == b"d" * 1000 + b"a" * 99_000
        await one.fs.write(first, 0, b"e" * 10)
        await one.fs.fsync(first)
        await one.fs.write(second, 10, b"f" * 10)
        await one.fs.fsync(second)
        assert await content(two) == b"e" * 10 + b"f" * 10 + b"d" * 980 + b"a" * 99_000
        world.check()


async def test_own_changes_are_nobody_elses(autojump_clock: trio.testing.MockClock) -> None:
    """A chmod of the client itself between the new session and the commit does not count as a change by another."""
    async with open_world(1, commit_interval_s=30.0) as world:
        one = await world.mount("one")
        handle = await made(one)
        session = one.fs.link.session
        one.port.blacken()
        await trio.sleep(AWAY_S)
        await one.fs.write(handle, 0, b"b" * 20_000)
        await back(one, session)
        await one.fs.setattr(handle.inode.number, Changes(mode=0o600))
        await one.fs.setxattr(handle.inode.number, b"user.a", b"1")
        await one.fs.fsync(handle)
        assert await content(one) == b"b" * 20_000 + b"a" * 80_000


async def test_a_removed_file(autojump_clock: trio.testing.MockClock) -> None:
    """A file that was removed meanwhile, and went with the session that had it open: EIO, once."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one)
        session = one.fs.link.session
        one.port.blacken()
        await trio.sleep(AWAY_S)
        await two.fs.unlink(ROOT_INODE, b"file")
        await one.fs.write(handle, 0, b"b" * 20_000)
        await back(one, session)
        with refused(Code.IO):
            await one.fs.fsync(handle)
        await one.fs.fsync(handle)
        await one.fs.release(handle)
        await trio.sleep(5)
        assert not one.fs.writer.dirty_bytes
        world.check()


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.15, 0.2, 0.3])
async def test_the_connection_is_lost_again_while_files_are_opened_again(
    after_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Renewing a session survives the loss of the connection at any moment of it."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one)
        others = []
        for index in range(5):
            others.append(await one.fs.create(ROOT_INODE, b"%d" % index, 0o100644, CALLER, writes=True, exclusive=True))
        one.port.blacken()
        await trio.sleep(AWAY_S)
        await one.fs.write(handle, 0, b"b" * 20_000)
        world.network.delay_s = 0.03
        one.port.whiten()
        await trio.sleep(after_s)
        one.port.cut(META)
        with trio.fail_after(20):
            await one.fs.fsync(handle)
            assert await content(two) == b"b" * 20_000 + b"a" * 80_000
            await until(lambda: world.opens.count_of(one.fs.link.session) == 6)


async def test_a_commit_that_waits_for_a_connection(autojump_clock: trio.testing.MockClock) -> None:
    """A commit that was put together under the old session does not overwrite another client's bytes under the new one."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        handle = await made(one, b"a" * 100)
        session = one.fs.link.session
        one.port.cut(META)
        one.port.blacken()
        await trio.sleep(1)
        await one.fs.write(handle, 0, b"b" * 10)
        await trio.sleep(AWAY_S)
        theirs = await two.fs.open(handle.inode.number, writes=True)
        await two.fs.write(theirs, 0, b"d" * 20)
        await two.fs.fsync(theirs)
        await two.fs.release(theirs)
        await back(one, session)
        with refused(Code.IO):
            await one.fs.fsync(handle)
        assert await content(two) == b"d" * 20 + b"a" * 80


async def test_a_session_that_cannot_be_renewed_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A service that refuses a new session for a while is asked again; nothing dies of it, nothing is lost."""
    async with open_world(1) as world:
        one = await world.mount("one")
        handle = await made(one)
        session = one.fs.link.session
        one.port.blacken()
        await one.fs.write(handle, 0, b"b" * 10)
        await trio.sleep(AWAY_S)
        fill(world)
        one.port.whiten()
        await trio.sleep(20)
        assert one.fs.link.session == session
        world.handler.live.sessions.check_room = lambda: None  # type: ignore[method-assign]
        await one.fs.fsync(handle)
        assert (await content(one))[:10] == b"b" * 10


def fill(world: World) -> None:
    """The service takes no more sessions."""

    def no_room() -> None:
        raise Refused(Code.TOO_MANY_SESSIONS)

    world.handler.live.sessions.check_room = no_room  # type: ignore[method-assign]


async def test_a_first_session_that_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """A mount that gets no session ends, and says why."""
    async with open_world(1) as world:
        fill(world)
        with refused(Code.TOO_MANY_SESSIONS):
            await world.mount_here()
