"""What a client does ahead of the service: others see it at once, limits hold, and open files stay what they are."""

from functools import partial

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Changes
from ringfs.wire.messages.quota import SetQuota
from tests.support.delegating import CALLER, FILE, agree, ahead, filled, home_of, shown, unanswered
from tests.support.refusals import refused
from tests.support.world import META, open_world

# --- others see it ----------------------------------------------------------------------------------------------------


async def test_others_see_at_once_what_was_done_ahead(autojump_clock: trio.testing.MockClock) -> None:
    """By every kind of question and change, although nothing of it had been sent."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        await ahead(one, lambda: one.fs.mkdir(home, b"d", 0o750, CALLER))
        assert (await two.fs.lookup(home, b"d")).attributes.mode == 0o40750
        number = (await one.fs.lookup(home, b"d")).number
        await two.fs.lookup(home, b"first")
        await trio.sleep(1)

        private = (await one.fs.mkdir(home, b"private", 0o755, CALLER)).number
        await ahead(one, lambda: one.fs.mknod(private, b"file", FILE, 0, CALLER))
        with refused(Code.NOT_EMPTY):
            await two.fs.rmdir(home, b"private")
        await trio.sleep(1)
        await one.fs.setattr(private, Changes(mode=0o700))
        assert (await two.fs.getattr(private)).attributes.mode == 0o40700
        await one.fs.mknod(private, b"e", FILE, 0, CALLER)
        assert b"e" in [name for name, _ in await shown(two, private)]
        await one.fs.unlink(private, b"e")
        with refused(Code.NOT_FOUND):
            await two.fs.lookup(private, b"e")
        await one.fs.rename(private, b"file", private, b"other", 0)
        await two.fs.rename(private, b"other", number, b"moved", 0)
        with refused(Code.NOT_FOUND):
            await one.fs.lookup(private, b"other")
        await agree(world, one, two)
        assert one.fs.mistake_count == two.fs.mistake_count == 0


async def test_a_question_does_not_overtake(autojump_clock: trio.testing.MockClock) -> None:
    """Although transactions wait for a checkpoint and questions do not: a client sees what it did itself."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        world.journal.append_s = 0.5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two.fs.mkdir, ROOT_INODE, b"elsewhere", 0o755, CALLER)
            await trio.sleep(0.1)
            nursery.start_soon(world.leader.checkpoint)
            await trio.sleep(0.1)
            await ahead(one, partial(one.fs.mkdir, home, b"new", 0o755, CALLER))
            assert [name for name, _ in await shown(one, home)] == [b"first", b"new"]


@pytest.mark.parametrize("seed", range(5))
async def test_exactly_one_wins(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Of several that create a name exclusively at the same time, by clients that had the directory delegated in turns."""
    async with open_world(seed) as world:
        clients = [await world.mount(str(index)) for index in range(3)]
        home = await home_of(clients[0])
        for index in range(30):
            winners: list[int] = []
            codes: list[Code] = []

            async def try_it(
                which: int, name: bytes = b"n%d" % index, winners: list[int] = winners, codes: list[Code] = codes
            ) -> None:
                await trio.sleep(world.draw.choice([0, 0, 0.001, 0.01]))
                try:
                    await clients[which].fs.create(home, name, FILE, CALLER, writes=True, exclusive=True)
                    winners.append(which)
                except Refused as refusal:
                    codes.append(refusal.code)

            async with trio.open_nursery() as nursery:
                for which in range(3):
                    nursery.start_soon(try_it, which)
            assert (len(winners), codes) == (1, [Code.EXISTS] * 2)
            for _ in range(world.draw.randrange(4)):
                await clients[world.draw.randrange(3)].fs.mkdir(home, b"m%d.%d" % (index, _), 0o755, CALLER)
        await agree(world, *clients)
        assert not any(client.fs.mistake_count for client in clients)


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_a_quota_holds_from_the_beginning(autojump_clock: trio.testing.MockClock) -> None:
    """While a client makes files as fast as it can, a quota is set: none is told that a file was made which did not fit."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        made = 0
        codes: list[Code] = []

        async def make() -> None:
            nonlocal made
            while not codes:
                try:
                    await one.fs.mknod(home, b"f%d" % made, FILE, 0, CALLER)
                    made += 1
                except Refused as refusal:
                    codes.append(refusal.code)
                if made % 50 == 0:
                    await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make)
            await trio.sleep(0.05)
            await two.fs.link.mutate(SetQuota(home, 0, 3000))
        assert codes == [Code.QUOTA]
        assert made == 2999
        await one.fs.fsync_directory(home)
        assert one.fs.mistake_count == 0


