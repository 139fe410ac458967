"""What was done ahead of the service happens once and in order whatever is lost; what cannot happen any more is said at fsync."""

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import SESSION_TIMEOUT_NS
from tests.support.delegating import CALLER, FILE, LEASE_S, agree, filled, home_of, shown
from tests.support.refusals import refused
from tests.support.world import META, open_world, until


@pytest.mark.parametrize("answered", [False, True])
async def test_a_restart_of_the_service_comes_before_others(answered: bool, autojump_clock: trio.testing.MockClock) -> None:
    """What was done ahead and is unanswered (answered=True: it was durable, but the answer is lost) happens once, and before the
    conflicting request that waits."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        names = await filled(one, home)
        if answered:
            for link in one.port.links(META):
                link.to_client.drop()
            await trio.sleep(0.1)
        refusals: list[Code] = []

        async def conflict() -> None:
            try:
                await two.fs.mkdir(home, names[-1], 0o700, CALLER)
            except Refused as refusal:
                refusals.append(refusal.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(conflict)
            await world.restart_meta()
        assert refusals == [Code.EXISTS]
        assert [name for name, _ in await shown(two, home)] == sorted([*names, b"first"])
        await agree(world, one, two)
        assert one.fs.mistake_count == 0


async def test_a_connection_lost_while_it_is_resumed(autojump_clock: trio.testing.MockClock) -> None:
    """What was sent on a connection that was lost before the session was whole on it is sent again on the next."""
    async with open_world(1) as world:
        one = await world.mount("one")
        home = await home_of(one)
        world.journal.append_s = 0.5
        names = await filled(one, home)
        for _ in range(4):
            one.port.cut(META)
            # Enough for the first ResumeSession and the transactions, not for the answers.
            await trio.sleep(0.1)
        with trio.fail_after(60):
            await one.fs.fsync_directory(home)
        assert [name for name, _ in await shown(one, home)] == sorted([*names, b"first"])
        assert one.fs.mistake_count == 0


@pytest.mark.parametrize("way", ["cut", "black", "silent"])
async def test_away_for_less_than_the_lease(way: str, autojump_clock: trio.testing.MockClock) -> None:
    """Others wait for it, and see all that it did."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        await filled(one, home)
        if way == "cut":
            one.port.cut(META)
        else:
            one.port.blacken()
        seen: list[int] = []

        async def look() -> None:
            seen.append(len(await shown(two, home)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await trio.sleep(LEASE_S / 4)
            one.port.whiten()
        assert seen == [6]
        await agree(world, one, two)
        assert one.fs.mistake_count == 0


async def test_away_for_longer_than_the_lease(autojump_clock: trio.testing.MockClock) -> None:
    """Others go on without it. What conflicts then does not happen, and fsync says so once; what does not conflict happens."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        one.port.blacken()
        await one.fs.mkdir(home, b"mine", 0o755, CALLER)
        mine = await one.fs.create(home, b"both", FILE, CALLER, writes=True, exclusive=True)
        await one.fs.write(mine, 0, b"never to be")
        await two.fs.mkdir(home, b"both", 0o755, CALLER)
        await trio.sleep(LEASE_S)
        one.port.whiten()
        with refused(Code.IO):
            await one.fs.fsync_directory(home)
        await one.fs.fsync_directory(home)
        assert one.fs.mistake_count > 0
        with refused(Code.IO):
            await one.fs.fsync(mine)
        assert [name for name, _ in await shown(one, home)] == [b"both", b"first", b"mine"]
        await one.fs.release(mine)
        await agree(world, one, two)


async def test_others_that_only_looked_are_no_conflict(autojump_clock: trio.testing.MockClock) -> None:
    """After a long absence everything that still can happen does: in order, and before what builds upon it."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        one.port.blacken()
        await one.fs.mkdir(home, b"d", 0o755, CALLER)
        number = (await one.fs.lookup(home, b"d")).number
        handle = await one.fs.create(number, b"file", FILE, CALLER, writes=True, exclusive=True)
        await one.fs.write(handle, 0, b"content")
        await two.fs.mkdir(home, b"theirs", 0o755, CALLER)
        await two.fs.mkdir(home, b"theirs2", 0o755, CALLER)
        await trio.sleep(LEASE_S)
        one.port.whiten()
        await one.fs.fsync(handle)
        found = await two.fs.lookup((await two.fs.lookup(home, b"d")).number, b"file")
        theirs = await two.fs.open(found.number, writes=False)
        assert bytes(await two.fs.read(theirs, 0, 100)) == b"content"
        await agree(world, one, two)


async def test_away_for_longer_than_the_session(autojump_clock: trio.testing.MockClock) -> None:
    """Everything that was not answered is lost, and fsync says so once."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        one.port.blacken()
        await filled(one, home, 3)
        await trio.sleep(SESSION_TIMEOUT_NS / 1e9 + LEASE_S)
        assert await shown(two, home) == await shown(two, home)
        one.port.whiten()
        await until(lambda: one.fs.mistake_count == 3)
        with refused(Code.IO):
            await one.fs.fsync_directory(home)
        await one.fs.fsync_directory(home)
        await agree(world, one, two)
        await one.fs.mkdir(home, b"again", 0o755, CALLER)
        await agree(world, one, two)


async def test_a_crash_loses_the_end_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    """A prefix of what was done is there, and everything up to the last fsync of a directory."""
    for after_s in (0.0, 0.004, 0.006, 0.02):
        async with open_world(1) as world:
            world.journal.append_s = 0.003
            one, two = await world.mount("one"), await world.mount("two")
            home = await home_of(one)
            await one.fs.mkdir(home, b"00", 0o755, CALLER)
            await one.fs.fsync_directory(home)
            for index in range(1, 40):
                await one.fs.mkdir(home, b"%02d" % index, 0o755, CALLER)
            await trio.sleep(after_s)
            await one.crash()
            left = [name for name, _ in await shown(two, home)]
            assert left == [*[b"%02d" % index for index in range(len(left) - 1)], b"first"]
            assert b"00" in left
            await agree(world, two)
