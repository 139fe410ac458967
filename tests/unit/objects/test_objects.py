"""Objects on nodes that fail in every way: enough copies or an error, right bytes or an error."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, KIB, MIB
from ringfs.objects.nodes import DataNodes
from ringfs.objects.objects import Objects
from ringfs.ring.parts import COPY
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_DOWN, NODE_UP, ClusterMap, Node
from tests.support.meta_doubles import KEY, TrioClock
from tests.support.nodes import MemoryNode
from tests.support.refusals import refused
from tests.support.streams import Network

CONTENT = bytes(range(256)) * 4 * 256 * 3 + b"tail"


class Shelf:
    """Objects over some nodes."""

    def __init__(self, objects: Objects, nodes: dict[int, MemoryNode], map: ClusterMap, network: Network) -> None:
        self.objects = objects
        self.nodes = nodes
        self.map = map
        self.network = network

    def order(self, content: bytes) -> list[MemoryNode]:
        """The nodes in the order of the ring for that object."""
        oid = object_id(len(content), block_table(content))
        return [self.nodes[number] for number in Ring(self.map).order(oid)]

    async def put(self, content: bytes = CONTENT, stored_class: str = "replica:2") -> bytes:
        """Put it in odd pieces; its id."""
        view = memoryview(content)
        new = await self.objects.put([view[:1000], view[1000 : 300 * KIB], view[300 * KIB :]], stored_class)
        assert (new.object, new.size_bytes) == (object_id(len(content), block_table(content)), len(content))
        return new.object


async def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return function(*arguments)


@asynccontextmanager
async def shelf(count: int = 4) -> AsyncIterator[Shelf]:
    """Objects over `count` nodes."""
    network, clock = Network(), TrioClock()
    nodes = {}
    async with trio.open_nursery() as nursery:
        for number in range(1, count + 1):
            node = MemoryNode(f"data{number}", f"data{number}:7100", str(uuid.UUID(int=number)), clock, KEY)
            nodes[number] = node
            await nursery.start(network.serve, node, KEY, node.address)
        rows = [Node(n, each.uuid, each.name, each.address, each.name, 100, NODE_UP) for n, each in nodes.items()]
        map = ClusterMap(1, "", rows)
        objects = Objects(DataNodes(KEY, "test", nursery, network.dial), _here, clock)
        objects.follow(map)
        yield Shelf(objects, nodes, map, network)
        nursery.cancel_scope.cancel()


def _spoil_content(node: MemoryNode) -> None:
    node.corrupts_content = True


def _spoil_table(node: MemoryNode) -> None:
    node.corrupts_table = True


def _shorten(node: MemoryNode) -> None:
    node.cuts_content = True


def _fail(node: MemoryNode) -> None:
    node.is_failed = True


def _empty(node: MemoryNode) -> None:
    node.held.clear()


def _mute(node: MemoryNode) -> None:
    node.is_mute = True


FAULTS = [_spoil_content, _spoil_table, _shorten, _fail, _empty, _mute]


@pytest.mark.parametrize("copies", [1, 2, 3])
async def test_an_object_is_put_on_the_first_nodes_of_its_order(copies: int, autojump_clock: trio.testing.MockClock) -> None:
    """As many nodes as the class asks, those that come first; every node checked table and blocks."""
    async with shelf() as at:
        oid = await at.put(stored_class=f"replica:{copies}")
        assert [oid in node.held for node in at.order(CONTENT)] == [index < copies for index in range(4)]


@pytest.mark.parametrize("first", [0, 1, 10])
@pytest.mark.parametrize("count", [1, 5, 100])
async def test_ranges_of_blocks(first: int, count: int, autojump_clock: trio.testing.MockClock) -> None:
    """Any blocks are the object's, to its end."""
    async with shelf() as at:
        oid = await at.put()
        for _ in range(2):
            found = await at.objects.read_blocks(oid, first, count)
            assert bytes(found) == CONTENT[first * BLOCK_BYTES : (first + count) * BLOCK_BYTES]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("known", [False, True])
async def test_reads_fail_over(fault: Callable[[MemoryNode], None], known: bool, autojump_clock: trio.testing.MockClock) -> None:
    """One bad copy costs nothing but time, whether the table is known or not; if all are bad, nothing is returned."""
    async with shelf() as at:
        oid = await at.put()
        reader = at.objects
        if not known:
            reader.places.forget(oid)
        first, second = at.order(CONTENT)[:2]
        fault(first)
        assert bytes(await reader.read_blocks(oid, 0, 16)) == CONTENT[:MIB]
        if not known:
            reader.places.forget(oid)
        fault(second)
        if fault is _spoil_table and known:
            assert bytes(await reader.read_blocks(oid, 0, 16)) == CONTENT[:MIB]
        else:
            with refused(Code.IO):
                await reader.read_blocks(oid, 0, 16)


