"""What `ring show` makes of a status."""

from ringfs.cli.ring.show import render, to_json
from tests.support.heal_reports import node, status


def test_a_domain_too_heavy_is_told() -> None:
    """Of two copies one node can have one, whatever its weight: the shares are what the nodes will hold, and a line says why."""
    shown = render(status(node(1), node(2, weight=200), node(3, weight=700))).splitlines()
    assert [line.split()[5] for line in shown[3:6]] == ["16.7%", "33.3%", "50.0%"]
    assert shown[6:] == ["rack3 has more than 1 in 2 of the weight: it holds one part of every object, and cannot hold more"]


def test_text() -> None:
    """Ordered by domain; what is held is told beside what should be."""
    shown = render(status(node(1, domain="rack2"), node(2, domain="rack1"), node(3, domain="rack1"))).splitlines()
    assert shown[0] == "epoch 7, 3 nodes in 2 failure domains, default class replica:2"
    assert [line.split() for line in shown[3:6]] == [
        ["rack1", "data2", "up", "in", "100", "25.0%", "33.3%", "2", "MiB", "2"],
        ["rack1", "data3", "up", "in", "100", "25.0%", "50.0%", "3", "MiB", "3"],
        ["rack2", "data1", "up", "in", "100", "50.0%", "16.7%", "1", "MiB", "1"],
    ]


def test_json() -> None:
    """With both halves of each node."""
    told = to_json(status(node(1), node(3)))
    assert [(row["name"], row["share"], row["held_share"], row["used_bytes"]) for row in told["nodes"]] == [
        ("data1", 0.5, 0.25, 1 << 20),
        ("data3", 0.5, 0.75, 3 << 20),
    ]
