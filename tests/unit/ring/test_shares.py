"""Shares of the ring: what nodes are to hold."""

from dataclasses import replace

import pytest

from ringfs.ring.shares import heavy_domains, seen_width, shares_of, width_in_use
from ringfs.wire.messages.cluster import NODE_DOWN, STANDING_DRAINING, STANDING_MAINTENANCE, STANDING_OUT, ClusterMap
from tests.support.heal_reports import REPORT
from tests.support.one_object import node


def test_by_weight_among_those_that_are_to_have_data() -> None:
    """Nobody's share is nothing."""
    nodes = [node(1), replace(node(2, weight=200), standing=STANDING_MAINTENANCE), replace(node(3), standing=STANDING_DRAINING)]
    assert shares_of(nodes, 1) == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 0})
    assert shares_of([replace(node(1), standing=STANDING_OUT)], 2) == {1: 0}


def test_a_domain_has_one_part_of_an_object_at_most() -> None:
    """What it cannot have, the others have by their weights: so the next one may be too heavy as well, for what is left."""
    nodes = [node(number, weight=weight) for number, weight in enumerate([50, 100, 200, 400], 1)]
    assert shares_of(nodes, 1) == pytest.approx({1: 1 / 15, 2: 2 / 15, 3: 4 / 15, 4: 8 / 15})
    assert shares_of(nodes, 2) == pytest.approx({1: 1 / 14, 2: 2 / 14, 3: 4 / 14, 4: 1 / 2})
    assert shares_of(nodes, 3) == pytest.approx({1: 1 / 9, 2: 2 / 9, 3: 1 / 3, 4: 1 / 3})
    assert [heavy_domains(nodes, width) for width in (1, 2, 3)] == [set(), {"d4"}, {"d4"}]


def test_the_share_of_a_domain_is_divided_by_weight() -> None:
    """A rack of two holds half of all copies, and no more."""
    nodes = [node(1, domain="a", weight=300), node(2, domain="a", weight=600), node(3, domain="b"), node(4, domain="c")]
    assert shares_of(nodes, 2) == pytest.approx({1: 1 / 6, 2: 1 / 3, 3: 1 / 4, 4: 1 / 4})


def test_fewer_domains_than_parts() -> None:
    """Each has one part of every object, and none is too heavy for that."""
    assert shares_of([node(1), node(2)], 3) == pytest.approx({1: 0.5, 2: 0.5})
    assert not heavy_domains([node(1), node(2)], 3)


def test_width_in_use_is_what_all_stewards_have_seen() -> None:
    """Of this epoch, all nodes that are up and have a share, and the default class; else every class that was ever set counts."""
    nodes = [node(1), node(2), replace(node(3), state=NODE_DOWN), replace(node(4), standing=STANDING_DRAINING)]
    cluster_map = ClusterMap(7, "c", nodes, ["replica:2", "ec:4+2"])
    first, second = (replace(REPORT, node=number, seen_epoch=7, seen_width=width) for number, width in ((1, 0), (2, 3)))
    assert seen_width(cluster_map, [first, second]) == 3
    assert seen_width(cluster_map, [first, replace(second, seen_width=1)]) == 2, "new objects have the default class"
    for reports in ([], [first], [first, replace(second, seen_epoch=6)]):
        assert seen_width(cluster_map, reports) == 0
        assert width_in_use(cluster_map, reports) == 6
    assert width_in_use(cluster_map, [first, second]) == 3
