"""NodeTable: liveness and capacity from what nodes report."""

from dataclasses import replace
from typing import Any

import pytest

from ringfs.meta.nodes import LATE_COMMITS_NS, NODE_SILENCE_NS, NodeTable
from ringfs.ring.classes import parse_class
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
    NodeHeartbeat,
)

START = 1000
OUT_AFTER_NS = 600 * 10**9


def node(number: int, state: int = NODE_UP) -> Node:
    return Node(number, f"uuid{number}", f"data{number}", "host:1", f"d{number}", 100, state)


def beat(number: int, *, used: int = 0, free: int = 0, filesystem: str = "fs", there: int = 0) -> NodeHeartbeat:
    return NodeHeartbeat(number, 1, used, free, 3, filesystem, there or free, "")


def test_liveness_follows_silence() -> None:
    """Changes are named where map and silence disagree, and only there."""
    table = NodeTable(ClusterMap(1, "c", [node(1), node(2, NODE_DOWN)]), START, OUT_AFTER_NS)
    assert table.state_changes(START) == []
    assert table.state_changes(START + NODE_SILENCE_NS) == [(1, NODE_DOWN)]
    assert table.report(beat(1), START + NODE_SILENCE_NS)
    assert table.state_changes(START + NODE_SILENCE_NS) == []
    assert table.report(beat(2), START + NODE_SILENCE_NS)
    assert table.state_changes(START + 2 * NODE_SILENCE_NS - 1) == [(2, NODE_UP)]
    assert table.state_changes(START + 2 * NODE_SILENCE_NS) == [(1, NODE_DOWN)]
    table.stood_still(NODE_SILENCE_NS)
    assert table.state_changes(START + 2 * NODE_SILENCE_NS) == [(2, NODE_UP)]
    assert not table.report(beat(9), START)


def three(*states: int, classes: list[str] | None = None, **third: Any) -> NodeTable:
    nodes = [node(number, state) for number, state in enumerate(states, 1)]
    nodes[2] = replace(nodes[2], **third)
    return NodeTable(ClusterMap(1, "c", nodes, classes or ["replica:2"]), START, OUT_AFTER_NS)


def test_a_new_disk_weighs_what_its_size_says() -> None:
    """Beside those that have said theirs, when they joined or since; not before all that are up were heard. A known one weighs what
    it does."""
    table = three(NODE_UP, NODE_UP, NODE_DOWN)
    assert table.weight_for("uuid2", 10) == 100
    assert table.weight_for("new", 10) is None
    table.joined(1, START, 20)
    assert table.weight_for("new", 10) is None
    assert table.report(beat(2), START)
    assert table.weight_for("new", 10) == 50
    assert table.report(replace(beat(1), size_bytes=40), START)
    assert table.weight_for("new", 10) == 25
    assert [each.size_bytes for each in table.statuses(START)] == [40, 0, 0]


def test_lost_after_too_long_a_silence() -> None:
    """Only what is down and IN; silence counts from the table's beginning, and not while this process stood still."""
    table = three(NODE_UP, NODE_UP, NODE_DOWN)
    assert table.standing_changes(START + OUT_AFTER_NS - 1, 0, 2) == []
    assert table.standing_changes(START + OUT_AFTER_NS, 0, 2) == [(3, STANDING_LOST)]
    table.stood_still(10)
    assert table.standing_changes(START + OUT_AFTER_NS, 0, 2) == []
    assert table.standing_changes(START + OUT_AFTER_NS + 10, 0, 2) == [(3, STANDING_LOST)]
    for standing in (STANDING_OUT, STANDING_LOST, STANDING_DRAINING):
        assert three(NODE_UP, NODE_UP, NODE_DOWN, standing=standing).standing_changes(START + OUT_AFTER_NS, 0, 2) == []


def test_not_lost_where_too_few_domains_would_be_left() -> None:
    """Two are left, three are needed."""
    assert three(NODE_UP, NODE_UP, NODE_DOWN).standing_changes(START + OUT_AFTER_NS, 0, 3) == []


def test_maintenance_ends() -> None:
    """By the wall clock, up or down."""
    for state in (NODE_UP, NODE_DOWN):
        table = three(NODE_UP, NODE_UP, state, standing=STANDING_MAINTENANCE, until_ns=500)
        assert table.standing_changes(START + OUT_AFTER_NS, 499, 2) == []
        assert table.standing_changes(START, 500, 2) == [(3, STANDING_IN)]


def test_another_map() -> None:
    """Nodes that are not in it are forgotten: their heartbeats are nobody's."""
    table = NodeTable(ClusterMap(1, "c", [node(1), node(2)]), START, OUT_AFTER_NS)
    table.report(beat(1), START)
    assert not table.holds_nothing(1)
    table.take_map(ClusterMap(2, "c", [node(1)]), START)
    assert (table.map.epoch, table.report(beat(2), START)) == (2, False)
    assert not table.holds_nothing(1), "what was heard of others stays"