async def _fetched(objects: Objects, oid: bytes, first: int, count: int) -> memoryview | Refused:
    """What fetch_soon hands on."""
    found: list[memoryview | Refused] = []
    arrived = trio.Event()

    def on_content(content: memoryview | Refused) -> None:
        found.append(content)
        arrived.set()

    objects.fetch_soon(oid, first, count, on_content)
    await arrived.wait()
    await trio.testing.wait_all_tasks_blocked()
    (content,) = found
    return content


def _bytes(content: memoryview | Refused) -> bytes:
    assert not isinstance(content, Refused)
    return bytes(content)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("known", [False, True])
async def test_fetches_without_a_task_fail_over(
    fault: Callable[[MemoryNode], None], known: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """fetch_soon calls back exactly once: with verified bytes while any copy is good, connected or not, else with the refusal."""
    async with shelf() as at:
        oid = await at.put()
        for _ in range(2):
            assert _bytes(await _fetched(at.objects, oid, 1, 2)) == CONTENT[BLOCK_BYTES : 3 * BLOCK_BYTES]
        if not known:
            at.objects.places.forget(oid)
        first, second = at.order(CONTENT)[:2]
        fault(first)
        assert _bytes(await _fetched(at.objects, oid, 0, 16)) == CONTENT[:MIB]
        if fault is not _spoil_table:
            fault(second)
            content = await _fetched(at.objects, oid, 0, 16)
            assert isinstance(content, Refused)
            assert content.code is Code.IO


async def test_every_block_of_a_range_is_verified(autojump_clock: trio.testing.MockClock) -> None:
    """A flipped bit in any block of a read is found, in small reads and in large ones; reads beside it are right."""
    async with shelf() as at:
        oid = await at.put()
        first, second = at.order(CONTENT)[:2]
        second.held.clear()
        holding = first.held[oid][COPY]
        for bad in range(12):
            spoiled = bytearray(holding.content)
            spoiled[bad * BLOCK_BYTES + 77] ^= 4
            first.held[oid][COPY] = holding._replace(content=bytes(spoiled))
            for start, count in ((bad, 1), (max(0, bad - 2), 4), (0, 13)):
                with refused(Code.IO):
                    await at.objects.read_blocks(oid, start, count)
            assert bytes(await at.objects.read_blocks(oid, bad + 1, 1)) == CONTENT[(bad + 1) * BLOCK_BYTES :][:BLOCK_BYTES]


@pytest.mark.parametrize("fault", [_fail, _mute])
async def test_puts_go_on_to_the_next_nodes(fault: Callable[[MemoryNode], None], autojump_clock: trio.testing.MockClock) -> None:
    """A node that does not take it is replaced by the next of the order."""
    async with shelf() as at:
        order = at.order(CONTENT)
        fault(order[0])
        oid = await at.put()
        assert [oid in node.held for node in order] == [False, True, True, False]
        assert bytes(await at.objects.read_blocks(oid, 0, 1)) == CONTENT[:BLOCK_BYTES]


async def test_nodes_that_are_down_come_last(autojump_clock: trio.testing.MockClock) -> None:
    """The map says who is down: others are asked first, for puts and for gets."""
    async with shelf() as at:
        order = at.order(CONTENT)
        down = next(row for row in at.map.nodes if row.name == order[0].name)
        down.state = NODE_DOWN
        at.objects.follow(ClusterMap(2, "", at.map.nodes))
        oid = await at.put()
        assert [oid in node.held for node in order] == [False, True, True, False]


async def test_full_nodes_and_too_few_nodes(autojump_clock: trio.testing.MockClock) -> None:
    """Without space on enough nodes: NO_SPACE, also if one has some. With too few that answer: IO, after a while, not never."""
    async with shelf() as at:
        for node in at.nodes.values():
            node.is_full = True
        with refused(Code.NO_SPACE):
            await at.put()
        at.order(CONTENT)[2].is_full = False
        with refused(Code.NO_SPACE):
            await at.put()
        for node in at.nodes.values():
            node.is_full, node.is_failed = False, True
        with trio.fail_after(300), refused(Code.IO):
            await at.put()


async def test_a_node_that_comes_back_in_time_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    """A put that finds too few nodes tries again for a while."""
    async with shelf(2) as at:
        at.network.unreachable.add("data1:7100")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.put)
            await trio.sleep(3)
            at.network.unreachable.clear()
        assert all(node.held for node in at.nodes.values())


async def test_a_connection_is_shared_and_opened_again(autojump_clock: trio.testing.MockClock) -> None:
    """One connection for each of puts and gets of a node, however many ask at once; a lost one is opened again."""
    async with shelf(2) as at:
        oid = await at.put()
        async with trio.open_nursery() as nursery:
            for first in range(10):
                nursery.start_soon(at.objects.read_blocks, oid, first, 1)
        gets = len(at.network.links)
        assert gets <= 4
        for address, _ in list(at.network.links):
            at.network.cut(address)
        assert bytes(await at.objects.read_blocks(oid, 3, 1)) == CONTENT[3 * BLOCK_BYTES : 4 * BLOCK_BYTES]
        await at.put(CONTENT[:500_000])
        assert len(at.network.links) <= 8
