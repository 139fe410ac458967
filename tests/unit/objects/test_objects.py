"""Objects on nodes that fail in every way: enough copies or an error, right bytes or an error."""

from collections.abc import Callable

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, MIB
from ringfs.ring.parts import COPY
from ringfs.wire.messages.cluster import NODE_DOWN, ClusterMap
from tests.support.nodes import MemoryNode
from tests.support.refusals import refused
from tests.support.shelf import FAULTS, fail, mute, shelf, spoil_table

CONTENT = bytes(range(256)) * 4 * 256 * 3 + b"tail"


@pytest.mark.parametrize("copies", [1, 2, 3])
async def test_an_object_is_put_on_the_first_nodes_of_its_order(copies: int, autojump_clock: trio.testing.MockClock) -> None:
    """As many nodes as the class asks, those that come first; every node checked table and blocks."""
    async with shelf() as at:
        oid = await at.put(CONTENT, f"replica:{copies}")
        assert [oid in node.held for node in at.order(CONTENT)] == [index < copies for index in range(4)]


@pytest.mark.parametrize("first", [0, 1, 10])
@pytest.mark.parametrize("count", [1, 5, 100])
async def test_ranges_of_blocks(first: int, count: int, autojump_clock: trio.testing.MockClock) -> None:
    """Any blocks are the object's, to its end."""
    async with shelf() as at:
        oid = await at.put(CONTENT, "replica:2")
        for _ in range(2):
            found = await at.objects.read_blocks(oid, first, count)
            assert bytes(found) == CONTENT[first * BLOCK_BYTES : (first + count) * BLOCK_BYTES]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("known", [False, True])
async def test_reads_fail_over(fault: Callable[[MemoryNode], None], known: bool, autojump_clock: trio.testing.MockClock) -> None:
    """One bad copy costs nothing but time, whether the table is known or not; if all are bad, nothing is returned."""
    async with shelf() as at:
        oid = await at.put(CONTENT, "replica:2")
        reader = at.objects
        if not known:
            reader.places.forget(oid)
        first, second = at.order(CONTENT)[:2]
        fault(first)
        assert bytes(await reader.read_blocks(oid, 0, 16)) == CONTENT[:MIB]
        if not known:
            reader.places.forget(oid)
        fault(second)
        if fault is spoil_table and known:
            assert bytes(await reader.read_blocks(oid, 0, 16)) == CONTENT[:MIB]
        else:
            with refused(Code.IO):
                await reader.read_blocks(oid, 0, 16)


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
        oid = await at.put(CONTENT, "replica:2")
        for _ in range(2):
            assert _bytes(await at.fetched(oid, 1, 2)) == CONTENT[BLOCK_BYTES : 3 * BLOCK_BYTES]
        if not known:
            at.objects.places.forget(oid)
        first, second = at.order(CONTENT)[:2]
        fault(first)
        assert _bytes(await at.fetched(oid, 0, 16)) == CONTENT[:MIB]
        if fault is not spoil_table:
            fault(second)
            content = await at.fetched(oid, 0, 16)
            assert isinstance(content, Refused)
            assert content.code is Code.IO


async def test_every_block_of_a_range_is_verified(autojump_clock: trio.testing.MockClock) -> None:
    """A flipped bit in any block of a read is found, in small reads and in large ones; reads beside it are right."""
    async with shelf() as at:
        oid = await at.put(CONTENT, "replica:2")
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


@pytest.mark.parametrize("fault", [fail, mute])
async def test_puts_go_on_to_the_next_nodes(fault: Callable[[MemoryNode], None], autojump_clock: trio.testing.MockClock) -> None:
    """A node that does not take it is replaced by the next of the order."""
    async with shelf() as at:
        order = at.order(CONTENT)
        fault(order[0])
        oid = await at.put(CONTENT, "replica:2")
        assert [oid in node.held for node in order] == [False, True, True, False]
        assert bytes(await at.objects.read_blocks(oid, 0, 1)) == CONTENT[:BLOCK_BYTES]


async def test_nodes_that_are_down_come_last(autojump_clock: trio.testing.MockClock) -> None:
    """The map says who is down: others are asked first, for puts and for gets."""
    async with shelf() as at:
        order = at.order(CONTENT)
        down = next(row for row in at.map.nodes if row.name == order[0].name)
        down.state = NODE_DOWN
        at.objects.follow(ClusterMap(2, "", at.map.nodes))
        oid = await at.put(CONTENT, "replica:2")
        assert [oid in node.held for node in order] == [False, True, True, False]


async def test_full_nodes_and_too_few_nodes(autojump_clock: trio.testing.MockClock) -> None:
    """Without space on enough nodes: NO_SPACE, also if one has some. With too few that answer: IO, after a while, not never."""
    async with shelf() as at:
        for node in at.nodes.values():
            node.is_full = True
        with refused(Code.NO_SPACE):
            await at.put(CONTENT, "replica:2")
        at.order(CONTENT)[2].is_full = False
        with refused(Code.NO_SPACE):
            await at.put(CONTENT, "replica:2")
        for node in at.nodes.values():
            node.is_full, node.is_failed = False, True
        with trio.fail_after(300), refused(Code.IO):
            await at.put(CONTENT, "replica:2")


async def test_a_node_that_comes_back_in_time_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    """A put that finds too few nodes tries again for a while."""
    async with shelf(2) as at:
        at.network.unreachable.add("data1:7100")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.put, CONTENT, "replica:2")
            await trio.sleep(3)
            at.network.unreachable.clear()
        assert all(node.held for node in at.nodes.values())


async def test_a_connection_is_shared_and_opened_again(autojump_clock: trio.testing.MockClock) -> None:
    """One connection for each of puts and gets of a node, however many ask at once; a lost one is opened again."""
    async with shelf(2) as at:
        oid = await at.put(CONTENT, "replica:2")
        async with trio.open_nursery() as nursery:
            for first in range(10):
                nursery.start_soon(at.objects.read_blocks, oid, first, 1)
        gets = len(at.network.links)
        assert gets <= 4
        for address, _ in list(at.network.links):
            at.network.cut(address)
        assert bytes(await at.objects.read_blocks(oid, 3, 1)) == CONTENT[3 * BLOCK_BYTES : 4 * BLOCK_BYTES]
        await at.put(CONTENT[:500_000], "replica:2")
        assert len(at.network.links) <= 8
