"""The hash ring: which nodes an object belongs on, in order. Pure; docs/formats/placement.md is normative, golden bytes test it.

Each node owns tokens, as many as its weight says. The point of an object lies on a circle of 2^64; going clockwise from it,
nodes come in the order in which their first tokens are met. So a node that joins or leaves takes or gives its own share
and moves nothing between the others.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from sys import byteorder
from uuid import UUID

from ringfs.base.checksums import plain_digest
from ringfs.base.ids import NodeId
from ringfs.wire.messages.cluster import ClusterMap, Node

#: Tokens for each unit of weight: with weights about 100, shares are right within 5 % for 3 to 12 nodes (measured by a test).
TOKENS_PER_WEIGHT = 128
#: No node has more; heavier maps are scaled down by powers of two.
TOKENS_MAX = 1 << 16
_CIRCLE = (1 << 64) - 1


class Ring:
    """The placement that one cluster map means. Building costs about 4 ms for each node of weight 100 that was not seen before."""

    def __init__(self, cluster_map: ClusterMap) -> None:
        self.epoch = cluster_map.epoch
        shift = _shift(node.weight for node in cluster_map.nodes)
        #: Node number, domain, ascending tokens; nodes without weight have none and come last in every order.
        self._weighted = [
            (NodeId(node.node), node.domain, _tokens(UUID(node.uuid).bytes, _token_count(node, shift)))
            for node in cluster_map.nodes
            if node.weight
        ]
        self._weightless = [(NodeId(node.node), node.domain) for node in cluster_map.nodes if not node.weight]

    def order(self, oid: bytes) -> list[NodeId]:
        """All nodes: the first of each failure domain in ring order, then the second of each, and so on; without weight: last."""
        point = int.from_bytes(oid[:8], "big")
        distances = []
        for node, domain, tokens in self._weighted:
            index = bisect_left(tokens, point)
            token = tokens[index] if index < len(tokens) else tokens[0]
            distances.append(((token - point) & _CIRCLE, node, domain))
        distances.sort()
        return _spread((node, domain) for _, node, domain in distances) + _spread(self._weightless)


def _spread(nodes: Iterable[tuple[NodeId, str]]) -> list[NodeId]:
    """The k-th node of every domain before any domain's next one, else in the order given."""
    rounds: list[list[NodeId]] = []
    seen: dict[str, int] = {}
    for node, domain in nodes:
        turn = seen.get(domain, 0)
        seen[domain] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(node)
    return [node for turn in rounds for node in turn]


def _shift(weights: Iterable[int]) -> int:
    """By how many bits token counts are scaled down so that the heaviest node has at most TOKENS_MAX."""
    heaviest = max(weights, default=0) * TOKENS_PER_WEIGHT
    return max(0, (heaviest - 1).bit_length() - (TOKENS_MAX.bit_length() - 1)) if heaviest else 0


def _token_count(node: Node, shift: int) -> int:
    return max(1, node.weight * TOKENS_PER_WEIGHT >> shift)


@lru_cache(maxsize=256)
def _tokens(uuid: bytes, count: int) -> "array[int]":
    """The first `count` tokens of a node, ascending. More weight adds tokens and changes none."""
    tokens = array("Q", plain_digest(b"ringfs token v1" + uuid, length=8 * count))
    if byteorder == "little":
        tokens.byteswap()
    return array("Q", sorted(tokens))
