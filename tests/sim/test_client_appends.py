"""Appends of several clients to one file: every one is whole, once, and in the order of its client."""

from typing import Any

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import CHUNK_BYTES, KIB
from ringfs.client.file_system import Caller, Changes, Handle
from ringfs.wire.messages.namespace import INLINE
from ringfs.wire.messages.queries import ReadExtents
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world

CALLER = Caller()


async def opened(client: Mounted) -> Handle:
    """A handle of the one file."""
    return await client.fs.create(ROOT_INODE, b"log", 0o100644, CALLER, writes=True, exclusive=False)


async def content(client: Mounted, size_bytes: int = 1 << 27, offset: int = 0) -> bytes:
    """What a new reader finds."""
    inode = await client.fs.lookup(ROOT_INODE, b"log")
    handle = await client.fs.open(inode.number, writes=False)
    found = bytes(await client.fs.read(handle, offset, size_bytes))
    await client.fs.release(handle)
    return found


def lines_of(found: bytes) -> dict[bytes, list[int]]:
    """The numbers of the lines of each writer, in order; each line must be whole."""
    numbers: dict[bytes, list[int]] = {}
    for line in found.splitlines():
        writer, number, fill = line.split(b" ")
        assert fill == writer * (len(fill) // len(writer)), line
        numbers.setdefault(writer, []).append(int(number))
    return numbers


def line(writer: bytes, number: int, fill: int) -> bytes:
    """One line, of which one can see whether it is whole."""
    return b"%s %d %s\n" % (writer, number, writer * fill)


async def append_all(client: Mounted, handle: Handle, writer: bytes, sizes: list[int]) -> None:
    """Lines of those sizes, one after the other."""
    for number, fill in enumerate(sizes):
        data = line(writer, number, fill)
        assert await client.fs.write(handle, 0, data, appends=True) == len(data)


async def test_at_once(autojump_clock: Any) -> None:
    """Three clients with two writers each, small lines and large ones: none is lost, torn or out of its order."""
    async with open_world(1) as world:
        clients = [await world.mount(str(index)) for index in range(3)]
        async with trio.open_nursery() as nursery:
            for index in range(6):
                sizes = [world.draw.choice([1, 10, 3000, 20 * KIB, 100 * KIB]) for _ in range(30)]
                handle = await opened(clients[index % 3])
                nursery.start_soon(append_all, clients[index % 3], handle, b"%c" % (65 + index), sizes)
        found = lines_of(await content(clients[0]))
        assert found == {b"%c" % (65 + index): list(range(30)) for index in range(6)}
        world.check()


async def test_alone_needs_no_transactions(autojump_clock: Any) -> None:
    """While nobody else writes the file, appends are dirty bytes; when another one comes and goes, they are so again."""
    async with open_world(2) as world:
        one, two = await world.mount("one"), await world.mount("two")
        a = await opened(one)
        await append_all(one, a, b"A", [10] * 50)
        b = await opened(two)
        shared = world.leader.applied
        await append_all(one, a, b"B", [10] * 10)
        assert world.leader.applied >= shared + 10
        await two.fs.release(b)
        await trio.sleep(3)
        await append_all(one, a, b"C", [10])
        alone = world.leader.applied
        await append_all(one, a, b"D", [10] * 50)
        assert world.leader.applied == alone
        assert lines_of(await content(two)) == {b"A": [*range(50)], b"B": [*range(10)], b"C": [0], b"D": [*range(50)]}


async def test_after_others_dirty_bytes(autojump_clock: Any) -> None:
    """An append comes behind what another client has written and not committed, and behind one's own."""
    async with open_world(3) as world:
        one, two = await world.mount("one"), await world.mount("two")
        a, b, plain = await opened(one), await opened(two), await opened(two)
        await two.fs.write(plain, 0, b"x" * 100)
        await one.fs.write(a, 0, b"one", appends=True)
        assert await content(one) == b"x" * 100 + b"one"
        await two.fs.write(plain, 103, b"y" * 100)
        await two.fs.write(b, 0, b"two", appends=True)
        assert await content(one) == b"x" * 100 + b"one" + b"y" * 100 + b"two"


async def test_pages_stay_in_their_place(autojump_clock: Any) -> None:
    """A changed page of a shared map that comes through a handle that also appends goes where it belongs."""
    async with open_world(4) as world:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        await one.fs.write(a, 0, b"x" * 100, appends=True)
        await two.fs.write(b, 50, b"page")
        assert await content(one) == b"x" * 50 + b"page" + b"x" * 46


async def test_across_chunks(autojump_clock: Any) -> None:
    """Appends around a chunk's end, inline and as objects, by two clients."""
    async with open_world(5) as world:
        clients = [await world.mount(name) for name in "ab"]
        handles = [await opened(client) for client in clients]
        start = CHUNK_BYTES - 30 * KIB
        await clients[0].fs.setattr(handles[0].inode.number, Changes(size_bytes=start))
        expected = b""
        for turn, size in enumerate([20 * KIB, 9 * KIB, 3 * KIB, 40 * KIB]):
            data = bytes([65 + turn]) * size
            await clients[turn % 2].fs.write(handles[turn % 2], 0, data, appends=True)
            expected += data
        assert await content(clients[0], offset=start) == expected
        world.check()


async def test_inline_bytes_are_moved(autojump_clock: Any) -> None:
    """Many small appends neither fill a chunk with inline bytes nor with extents, while several append."""
    async with open_world(6) as world:
        clients = [await world.mount(name) for name in "abc"]
        handles = [await opened(client) for client in clients]
        async with trio.open_nursery() as nursery:
            for index, client in enumerate(clients):
                nursery.start_soon(append_all, client, handles[index], b"%c" % (65 + index), [900] * 250)
        found, _ = await clients[0].fs._coherence.ask(ReadExtents(handles[0].inode.number, 0, 1))
        assert len(found.extents) < 40
        assert sum(extent.length for extent in found.extents if extent.object_offset == INLINE) <= 64 * KIB
        assert lines_of(await content(clients[1])) == {writer: list(range(250)) for writer in (b"A", b"B", b"C")}
        world.check()


async def test_in_flight_when_alone_again(autojump_clock: Any) -> None:
    """Appends that are on their way when the file becomes leased again, and others that come then, do not meet."""
    async with open_world(7) as world:
        one, two = await world.mount("one"), await world.mount("two")
        a, b = await opened(one), await opened(two)
        await two.fs.write(b, 0, b"Z 0 Z\n", appends=True)
        await two.fs.release(b)
        world.journal.append_s = 0.2

        async def writer(index: int) -> None:
            for number in range(8):
                await trio.sleep(world.draw.random())
                data = line(b"%c" % (65 + index), number, world.draw.choice([5, 30 * KIB]))
                await one.fs.write(a, 0, data, appends=True)

        async with trio.open_nursery() as nursery:
            for index in range(20):
                nursery.start_soon(writer, index)
        found = lines_of(await content(two))
        assert found == {b"Z": [0]} | {b"%c" % (65 + index): list(range(8)) for index in range(20)}


@pytest.mark.parametrize("seed", seeds(4))
async def test_under_faults(seed: int, autojump_clock: Any) -> None:
    """Connections are cut and the metadata server restarted: what was appended without an error is there once, in its order."""
    async with open_world(seed) as world:
        clients = [await world.mount(str(index)) for index in range(3)]
        written: dict[bytes, list[int]] = {}
        unknown: set[tuple[bytes, int]] = set()

        async def writer(index: int) -> None:
            client, name = clients[index % 3], b"%c" % (65 + index)
            handle = await opened(client)
            for number in range(40):
                await trio.sleep(world.draw.random() / 5)
                try:
                    await client.fs.write(handle, 0, line(name, number, world.draw.choice([10, 2000, 20 * KIB])), appends=True)
                    written.setdefault(name, []).append(number)
                except Refused as refused:
                    if refused.code not in (Code.IO, Code.NO_SESSION):
                        raise
                    unknown.add((name, number))
            await client.fs.fsync(handle)

        async with trio.open_nursery() as nursery:
            for index in range(6):
                nursery.start_soon(writer, index)
            await disturb(world, clients)
        found = lines_of(await content(clients[0]))
        for name, numbers in found.items():
            assert numbers == sorted(set(numbers)), f"seed {seed}"
            assert [number for number in numbers if (name, number) not in unknown] == written[name], f"seed {seed}"
        assert found.keys() == written.keys()
        world.check()


async def disturb(world: World, clients: list[Mounted]) -> None:
    """Some faults of the metadata service and the way to it."""
    for _ in range(8):
        await trio.sleep(world.draw.random() * 2)
        if world.draw.random() < 0.3:
            await world.restart_meta()
        else:
            world.draw.choice(clients).port.cut(META)
