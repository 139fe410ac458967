"""Nodes of different weights: the ring has another order for each width, and all go by that of the form an object is stored in."""

import random
from dataclasses import replace

import pytest
import trio.testing

from ringfs.base.limits import BLOCK_BYTES, KIB
from ringfs.objects.roll_call import locate
from ringfs.ring.classes import ErasureClass, parse_class
from ringfs.ring.parts import parts_of
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_DOWN
from tests.support.shelf import Shelf, id_of, shelf

WEIGHTS = (400, 50, 100, 150, 250, 60, 90, 300)


def weigh(at: Shelf) -> Ring:
    """Give the nodes these weights."""
    at.map.nodes = [replace(node, weight=weight) for node, weight in zip(at.map.nodes, WEIGHTS, strict=True)]
    at.follow()
    return Ring(at.map)


@pytest.mark.parametrize("default_class", ["replica:1", "replica:3", "ec:4+2"])
@pytest.mark.parametrize(("stored_class", "size_bytes"), [("replica:2", 100), ("ec:4+2", 300 * KIB), ("ec:4+2", 60 * KIB)])
async def test_parts_are_put_where_they_belong(
    default_class: str, stored_class: str, size_bytes: int, autojump_clock: trio.testing.MockClock
) -> None:
    """So nothing is to be healed; and they are found, whatever width a reader thinks of."""
    draw, widths_matter = random.Random(1), False
    async with shelf(len(WEIGHTS), default_class=default_class) as at:
        ring = weigh(at)
        for _ in range(20):
            content = draw.randbytes(size_bytes)
            new = await at.put_new(content, stored_class)
            form = parse_class(new.form)
            desired = ring.desired(new.object, form.width)
            parts = zip(desired, parts_of(form), strict=True)
            assert at.held(new.object) == {at.nodes[number].name: [str(part)] for number, part in parts}
            at.objects.places.forget(new.object)
            assert await at.whole(new.object, size_bytes) == content
            default = parse_class(default_class).width
            widths_matter |= set(desired) != set(ring.order(new.object, default)[: form.width]) or default == form.width
    assert widths_matter


async def test_fragments_are_expected_by_the_order_of_their_form(autojump_clock: trio.testing.MockClock) -> None:
    """Who finds one fragment knows where all others are, if nothing moved."""
    draw = random.Random(2)
    async with shelf(len(WEIGHTS), default_class="replica:1") as at:
        ring, places = weigh(at), at.objects.places
        for _ in range(20):
            oid = await at.put(draw.randbytes(300 * KIB), "ec:4+2")
            assert places._likely(oid, ErasureClass(4, 2)) == ring.desired(oid, 6)


async def asked_for_first_block(at: Shelf, content: bytes) -> tuple[int, int]:
    """How many gets, and how many nodes that were asked what they have, it takes a reader who knows nothing of the object, and is
    connected with all nodes, to have the block."""
    oid, nodes = id_of(content), at.nodes.values()
    await locate(at.objects.places, oid)
    at.objects.places.forget(oid)
    before = sum(node.get_count for node in nodes), sum(node.have_count for node in nodes)
    found = await at.fetched(oid, 0, 1)
    assert isinstance(found, memoryview)
    assert found == content[:BLOCK_BYTES]
    return sum(node.get_count for node in nodes) - before[0], sum(node.have_count for node in nodes) - before[1]


async def test_a_small_object_is_looked_for_where_its_copies_belong(autojump_clock: trio.testing.MockClock) -> None:
    """Once in hundreds of objects the first node by the class's width has no copy: then the first by that of copies is asked, not
    everybody."""
    async with shelf(len(WEIGHTS), default_class="ec:2+1") as at:
        ring, draw = weigh(at), random.Random(3)
        contents = (draw.randbytes(100) for _ in range(10_000))
        odd = [each for each in contents if ring.order(id_of(each), 3)[0] not in ring.desired(id_of(each), 2)]
        assert len(odd) > 3
        for content in odd:
            await at.put(content, "ec:2+1")
            assert await asked_for_first_block(at, content) == (2, 0)


@pytest.mark.parametrize(("size_bytes", "gets"), [(100, 1), (500 * KIB, 3)])
async def test_a_first_holder_that_is_down(size_bytes: int, gets: int, autojump_clock: trio.testing.MockClock) -> None:
    """Another one is asked: for a copy that is all; the holder of a fragment says where the others are, which are decoded."""
    async with shelf(len(WEIGHTS), default_class="ec:2+1") as at:
        weigh(at)
        content = random.Random(4).randbytes(size_bytes)
        await at.put(content, "ec:2+1")
        first = at.objects.places.order(id_of(content))[0]
        at.map.nodes = [replace(node, state=NODE_DOWN) if node.node == first.node else node for node in at.map.nodes]
        at.follow()
        assert await asked_for_first_block(at, content) == (gets, 0)


async def test_a_first_holder_that_lost_it(autojump_clock: trio.testing.MockClock) -> None:
    """Or whose disk failed: the others that should have it are asked one after the other, each once, and everybody last of all."""
    async with shelf(len(WEIGHTS), default_class="ec:2+1") as at:
        ring, content = weigh(at), random.Random(5).randbytes(100)
        oid = await at.put(content, "replica:3")
        likely = dict.fromkeys([ring.order(oid, 3)[0], *ring.desired(oid, 2)])
        for number in likely:
            at.nodes[number].held.pop(oid, None)
        assert at.held(oid)
        assert await asked_for_first_block(at, content) == (len(likely) + 2, len(WEIGHTS))
