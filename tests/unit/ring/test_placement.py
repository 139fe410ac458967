"""Placement: balanced by weight, minimal in movement, distinct domains first, and the same bytes for ever."""

import dataclasses
import random
import uuid
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.base.checksums import plain_digest
from ringfs.ring.placement import Ring, _tokens
from ringfs.ring.shares import shares_of
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    NODE_UP,
    STANDING_DRAINING,
    STANDING_IN,
    STANDING_LOST,
    STANDING_MAINTENANCE,
    STANDING_OUT,
    ClusterMap,
    Node,
)

OBJECTS = 100_000


def node(number: int, weight: int = 100, domain: str | None = None, state: int = NODE_UP) -> Node:
    """Node `number` of every test, with a uuid that depends on nothing else."""
    disk = uuid.UUID(int=number, version=4)
    return Node(number, str(disk), f"data{number}", f"127.0.0.1:{7000 + number}", domain or f"d{number}", weight, state)


def ring(*nodes: Node) -> Ring:
    """The ring of a map with these nodes."""
    return Ring(ClusterMap(1, "cluster", list(nodes)))


def racks(*counts: int, weights: tuple[int, ...] = (100,)) -> list[Node]:
    """Failure domains of so many nodes, which have these weights in turn."""
    domains = [f"rack{rack}" for rack, count in enumerate(counts) for _ in range(count)]
    return [node(number, weights[number % len(weights)], domain) for number, domain in enumerate(domains, 1)]


def oids(seed: int, count: int) -> list[bytes]:
    """Random object ids."""
    draw = random.Random(seed)
    return [draw.randbytes(20) for _ in range(count)]


def machines(*weights: int) -> list[Node]:
    """Failure domains of one node each."""
    return [node(number, weight) for number, weight in enumerate(weights, 1)]


MAPS = {
    "3 equal": machines(100, 100, 100),
    "3 different": machines(100, 150, 300),
    "4 doubling": machines(50, 100, 200, 400),
    "5, one nearly too heavy": machines(100, 100, 100, 100, 195),
    "7 rising": machines(*range(60, 200, 20)),
    "12 equal": machines(*[100] * 12),
    "12 different": machines(*[80, 100, 120, 160] * 3),
    "small numbers": machines(1, 2, 3, 3),
    "large numbers": machines(10_000, 4000, 5000, 9000),
    "racks of 2, 3 and 4": racks(2, 3, 4),
    "racks of 1 to 4": racks(1, 2, 3, 4, 2, 3, 2),
    "mixed racks": racks(3, 3, 4, 3, 3, 4, weights=(80, 100, 120, 160)),
}


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("3 equal", 2),
        ("3 different", 2),
        ("4 doubling", 3),
        ("5, one nearly too heavy", 2),
        ("7 rising", 1),
        ("7 rising", 6),
        ("12 equal", 6),
        ("12 different", 2),
        ("12 different", 6),
        ("small numbers", 2),
        ("large numbers", 3),
        ("racks of 2, 3 and 4", 2),
        ("racks of 1 to 4", 3),
        ("mixed racks", 3),
    ],
)
def test_parts_are_balanced_by_weight(name: str, width: int) -> None:
    """Of the parts of 100,000 objects every node holds its share within 5 %, and is first of as many as its weight says."""
    nodes, held, first = MAPS[name], Counter[int](), Counter[int]()
    placed, shares = ring(*nodes), shares_of(nodes, width)
    for oid in oids(1, OBJECTS):
        desired = placed.desired(oid, width)
        held.update(desired)
        first[desired[0]] += 1
    for each in nodes:
        assert held[each.node] == pytest.approx(held.total() * shares[each.node], rel=0.05), f"node {each.node}"
        by_weight = OBJECTS * each.weight / sum(other.weight for other in nodes)
        assert first[each.node] == pytest.approx(by_weight, rel=0.05), f"node {each.node}"


def test_a_new_node_takes_its_share_and_moves_nothing_else() -> None:
    """Without the new node, every order is what it was before; it becomes first for its share only."""
    before, after = ring(*map(node, range(1, 6))), ring(*map(node, range(1, 7)))
    sample = oids(3, 20_000)
    for oid in sample:
        assert [number for number in after.order(oid, 2) if number != 6] == before.order(oid, 2), oid.hex()
    taken = sum(after.order(oid, 2)[0] == 6 for oid in sample)
    assert abs(taken - len(sample) / 6) < 0.1 * len(sample) / 6


def test_more_weight_only_takes() -> None:
    """A node whose weight grows becomes first for more objects; no object changes between two others, however much it grows."""
    placed = [ring(node(1), node(2), node(3, weight)) for weight in (100, 150, 512, 513, 10_000)]
    for oid in oids(4, 20_000):
        firsts = [each.order(oid, 1)[0] for each in placed]
        assert all(new in (old, 3) for old, new in pairwise(firsts)), oid.hex()


