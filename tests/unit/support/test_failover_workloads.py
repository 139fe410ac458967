"""Each workload of the simulation of failover finds nothing wrong with what its clients did, and what somebody else did to it."""

import random
from collections.abc import Awaitable, Callable

import pytest

from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, FileSystem
from tests.support.failover_files import read_file
from tests.support.failover_workloads import KINDS, Workload, workloads
from tests.support.world import Mounted, World, open_world

_CLIENTS = 2
_STEPS = 40


async def _work(work: Workload, clients: list[Mounted], draw: random.Random) -> None:
    for _ in range(_STEPS):
        index = draw.randrange(_CLIENTS)
        await work.step(index, clients[index].fs)


async def _prepared(world: World, kind: str) -> tuple[Workload, list[Mounted]]:
    work = workloads([kind], world.draw, _CLIENTS)[kind]
    clients = [await world.mount(f"client{index}") for index in range(_CLIENTS)]
    await work.prepare(clients[0].fs)
    await _work(work, clients, world.draw)
    return work, clients


async def _verified(world: World, work: Workload, clients: list[Mounted]) -> list[str]:
    for client in clients:
        await client.fs.sync()
    return await work.verify((await world.mount("reader")).fs)


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_wrong(kind: str, autojump_clock: object) -> None:
    """Also after a client crashed, whatever it had not synced."""
    async with open_world(1) as world:
        work, clients = await _prepared(world, kind)
        await clients[0].crash()
        work.crashed(0)
        clients[0] = await world.mount("another")
        await _work(work, clients, world.draw)
        assert await _verified(world, work, clients) == []


async def change_a_byte(fs: FileSystem) -> None:
    """Of a file, to what nobody wrote there."""
    directory = (await fs.lookup(ROOT_INODE, b"own0")).number
    name = (await fs.readdir(directory, 0, 10)).entries[0].name
    handle = await fs.open((await fs.lookup(directory, name)).number, writes=True)
    (byte,) = bytes(await fs.read(handle, 0, 1))
    await fs.write(handle, 0, bytes([byte ^ 1]))
    await fs.release(handle)


async def lose_a_file(fs: FileSystem) -> None:
    """A name is gone."""
    directory = (await fs.lookup(ROOT_INODE, b"own1")).number
    await fs.unlink(directory, (await fs.readdir(directory, 0, 10)).entries[0].name)


async def lose_a_name(fs: FileSystem) -> None:
    """All of those that clients left, so that some of their answers are wrong."""
    directory = (await fs.lookup(ROOT_INODE, b"names")).number
    for entry in (await fs.readdir(directory, 0, 100)).entries:
        await fs.unlink(directory, entry.name)


async def _rewrite(fs: FileSystem, name: bytes, content: bytes) -> None:
    await fs.unlink(ROOT_INODE, name)
    handle = await fs.create(ROOT_INODE, name, 0o100644, Caller(), writes=True, exclusive=True)
    await fs.write(handle, 0, content)
    await fs.release(handle)


def _with_lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[FileSystem], Awaitable[None]]:
    async def spoil(fs: FileSystem) -> None:
        lines = (await read_file(fs, ROOT_INODE, b"log")).splitlines(keepends=True)
        await _rewrite(fs, b"log", b"".join(change(lines)))

    return spoil


async def forget_an_increment(fs: FileSystem) -> None:
    """Somebody's was lost."""
    await _rewrite(fs, b"counter", b"%020d" % (int(await read_file(fs, ROOT_INODE, b"counter")) - 1))


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("files", change_a_byte, "does not hold what was written"),
        ("files", lose_a_file, "client 1 left"),
        ("names", lose_a_name, "no order explains"),
        ("log", _with_lines(lambda lines: lines[:3] + lines[4:]), "the log has"),
        ("log", _with_lines(lambda lines: [*lines, lines[-1]]), "the log has"),
        ("log", _with_lines(lambda lines: lines[1:] + lines[:1]), "the log has"),
        ("log", _with_lines(lambda lines: [*lines[:3], lines[3][:-3] + b"\0\0\n"]), "torn"),
        ("counter", forget_an_increment, "the counter says"),
    ],
    ids=["byte", "file", "names", "lost", "twice", "order", "torn", "counter"],
)
async def test_what_is_wrong_is_found(
    kind: str, spoil: Callable[[FileSystem], Awaitable[None]], said: str, autojump_clock: object
) -> None:
    """And said."""
    async with open_world(1) as world:
        work, clients = await _prepared(world, kind)
        await clients[0].fs.sync()
        spoiler = await world.mount("spoiler")
        await spoil(spoiler.fs)
        await spoiler.fs.sync()
        assert any(said in finding for finding in await _verified(world, work, clients))


async def test_what_was_synced_may_not_be_lost_in_a_crash(autojump_clock: object) -> None:
    """A file that is less than its last fsync is found at the next step of its client."""
    async with open_world(1) as world:
        work, clients = await _prepared(world, "files")
        for client in clients:
            await client.fs.sync()
        await clients[1].close()
        work.crashed(1)
        await lose_a_file(clients[0].fs)
        clients[1] = await world.mount("another")
        with pytest.raises(AssertionError, match="client 1 crashed, and has left"):
            await work.step(1, clients[1].fs)


async def test_two_holders_of_the_lock_are_found(autojump_clock: object) -> None:
    """As if it had been given to one more."""
    async with open_world(1) as world:
        work, clients = await _prepared(world, "counter")
        vars(work)["_holder"] = 0
        with pytest.raises(AssertionError, match="clients 0 and 1 both have the lock"):
            await work.step(1, clients[1].fs)
