"""Random operations of several clients, ahead of the service and asked of it, are as if done one after the other."""

from functools import partial

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Changes
from tests.support.delegating import CALLER, FILE, LEASE_S, agree, home_of, shown
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world, until


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
