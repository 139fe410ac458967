"""What `ring show` makes of a status."""

import pytest

from ringfs.cli.ring.show import render, shares_of, to_json
from ringfs.wire.messages.cluster import STANDING_DRAINING, STANDING_MAINTENANCE, STANDING_OUT
from tests.support.heal_reports import node, status


def test_shares() -> None:
    """By weight, among those that are to have data; nobody's share is nothing."""
    nodes = [node(1), node(2, weight=200, standing=STANDING_MAINTENANCE), node(3, standing=STANDING_DRAINING)]
    assert shares_of(nodes) == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 0})
    assert shares_of([node(1, standing=STANDING_OUT)]) == {1: 0}


def test_text() -> None:
    """Ordered by domain; what is held is told beside what should be."""
    shown = render(status(node(1, domain="rack2"), node(2, domain="rack1"), node(3, domain="rack1"))).splitlines()
    assert shown[0] == "epoch 7, 3 nodes in 2 failure domains, default class replica:2"
    assert [line.split() for line in shown[3:]] == [
        ["rack1", "data2", "up", "in", "100", "33.3%", "33.3%", "2", "MiB", "2"],
        ["rack1", "data3", "up", "in", "100", "33.3%", "50.0%", "3", "MiB", "3"],
        ["rack2", "data1", "up", "in", "100", "33.3%", "16.7%", "1", "MiB", "1"],
    ]


def test_json() -> None:
    """With both halves of each node."""
    told = to_json(status(node(1), node(3)))
    assert [(row["name"], row["share"], row["held_share"], row["used_bytes"]) for row in told["nodes"]] == [
        ("data1", 0.5, 0.25, 1 << 20),
        ("data3", 0.5, 0.75, 3 << 20),
    ]