def test_state_is_no_matter_of_placement() -> None:
    """A node that is down keeps its place."""
    up, down = ring(node(1), node(2), node(3)), ring(node(1), node(2, state=NODE_DOWN), node(3))
    assert all(up.order(oid, 3) == down.order(oid, 3) for oid in oids(5, 1000))


def test_distinct_domains_come_first() -> None:
    """Every order names all nodes once, the first of each domain before a second of any, and so on, each round in ring order."""
    domains = {1: "a", 2: "a", 3: "a", 4: "b", 5: "b", 6: "c"}
    placed = ring(*[node(number, domain=domain) for number, domain in domains.items()])
    alone = ring(*map(node, domains))
    for oid in oids(6, 2000):
        order = placed.order(oid, 3)
        assert sorted(order) == sorted(domains)
        assert {domains[number] for number in order[:3]} == {"a", "b", "c"}, oid.hex()
        assert {domains[number] for number in order[3:5]} == {"a", "b"}, oid.hex()
        assert order[:3] == sorted(order[:3], key=alone.order(oid, 3).index)


def test_two_domains() -> None:
    """With two domains the two first holders are in different ones."""
    domains = {1: "left", 2: "left", 3: "right", 4: "right"}
    placed = ring(*[node(number, domain=domain) for number, domain in domains.items()])
    for oid in oids(7, 2000):
        first, second = placed.order(oid, 2)[:2]
        assert domains[first] != domains[second]


def test_nodes_without_weight_come_last() -> None:
    """Weight 0 keeps a node out of everything but the end of the order; a map of nothing gives no order."""
    placed = ring(node(1, 0), node(2), node(3))
    assert all(placed.order(oid, 3)[-1] == 1 for oid in oids(8, 500))
    assert ring().order(bytes(20), 3) == []
    assert ring(node(1, 0)).order(bytes(20), 3) == [1]


@pytest.mark.parametrize("standing", [STANDING_OUT, STANDING_LOST, STANDING_DRAINING])
def test_a_node_without_a_share(standing: int) -> None:
    """It comes last in every order, before those without weight, and is never desired; the order of the others stays."""
    before = ring(*map(node, range(1, 7)), node(7, 0))
    gone = [standing_of(node(number), standing if number in (2, 5) else STANDING_IN) for number in range(1, 7)]
    after = ring(*gone, node(7, 0))
    assert after.shared == {1, 3, 4, 6}
    for oid in oids(11, 1000):
        old, new = before.order(oid, 3), after.order(oid, 3)
        assert new == [number for number in old if number not in (2, 5, 7)] + [number for number in old if number in (2, 5)] + [7]
        assert after.desired(oid, 6) == new[:4]


def test_maintenance_keeps_the_share() -> None:
    """Nothing moves because a node is being worked on."""
    before, after = ring(*map(node, range(1, 5))), ring(*map(node, range(1, 4)), standing_of(node(4), STANDING_MAINTENANCE))
    assert all(before.order(oid, 3) == after.order(oid, 3) for oid in oids(12, 500))


def test_a_replaced_disk_keeps_the_place() -> None:
    """Tokens come from the seed, if there is one: another disk under the seed of the first one moves nothing."""
    first = node(3)
    second = node(99)
    replaced = Node(3, second.uuid, "data3", "elsewhere", "d3", 100, NODE_UP, seed=first.uuid)
    before, after = ring(node(1), node(2), first), ring(node(1), node(2), replaced)
    assert all(before.order(oid, 3) == after.order(oid, 3) for oid in oids(13, 500))


def desired_sets(placed: Ring, width: int, sample: list[bytes]) -> list[set[int]]:
    """For each object the nodes that it belongs on."""
    return [set(placed.desired(oid, width)) for oid in sample]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([0, 50, 100, 130])), min_size=1, max_size=14),
    st.sampled_from([1, 2, 3, 6]),
    st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_desired_domains_are_distinct(nodes: list[tuple[str, int]], width: int, seed: int) -> None:
    """As many nodes as wanted, or as there are domains with a share; the first nodes of the order."""
    placed = ring(*[node(number, weight, domain) for number, (domain, weight) in enumerate(nodes, 1)])
    assert placed.domain_count == len({domain for domain, weight in nodes if weight})
    for oid in oids(seed, 5):
        desired = placed.desired(oid, width)
        assert len(desired) == len({placed.domain_of[number] for number in desired}) == min(width, placed.domain_count)
        assert desired == placed.order(oid, width)[: len(desired)]
        assert placed.shared.issuperset(desired)


