"""Shares of the ids: all nodes' together are every id once."""

from itertools import pairwise

import pytest

from ringfs.data.steward.share import Share, before, behind, share_of
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

LAST = b"\xff" * 20


def map_of(*nodes: tuple[int, int]) -> ClusterMap:
    """A map of nodes 1, 2, … with these states and standings."""
    made = [Node(n, f"u{n}", f"n{n}", f"n{n}:1", f"d{n}", 100, *each) for n, each in enumerate(nodes, 1)]
    return ClusterMap(1, "c", made)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_the_shares_are_all_ids_each_once(count: int) -> None:
    cluster_map = map_of(*[(NODE_UP, STANDING_IN)] * count)
    shares = [share_of(cluster_map, number) for number in range(1, count + 1)]
    assert shares[0] is not None
    assert shares[-1] is not None
    assert (shares[0].after, shares[-1].stop) == (b"", b"")
    for one, next_one in pairwise(shares):
        assert one is not None
        assert next_one is not None
        assert one.stop == behind(next_one.after)


def test_only_nodes_at_work_have_shares() -> None:
    cluster_map = map_of(
        (NODE_UP, STANDING_IN),
        (NODE_DOWN, STANDING_IN),
        (NODE_UP, STANDING_DRAINING),
        (NODE_UP, STANDING_OUT),
        (NODE_DOWN, STANDING_LOST),
        (NODE_UP, STANDING_MAINTENANCE),
    )
    shares = [share_of(cluster_map, number) for number in range(1, 8)]
    middle = b"\x80" + bytes(19)
    assert shares == [Share(b"", middle), None, None, None, None, Share(before(middle), b""), None]


def test_neighbours_of_ids() -> None:
    assert before(bytes(20)) == b""
    assert behind(LAST) == b""
    assert before(b"\1" + bytes(19)) == b"\0" + b"\xff" * 19
    assert behind(b"\0" + b"\xff" * 19) == b"\1" + bytes(19)


def test_progress_through_a_share() -> None:
    share = Share(b"\x3f" + b"\xff" * 19, b"\x80" + bytes(19))
    assert [share.permille(bytes([first]) + bytes(19)) for first in (0x40, 0x50, 0x60, 0x7F)] == [0, 250, 500, 984]
    assert Share(b"", b"").permille(LAST) == 999