def test_late_commits() -> None:
    """Where one copy is enough for a class, a node that has just lost its share may get the only one, for a while."""
    for classes, is_late in ((["replica:2"], False), (["replica:2", "replica:1"], True)):
        nodes = [node(1), node(2), node(3)]
        table = NodeTable(ClusterMap(1, "c", nodes, classes), START, OUT_AFTER_NS)
        drained = ClusterMap(2, "c", [node(1), node(2), replace(node(3), standing=STANDING_DRAINING)], classes)
        table.take_map(drained, START)
        assert [table.gets_late_commits(number) for number in (2, 3)] == [False, is_late]
        assert not table.late_commits_end(START + LATE_COMMITS_NS - 1)
        table.take_map(drained, START + 1)
        assert [table.late_commits_end(START + LATE_COMMITS_NS) for _ in range(2)] == [is_late, False]
        assert not table.gets_late_commits(3)
    table.take_map(ClusterMap(3, "c", nodes, classes), START)
    table.take_map(drained, START)
    table.take_map(ClusterMap(5, "c", nodes, classes), START)
    assert not table.gets_late_commits(3), "it is in again"
    assert NodeTable(drained, START, OUT_AFTER_NS).gets_late_commits(3), "for all that another leader knows"


ONE, TWO, FRAGMENTS = parse_class("replica:1"), parse_class("replica:2"), parse_class("ec:2+1")


def test_capacity() -> None:
    """Free space counts once per file system, on nodes that are up, used space on all that have a share; divided by the copies."""
    table = NodeTable(ClusterMap(1, "c", [node(1), node(2), node(3, NODE_DOWN), node(4)]), START, OUT_AFTER_NS)
    assert table.capacity(TWO) == (0, 0)
    table.report(beat(1, used=10, free=100, filesystem="a"), START)
    table.report(beat(2, used=20, free=90, filesystem="a"), START)
    table.report(beat(3, used=6, free=1000, filesystem="b"), START)
    assert table.capacity(TWO) == (68, 50)
    assert table.capacity(ONE) == (136, 100)


def test_capacity_of_nodes_that_may_use_a_part_of_a_shared_disk() -> None:
    """Each adds what it may use, until the disk itself has less."""
    table = NodeTable(ClusterMap(1, "c", [node(1), node(2), node(3)]), START, OUT_AFTER_NS)
    for number in (1, 2, 3):
        table.report(beat(number, free=100, there=1000), START)
    assert table.capacity(TWO) == (150, 150)
    table.report(beat(3, free=100, there=250), START)
    table.report(beat(1, free=100, there=240), START)
    table.report(beat(2, free=100, there=250), START)
    assert table.capacity(ONE) == (250, 250)


def three_disks(*free: int, **third: Any) -> NodeTable:
    table = three(NODE_UP, NODE_UP, NODE_UP, **third)
    for number, each in enumerate(free, 1):
        table.report(beat(number, used=30, free=each, filesystem=f"fs{number}"), START)
    return table


def test_capacity_is_what_distinct_domains_can_take() -> None:
    """One large disk among small ones is no room for copies; fragments need all three."""
    assert three_disks(100, 100, 1000).capacity(TWO) == (245, 200)
    assert three_disks(10, 20, 1000).capacity(TWO) == (75, 30)
    assert three_disks(100, 100, 100).capacity(FRAGMENTS) == (260, 200)
    assert three_disks(100, 100, 0).capacity(FRAGMENTS) == (160, 100), "as two copies each"


@pytest.mark.parametrize("standing", [STANDING_OUT, STANDING_LOST, STANDING_DRAINING])
def test_only_a_share_is_capacity(standing: int) -> None:
    """What is on a node without one is on its way elsewhere, or there already."""
    assert three_disks(100, 100, 100, standing=standing).capacity(TWO) == (130, 100)


def test_nodes_that_writes_wait_for_have_room() -> None:
    """With too few domains up for any object, what is down counts as it last said."""
    table = three_disks(100, 100, 100)
    table.take_map(ClusterMap(2, "c", [node(1), node(2, NODE_DOWN), node(3, NODE_DOWN)], ["replica:2"]), START)
    assert table.capacity(TWO) == (195, 150)
    assert table.capacity(ONE) == (190, 100)


def test_space_is_known_once_all_that_are_up_have_told() -> None:
    """A new leader hears one node after the other: what the first has says nothing about where objects can be put."""
    table = NodeTable(ClusterMap(1, "c", [node(1), node(2), node(3, NODE_DOWN), node(4)]), START, OUT_AFTER_NS)
    known = []
    for number in (1, 2, 4):
        known.append(table.has_told_space())
        table.report(beat(number, used=10, free=100, filesystem=f"fs{number}"), START)
    assert [*known, table.has_told_space()] == [False, False, False, True]
    assert NodeTable(ClusterMap(1, "c", []), START, OUT_AFTER_NS).has_told_space()


def test_space_is_not_known_while_those_that_writes_wait_for_have_never_told() -> None:
    """With too few domains up and the others down since the start: nobody knows, which is not the same as none."""
    table = NodeTable(ClusterMap(1, "c", [node(1), node(2, NODE_DOWN)]), START, OUT_AFTER_NS)
    table.report(beat(1, used=10, free=100), START)
    assert table.has_told_space()
    assert table.capacity(TWO) == (0, 0)
    assert table.capacity(ONE) == (110, 100)


def test_statuses() -> None:
    """All nodes of the map are shown; one that never reported says so."""
    table = NodeTable(ClusterMap(1, "c", [node(1), node(2)]), START, OUT_AFTER_NS)
    table.report(beat(1, used=10, free=100), START + 5 * 10**6)
    shown = table.statuses(START + 9 * 10**6)
    assert [(each.node, each.used_bytes, each.silent_ms) for each in shown] == [(1, 10, 4), (2, 0, 9)]
    assert [bool(each.trouble) for each in shown] == [False, True]