GONE = (0, STANDING_IN)
CHANGES = {
    "a node is added": (GONE, (100, STANDING_IN)),
    "a node is removed": ((100, STANDING_IN), GONE),
    "a node is drained": ((100, STANDING_IN), (100, STANDING_DRAINING)),
    "a node comes back": ((100, STANDING_LOST), (100, STANDING_IN)),
    "more weight": ((100, STANDING_IN), (200, STANDING_IN)),
    "less weight": ((150, STANDING_IN), (75, STANDING_IN)),
    "more than twice 512": ((500, STANDING_IN), (1100, STANDING_IN)),
}
OF_EQUALS = [change for change in CHANGES if change.startswith("a node")]


@pytest.mark.parametrize("change", OF_EQUALS)
def test_nothing_moves_between_equals(change: str) -> None:
    """Whatever becomes of node 9: every part that moves comes to it or leaves it."""
    sample = oids(15, 10_000)
    old, new = (desired_sets(ring(*nine_nodes(changed, 9)), 3, sample) for changed in CHANGES[change])
    moved = sum(len(now - was) for was, now in zip(old, new, strict=True))
    assert moved == abs(sum((9 in now) - (9 in was) for was, now in zip(old, new, strict=True))) > 0


@pytest.mark.parametrize("width", [1, 2, 3, 6])
@pytest.mark.parametrize("domain_count", [9, 7, 4])
@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES.keys())
def test_movement(before: tuple[int, int], after: tuple[int, int], domain_count: int, width: int) -> None:
    """Also where weights differ, and domains have several nodes: what moves is what shares grow by, and at most 5 % of all more."""
    sample = oids(15, 4000)
    nodes = [nine_nodes(changed, domain_count) for changed in (before, after)]
    old, new = (desired_sets(ring(*each), width, sample) for each in nodes)
    moved = sum(len(now - was) for was, now in zip(old, new, strict=True))
    shares = [shares_of(each, width) for each in nodes]
    least = sum(max(0.0, share - shares[0][number]) for number, share in shares[1].items())
    assert moved <= (least + 0.05) * sum(map(len, new))


@pytest.mark.parametrize("width", [2, 6])
def test_a_new_node_takes_its_share_of_the_parts(width: int) -> None:
    """One ninth of the parts, within 5 %, moves when a ninth node comes."""
    sample = oids(16, 20_000)
    old, new = (desired_sets(ring(*nine_nodes(changed, 9)), width, sample) for changed in (GONE, (100, STANDING_IN)))
    moved, share = sum(len(now - was) for was, now in zip(old, new, strict=True)), len(sample) * width / 9
    assert abs(moved - share) < 0.05 * share


def nine_nodes(last: tuple[int, int], domain_count: int) -> list[Node]:
    """Eight equal nodes and one of that weight and standing, in so many domains."""
    nodes = [node(number, domain=f"d{number % domain_count}") for number in range(1, 9)]
    return [*nodes, standing_of(node(9, last[0], f"d{9 % domain_count}"), last[1])]


def standing_of(other: Node, standing: int) -> Node:
    """The same node with that standing."""
    return dataclasses.replace(other, standing=standing)


def test_golden_placement() -> None:
    """docs/formats/placement.md, as bytes: tokens, points and orders never change."""
    _tokens.cache_clear()
    tokens = _tokens(uuid.UUID("00000000-0000-4000-8000-000000000001").bytes, 4)
    assert [f"{token:016x}" for token in tokens] == GOLDEN_TOKENS
    placed = ring(node(1, 100, "x"), node(2, 100, "x"), node(3, 150, "y"), node(4, 50, "z"), node(5, 100, "v"))
    for width, golden in GOLDEN_ORDERS.items():
        orders = bytes(number for oid in oids(10, 1000) for number in placed.order(oid, width))
        assert plain_digest(orders).hex() == golden, width
    for width, order in GOLDEN_EXAMPLE.items():
        assert placed.order(bytes.fromhex("b0003b9507c20901e3d0533c01064c22ba75e831"), width) == order


GOLDEN_TOKENS = ["5adf80fb8a132981", "6a4cae37d596330f", "93817d1b9efd1e6b", "b05cd21431b09af8"]
GOLDEN_ORDERS = {
    1: "56f234e532e0f2354e83a4e6e9dadfc6dd2ba9653090569570ccccdee955adc2",
    2: "a0dc78d7b2873caea61108694acf5fb1d0f151eed1420e7470e8858aa5296ce3",
    3: "2c3bb1d8f23d0dacc27e8fae3d169b333d4142a8412c11b1d004fa1d5a6d189c",
}
#: By width.
GOLDEN_EXAMPLE = {1: [5, 3, 1, 4, 2], 2: [5, 1, 3, 4, 2]}
