"""Planned moves agree with counting what really has to move, object by object."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from ringfs.base.limits import MIB
from ringfs.ring.classes import parse_class
from ringfs.ring.placement import Ring
from ringfs.ring.plan import Plan, plan_moves
from ringfs.wire.messages.cluster import STANDING_DRAINING, STANDING_LOST, ClusterMap, Node
from tests.support.one_object import node

OBJECTS = 10_000
SAMPLES = 5_000
RATE_BYTES_PER_S = 64 * MIB


def map_of(*nodes: Node) -> ClusterMap:
    """A map of these."""
    return ClusterMap(1, "cluster", list(nodes))


class Counted:
    """Objects of 1 MiB of some classes where they belong, each counted."""

    def __init__(self, before: ClusterMap, after: ClusterMap, classes: list[str]) -> None:
        draw = random.Random(1)
        self.stored_bytes: Counter[str] = Counter()
        self.used: Counter[int] = Counter()
        self.comes: Counter[int] = Counter()
        self.leaves: Counter[int] = Counter()
        old, new = Ring(before), Ring(after)
        for _ in range(OBJECTS):
            oid, text = draw.randbytes(20), draw.choice(classes)
            form = parse_class(text)
            was, becomes = set(old.desired(oid, form.width)), set(new.desired(oid, form.width))
            part_bytes = MIB // form.needed
            self.stored_bytes[text] += part_bytes * len(was)
            for number in was:
                self.used[number] += part_bytes
            for number in becomes - was:
                self.comes[number] += part_bytes
            for number in was - becomes:
                self.leaves[number] += part_bytes

    def plan(self, before: ClusterMap, after: ClusterMap) -> Plan:
        """What is planned from the sums alone."""
        return plan_moves(before, after, self.used, self.stored_bytes, RATE_BYTES_PER_S, SAMPLES)


EIGHT = [node(number) for number in range(1, 9)]
CHANGES = {
    "add two, one small": [*EIGHT, node(9), node(10, weight=50)],
    "drain one": [*EIGHT[:-1], replace(EIGHT[-1], standing=STANDING_DRAINING)],
    "lose one": [*EIGHT[:-1], replace(EIGHT[-1], standing=STANDING_LOST)],
    "double one": [*EIGHT[:-1], replace(EIGHT[-1], weight=200)],
    "add one and drain one": [node(9), replace(EIGHT[0], standing=STANDING_DRAINING), *EIGHT[1:]],
}


@pytest.mark.parametrize("nodes", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("classes", [["replica:2"], ["ec:4+2", "replica:3"]], ids=" ".join)
def test_the_plan_is_what_counting_gives(nodes: list[Node], classes: list[str]) -> None:
    """Bytes that come to each node and leave it, and what it holds afterwards: as counted over all objects, within 6 % of what is
    stored on a node; the shares add up."""
    before, after = map_of(*EIGHT), map_of(*nodes)
    counted = Counted(before, after, classes)
    plan = counted.plan(before, after)
    total_bytes = sum(counted.stored_bytes.values())
    slack_bytes = 0.06 * total_bytes / 8
    for each in plan.nodes:
        number = each.node
        assert each.used_bytes == counted.used[number]
        assert abs(each.in_bytes - counted.comes[number]) < slack_bytes
        assert abs(each.out_bytes - counted.leaves[number]) < slack_bytes
        held_bytes = counted.used[number] + counted.comes[number] - counted.leaves[number]
        assert abs(each.after_bytes - held_bytes) < 2 * slack_bytes
        assert abs(each.held_share - held_bytes / total_bytes) < 0.06 / 8
    moved_bytes = sum(counted.comes.values())
    assert abs(plan.moved_bytes - moved_bytes) < 0.06 * moved_bytes
    assert plan.moved_fraction == pytest.approx(plan.moved_bytes / total_bytes, rel=1e-3)
    workers = sum(each.weight_share > 0 for each in plan.nodes)
    assert plan.duration_s == pytest.approx(plan.moved_bytes / RATE_BYTES_PER_S / workers, rel=1e-3)
    assert sum(each.weight_share for each in plan.nodes) == pytest.approx(1)
    assert sum(each.held_share for each in plan.nodes) == pytest.approx(1)
    assert not plan.unmet


def test_nothing_changes() -> None:
    """The same map moves nothing; nor does an empty cluster."""
    same = map_of(*EIGHT)
    plan = plan_moves(same, same, dict.fromkeys(range(1, 9), MIB), {"ec:4+2": 8 * MIB}, RATE_BYTES_PER_S)
    assert (plan.moved_bytes, plan.moved_fraction, plan.duration_s) == (0, 0, 0)
    assert {each.after_bytes for each in plan.nodes} == {MIB}
    empty = plan_moves(same, map_of(), {}, {}, RATE_BYTES_PER_S)
    assert (empty.moved_bytes, empty.moved_fraction, empty.duration_s, len(empty.nodes)) == (0, 0, 0, 8)


def test_too_few_domains() -> None:
    """A class that the new map has no room for is named; what is stored of it is written anew as copies."""
    before, after = map_of(*EIGHT[:6]), map_of(*EIGHT[:5])
    plan = plan_moves(before, after, dict.fromkeys(range(1, 7), 100 * MIB), {"ec:4+2": 600 * MIB}, RATE_BYTES_PER_S)
    assert plan.unmet == ("ec:4+2",)
    assert plan.moved_bytes == pytest.approx(3 * 400 * MIB, rel=1e-6)


def test_more_domains() -> None:
    """What was stored as copies for want of domains is written anew as fragments."""
    before, after = map_of(*EIGHT[:5]), map_of(*EIGHT[:6])
    plan = plan_moves(before, after, {}, {"ec:4+2": 1200 * MIB}, RATE_BYTES_PER_S)
    assert plan.moved_bytes == pytest.approx(600 * MIB, rel=1e-6)
    assert sum(each.out_bytes for each in plan.nodes) == pytest.approx(1200 * MIB, rel=1e-6)
