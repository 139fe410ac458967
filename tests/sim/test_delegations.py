"""What a client does ahead of the service: others see it at once; it happens once and in order whatever is lost; what cannot happen
any more is said at fsync."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import LEASE_NS, SESSION_TIMEOUT_NS
from ringfs.client.file_system import Caller, Changes
from ringfs.wire.messages.quota import SetQuota
from tests.support.refusals import refused
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world, until

CALLER = Caller()
LEASE_S = LEASE_NS / 1e9
FILE = 0o100644


async def shown(client: Mounted, number: int) -> list[tuple[bytes, int]]:
    """A directory's names and inode numbers as the client lists them."""
    page = await client.fs.readdir(number, 0, 1000)
    return sorted((entry.name, entry.attributes.inode) for entry in page.entries)


async def home_of(client: Mounted) -> int:
    """A directory of the client's own, which it has delegated; numbers for new inodes are there too."""
    home = (await client.fs.mkdir(ROOT_INODE, b"home", 0o755, CALLER)).number
    await client.fs.mkdir(home, b"first", 0o755, CALLER)
    await trio.sleep(0.1)
    return home


def unanswered(client: Mounted) -> int:
    """How many transactions were done ahead and are not durable."""
    return len(client.fs.link._ahead)


async def ahead(client: Mounted, act: Callable[[], Awaitable[object]]) -> None:
    """Do something that must be done ahead."""
    before = unanswered(client)
    await act()
    assert unanswered(client) > before, "asked, not done ahead"


async def filled(client: Mounted, home: int, count: int = 5) -> list[bytes]:
    """New directories, made ahead."""
    names = [b"d%d" % index for index in range(count)]
    for name in names:
        await ahead(client, partial(client.fs.mkdir, home, name, 0o755, CALLER))
    return names


async def agree(world: World, *clients: Mounted) -> None:
    """All clients list the same trees, and the namespace is right."""
    todo: list[int] = [ROOT_INODE]
    while todo:
        number = todo.pop()
        lists = [await shown(client, number) for client in clients]
        assert all(each == lists[0] for each in lists)
        for name, child in lists[0]:
            # Without atime: each tells of what it read when it closes.
            found = [replace((await client.fs.lookup(number, name)).merged(), atime_ns=0) for client in clients]
            assert all(each == found[0] for each in found)
            assert found[0].inode == child
            if found[0].mode & 0o170000 == 0o040000:
                todo.append(found[0].inode)
    world.handler.live.leases.check_invariants()
    await world.leader.checkpoint()
    world.check()


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


# --- faults -----------------------------------------------------------------------------------------------------------


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


# --- random -----------------------------------------------------------------------------------------------------------


class Family:
    """Several clients that make, remove and rename in directories of which some are used in turns by all, others by one alone."""

    def __init__(self, world: World, clients: list[Mounted]) -> None:
        self.world = world
        self.draw = world.draw
        self.clients = clients
        #: Directory → its names → inode numbers, as they must be; who has its turn.
        self.trees: dict[int, dict[bytes, int]] = {}
        self.turns: dict[int, trio.Lock] = {}
        self.private: list[list[int]] = [[] for _ in clients]
        self.shared: list[int] = []

    async def begin(self) -> None:
        """Two shared directories and two of each client."""
        for index, client in enumerate(self.clients):
            for which in range(2):
                number = int((await client.fs.mkdir(ROOT_INODE, b"p%d.%d" % (index, which), 0o755, CALLER)).number)
                self.private[index].append(number)
                self.trees[number], self.turns[number] = {}, trio.Lock()
        for which in range(2):
            number = int((await self.clients[0].fs.mkdir(ROOT_INODE, b"s%d" % which, 0o755, CALLER)).number)
            self.shared.append(number)
            self.trees[number], self.turns[number] = {}, trio.Lock()

    async def act(self, index: int, steps: int) -> None:
        """So many operations of one client, each checked against what must be there."""
        for _ in range(steps):
            await trio.sleep(self.draw.choice([0, 0, 0, 0, 0.003, 0.3]))
            pool = self.shared if self.draw.random() < 0.4 else self.private[index]
            number, other = self.draw.choice(pool), self.draw.choice(pool)
            async with self.turns[min(number, other)]:
                if other == number:
                    await self.step(index, number, number)
                else:
                    async with self.turns[max(number, other)]:
                        await self.step(index, number, other)

    async def step(self, index: int, number: int, other: int) -> None:
        """One operation, and its refusal if it must be refused."""
        fs, tree, target = self.clients[index].fs, self.trees[number], self.trees[other]
        name, new = b"n%d" % self.draw.randrange(6), b"n%d" % self.draw.randrange(6)
        expected: Code | None = None
        try:
            match self.draw.randrange(7):
                case 0 | 1:
                    expected = Code.EXISTS if name in tree else None
                    handle = await fs.create(number, name, FILE, CALLER, writes=True, exclusive=True)
                    tree[name] = int(handle.inode.number)
                    if self.draw.random() < 0.3:
                        await fs.write(handle, 0, b"content")
                    await fs.release(handle)
                case 2:
                    expected = None if name in tree else Code.NOT_FOUND
                    await fs.unlink(number, name)
                    del tree[name]
                case 3:
                    expected = None if name in tree else Code.NOT_FOUND
                    await fs.rename(number, name, other, new, 0)
                    if target.get(new) != tree[name]:
                        target[new] = tree.pop(name)
                case 4:
                    expected = None if name in tree else Code.NOT_FOUND
                    assert int((await fs.lookup(number, name)).number) == tree[name]
                case 5:
                    assert await shown(self.clients[index], number) == sorted(tree.items())
                case _:
                    if name in tree:
                        mode = self.draw.choice([0o600, 0o644])
                        await fs.setattr(tree[name], Changes(mode=mode))
                        assert (await fs.getattr(tree[name])).attributes.mode == 0o100000 | mode
                    if self.draw.random() < 0.3:
                        await fs.fsync_directory(number)
        except Refused as refusal:
            if refusal.code is not expected:
                raise
        else:
            assert expected is None


