"""Nodes of different weights: the ring has another order for each width, and all go by that of the form an object is stored in."""

import random
from dataclasses import replace

import pytest
import trio.testing

from ringfs.base.limits import KIB
from ringfs.ring.classes import ErasureClass, parse_class
from ringfs.ring.parts import parts_of
from ringfs.ring.placement import Ring
from tests.support.shelf import Shelf, shelf

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