@pytest.mark.parametrize("mover", ["one", "two"])
async def test_a_directory_moves_under_a_quota(mover: str, autojump_clock: trio.testing.MockClock) -> None:
    """What a client has delegated in its depth is asked for again: no more is made there than the quota allows."""
    async with open_world(1) as world:
        clients = {name: await world.mount(name) for name in ("one", "two")}
        one = clients["one"]
        limited = (await one.fs.mkdir(ROOT_INODE, b"limited", 0o755, CALLER)).number
        await one.fs.link.mutate(SetQuota(limited, 0, 5))
        await trio.sleep(2)
        home = await home_of(one)
        deep = (await one.fs.mkdir(home, b"deep", 0o755, CALLER)).number
        await ahead(one, lambda: one.fs.mkdir(deep, b"a", 0o755, CALLER))
        await clients[mover].fs.rename(ROOT_INODE, b"home", limited, b"home", 0)
        await one.fs.mkdir(deep, b"b", 0o755, CALLER)
        with refused(Code.QUOTA):
            await one.fs.mkdir(deep, b"c", 0o755, CALLER)
        with refused(Code.QUOTA):
            await one.fs.mkdir(home, b"c", 0o755, CALLER)
        assert one.fs.mistake_count == 0


async def test_out_of_space(autojump_clock: trio.testing.MockClock) -> None:
    """However long there is no space, nothing that was answered is lost, and others see nothing older."""
    async with open_world(1) as world:
        one, two = await world.mount("one"), await world.mount("two")
        home = await home_of(one)
        names = await filled(one, home, 10)
        world.journal.room_bytes = 0
        world.store.is_full = True
        await trio.sleep(0.5)
        assert unanswered(one) == 10
        lists: list[list[tuple[bytes, int]]] = []

        async def look() -> None:
            lists.append(await shown(two, home))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await trio.sleep(3 * 60)
            world.journal.room_bytes = None
            world.store.is_full = False
        assert len(lists[0]) == 11
        await one.fs.fsync_directory(home)
        assert {name for name, _ in await shown(two, home)} >= set(names)
        assert one.fs.mistake_count == 0
        await agree(world, one, two)


@pytest.mark.parametrize("restarts", [False, True])
async def test_refusals_for_want_of_space_reach_applications(restarts: bool, autojump_clock: trio.testing.MockClock) -> None:
    """While space runs out a client makes names: a few are done ahead and wait, then it is told; none of them is lost."""
    async with open_world(1) as world:
        one = await world.mount("one")
        home = await home_of(one)
        made: list[bytes] = []
        codes: list[Code] = []
        world.journal.reserve_bytes = 200_000
        world.journal.room_bytes = 220_000
        world.store.is_full = True
        for index in range(2000):
            name = b"d%d" % index
            try:
                with trio.move_on_after(5) as scope:
                    await one.fs.mkdir(home, name, 0o755, CALLER)
                    made.append(name)
            except Refused as refusal:
                codes.append(refusal.code)
                break
            if scope.cancelled_caught:
                break
            if index % 20 == 0:
                await trio.sleep(0.01)
        if restarts:
            one.port.cut(META)
            await trio.sleep(1)
        world.journal.room_bytes = None
        world.store.is_full = False
        await one.fs.fsync_directory(home)
        assert codes == [Code.NO_SPACE]
        assert {name for name, _ in await shown(one, home)} >= set(made)
        assert one.fs.mistake_count == 0


# --- open files -------------------------------------------------------------------------------------------------------


async def test_an_open_file_outlives_its_name(autojump_clock: trio.testing.MockClock) -> None:
    """Removed ahead while it is open: it is read and written until it is closed, and then it is gone; also if the connection that
    told of the open is lost before the removal is sent."""
    async with open_world(1) as world:
        one = await world.mount("one")
        home = await home_of(one)
        handle = await one.fs.create(home, b"file", FILE, CALLER, writes=True, exclusive=True)
        await one.fs.write(handle, 0, b"content")
        await one.fs.fsync(handle)
        await one.fs.release(handle)
        await trio.sleep(3)
        for cuts in (False, True):
            await one.fs.mknod(home, b"other", FILE, 0, CALLER)
            await one.fs.fsync_directory(home)
            number = (await one.fs.lookup(home, b"other")).number
            if cuts:
                one.port.blacken()
            handle = await one.fs.open(number, writes=True)
            await ahead(one, lambda: one.fs.unlink(home, b"other"))
            if cuts:
                await trio.sleep(0.1)
                one.port.whiten()
            await one.fs.write(handle, 0, b"more")
            await one.fs.fsync(handle)
            assert bytes(await one.fs.read(handle, 0, 100)) == b"more"
            await one.fs.release(handle)
            await trio.sleep(3)
            await world.leader.checkpoint()
            world.check()
            with refused(Code.STALE):
                await one.fs.getattr(number)
        assert one.fs.mistake_count == 0


async def test_what_is_told_is_not_overtaken(autojump_clock: trio.testing.MockClock) -> None:
    """A removal waits for the open before it, although there was no room to send that."""
    async with open_world(1) as world:
        one = await world.mount("one")
        home = await home_of(one)
        numbers = [(await one.fs.mknod(home, b"%d" % index, FILE, 0, CALLER)).number for index in range(600)]
        await one.fs.fsync_directory(home)
        handles = [await one.fs.open(number, writes=True) for number in numbers]
        for index in range(600):
            await one.fs.unlink(home, b"%d" % index)
        await one.fs.fsync_directory(home)
        for index, handle in enumerate(handles):
            await one.fs.write(handle, 0, b"%d" % index)
        await one.fs.sync()
        for index, handle in enumerate(handles):
            one.fs.check_errors(handle)
            assert bytes(await one.fs.read(handle, 0, 100)) == b"%d" % index
        assert one.fs.mistake_count == 0