async def disturb(world: World, clients: list[Mounted], *, longest_s: float) -> None:
    """Faults for ever; nobody is away for longer than longest_s."""
    draw = world.draw
    while True:
        await trio.sleep(draw.uniform(0.05, 4))
        port = draw.choice(clients).port
        match draw.randrange(4):
            case 0:
                port.cut(META)
            case 1:
                port.blacken()
                await trio.sleep(draw.uniform(0, longest_s))
                port.whiten()
            case 2:
                await world.restart_meta(draw.uniform(0, 1))
            case 3:
                for link in port.links(META):
                    link.delay(draw.choice([0.0, 0.004, 0.1]))


@pytest.mark.parametrize("seed", seeds(6))
async def test_random_operations_are_as_if_one_after_the_other(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """While nobody is away for longer than its lease, every answer is the one that the order of the answers asks for."""
    async with open_world(seed) as world:
        world.journal.append_s = world.draw.choice([0.0, 0.003, 0.03])
        clients = [await world.mount(str(index)) for index in range(3)]
        family = Family(world, clients)
        await family.begin()
        async with trio.open_nursery() as faults:
            faults.start_soon(partial(disturb, world, clients, longest_s=LEASE_S / 4))
            async with trio.open_nursery() as nursery:
                for index in range(3):
                    nursery.start_soon(family.act, index, 150)
            with trio.CancelScope(shield=True):
                await until(lambda: world.meta_is_up)
                faults.cancel_scope.cancel()
        for client in clients:
            client.port.whiten()
        if not world.meta_is_up:
            await world.start_meta()
        for number, tree in family.trees.items():
            for client in clients:
                assert await shown(client, number) == sorted(tree.items())
        await agree(world, *clients)
        assert not any(client.fs.mistake_count for client in clients)


@pytest.mark.parametrize("seed", seeds(6))
async def test_asked_and_done_ahead_at_once(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """What must be asked, of inodes that other tasks of the client change ahead meanwhile: no answer is another than was given."""
    async with open_world(seed) as world:
        draw = world.draw
        world.journal.append_s = draw.choice([0.0, 0.003, 0.03])
        one, two = await world.mount("one"), await world.mount("two")
        fs = one.fs
        home = await home_of(one)
        other = int((await fs.mkdir(home, b"other", 0o755, CALLER)).number)
        handles = [await fs.create(home, b"f%d" % index, FILE, CALLER, writes=True, exclusive=True) for index in range(3)]

        async def act(serial: int) -> None:
            handle, second = draw.choice(handles), draw.choice(handles)
            number, name = int(handle.inode.number), b"%d" % serial
            place, to = draw.choice([home, other]), draw.choice([home, other])
            match draw.randrange(13):
                case 0 | 1:
                    await fs.setattr(number, Changes(mode=draw.choice([0o600, 0o644])))
                case 2:
                    await fs.setattr(place, Changes(mode=0o700))
                case 3:
                    await fs.mkdir(place, name, 0o755, CALLER)
                    await fs.rename(place, name, to, name + b"'", 0)
                case 4:
                    await fs.link_to(number, place, name)
                    await fs.unlink(place, name)
                case 5:
                    await fs.setxattr(number, b"user.a", name)
                case 6:
                    await fs.write(handle, draw.randrange(9000), b"x" * draw.randrange(1, 9000))
                case 7:
                    await fs.ranges.allocate(handle, draw.choice([0, 3]), draw.randrange(9000), 5000)
                case 8:
                    await fs.ranges.copy(handle, 0, second, 100_000, 3000)
                case 9:
                    await fs.ranges.clone(number, place, name)
                    await fs.unlink(place, name)
                case 10:
                    made = await fs.tmpfile(place, 0o644, CALLER, is_linkable=True)
                    await fs.write(made, 0, b"content")
                    await fs.link_to(int(made.inode.number), place, name)
                    await fs.release(made)
                    await fs.rename(place, name, home, b"taken", 0)
                case 11:
                    await fs.setattr(number, Changes(size_bytes=draw.randrange(5000)))
                case 12:
                    made = await fs.create(place, name, FILE, CALLER, writes=True, exclusive=True)
                    await fs.write(made, 0, b"content")
                    await fs.rename(place, name, home, b"taken", 0)
                    await fs.fsync(made)
                    await fs.release(made)

        for round_ in range(12):
            async with trio.open_nursery() as nursery:
                for index in range(12):
                    nursery.start_soon(act, 100 * round_ + index)
            if draw.random() < 0.3:
                await shown(two, draw.choice([home, other]))
            await trio.sleep(draw.choice([0, 0.01, 2]))
        await fs.sync()
        for handle in handles:
            fs.check_errors(handle)
        await agree(world, one, two)
        assert fs.mistake_count == 0
