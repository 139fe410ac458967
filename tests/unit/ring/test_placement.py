"""Placement: balanced by weight, minimal in movement, distinct domains first, and the same bytes for ever."""

import random
import uuid
from collections import Counter

import pytest

from ringfs.base.checksums import plain_digest
from ringfs.ring.placement import TOKENS_MAX, TOKENS_PER_WEIGHT, Ring, _tokens
from ringfs.wire.messages.cluster import NODE_DOWN, NODE_UP, ClusterMap, Node

OBJECTS = 100_000


def node(number: int, weight: int = 100, domain: str | None = None, state: int = NODE_UP) -> Node:
    """Node `number` of every test, with a uuid that depends on nothing else."""
    disk = uuid.UUID(int=number, version=4)
    return Node(number, str(disk), f"data{number}", f"127.0.0.1:{7000 + number}", domain or f"d{number}", weight, state)


def ring(*nodes: Node) -> Ring:
    """The ring of a map with these nodes."""
    return Ring(ClusterMap(1, "cluster", list(nodes)))


def oids(seed: int, count: int) -> list[bytes]:
    """Random object ids."""
    draw = random.Random(seed)
    return [draw.randbytes(20) for _ in range(count)]


WEIGHTS = {
    "3 equal": [100] * 3,
    "3 different": [100, 150, 300],
    "4 doubling": [50, 100, 200, 400],
    "7 rising": [60 + 20 * index for index in range(7)],
    "12 equal": [100] * 12,
    "12 different": [80, 100, 120, 160] * 3,
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_first_copies_are_balanced_by_weight(weights: list[int]) -> None:
    """Of 100,000 objects every node is first for its share by weight, within 5 %."""
    placed = ring(*[node(number, weight) for number, weight in enumerate(weights, 1)])
    counts: Counter[int] = Counter(placed.order(oid)[0] for oid in oids(1, OBJECTS))
    for number, weight in enumerate(weights, 1):
        share = OBJECTS * weight / sum(weights)
        assert abs(counts[number] - share) <= 0.05 * share, f"node {number}: {counts[number]} objects, not {share:.0f}"


@pytest.mark.parametrize("count", [3, 5, 12])
def test_copies_are_balanced_between_equal_nodes(count: int) -> None:
    """With equal weights the holders of two copies are balanced within 5 % too."""
    placed = ring(*[node(number) for number in range(1, count + 1)])
    counts = Counter(holder for oid in oids(2, OBJECTS // 2) for holder in placed.order(oid)[:2])
    share = OBJECTS / count
    assert all(abs(held - share) <= 0.05 * share for held in counts.values()), counts


def test_a_new_node_takes_its_share_and_moves_nothing_else() -> None:
    """Without the new node, every order is what it was before; it becomes first for its share only."""
    before, after = ring(*map(node, range(1, 6))), ring(*map(node, range(1, 7)))
    sample = oids(3, 20_000)
    for oid in sample:
        assert [number for number in after.order(oid) if number != 6] == before.order(oid), oid.hex()
    taken = sum(after.order(oid)[0] == 6 for oid in sample)
    assert abs(taken - len(sample) / 6) < 0.1 * len(sample) / 6


def test_more_weight_only_takes() -> None:
    """A node whose weight grows becomes first for more objects; no object changes between two others."""
    before = ring(node(1), node(2), node(3))
    after = ring(node(1), node(2), node(3, 150))
    for oid in oids(4, 20_000):
        old, new = before.order(oid)[0], after.order(oid)[0]
        assert new in (old, 3), oid.hex()


def test_state_is_no_matter_of_placement() -> None:
    """A node that is down keeps its place."""
    up, down = ring(node(1), node(2), node(3)), ring(node(1), node(2, state=NODE_DOWN), node(3))
    assert all(up.order(oid) == down.order(oid) for oid in oids(5, 1000))


def test_distinct_domains_come_first() -> None:
    """Every order names all nodes once, the first of each domain before a second of any, and so on, each round in ring order."""
    domains = {1: "a", 2: "a", 3: "a", 4: "b", 5: "b", 6: "c"}
    placed = ring(*[node(number, domain=domain) for number, domain in domains.items()])
    alone = ring(*map(node, domains))
    for oid in oids(6, 2000):
        order = placed.order(oid)
        assert sorted(order) == sorted(domains)
        assert {domains[number] for number in order[:3]} == {"a", "b", "c"}, oid.hex()
        assert {domains[number] for number in order[3:5]} == {"a", "b"}, oid.hex()
        assert order[:3] == sorted(order[:3], key=alone.order(oid).index)


def test_two_domains() -> None:
    """With two domains the two first holders are in different ones."""
    domains = {1: "left", 2: "left", 3: "right", 4: "right"}
    placed = ring(*[node(number, domain=domain) for number, domain in domains.items()])
    for oid in oids(7, 2000):
        first, second = placed.order(oid)[:2]
        assert domains[first] != domains[second]


def test_nodes_without_weight_come_last() -> None:
    """Weight 0 keeps a node out of everything but the end of the order; a map of nothing gives no order."""
    placed = ring(node(1, 0), node(2), node(3))
    assert all(placed.order(oid)[-1] == 1 for oid in oids(8, 500))
    assert ring().order(bytes(20)) == []
    assert ring(node(1, 0)).order(bytes(20)) == [1]


def test_heavy_maps_are_scaled_down() -> None:
    """No node has more tokens than TOKENS_MAX, and the shares stay right."""
    heavy = ring(node(1, 10_000), node(2, 5_000))
    counts: Counter[int] = Counter(heavy.order(oid)[0] for oid in oids(9, 30_000))
    assert 10_000 * TOKENS_PER_WEIGHT > TOKENS_MAX
    assert max(len(tokens) for _, _, tokens in heavy._weighted) <= TOKENS_MAX
    assert abs(counts[2] - 10_000) < 500


def test_golden_placement() -> None:
    """docs/formats/placement.md, as bytes: tokens, points and orders never change."""
    _tokens.cache_clear()
    tokens = _tokens(uuid.UUID("00000000-0000-4000-8000-000000000001").bytes, 4)
    assert [f"{token:016x}" for token in tokens] == GOLDEN_TOKENS
    nodes = [node(1, 100, "x"), node(2, 100, "x"), node(3, 150, "y"), node(4, 50, "z")]
    orders = bytes(number for oid in oids(10, 1000) for number in ring(*nodes).order(oid))
    assert plain_digest(orders).hex() == GOLDEN_ORDERS
    assert ring(*nodes).order(bytes.fromhex("d3704792b17e570850accb6d6c29897bb8cafd93")) == [3, 4, 2, 1]


GOLDEN_TOKENS = ["5adf80fb8a132981", "6a4cae37d596330f", "93817d1b9efd1e6b", "b05cd21431b09af8"]
GOLDEN_ORDERS = "f561d75c85f68f0aa726b4fba3ae56e5353624aa7240351148dc693363ff2908"
