"""The hash ring: which nodes an object belongs on, in order. Pure; docs/formats/placement.md is normative, golden bytes test it.

Each node owns tokens. The point of an object lies on a circle of 2^64; the nodes race for it: the way from the point to a node's
next token is its distance, and the more weight the node has, the faster it is. So a node that joins or leaves takes or gives its
own share. How fast, for parts of one width: rates.py. States are no matter of placement; standings are: shares.py.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from sys import byteorder
from typing import NamedTuple
from uuid import UUID

from ringfs.base.checksums import plain_digest
from ringfs.base.ids import NodeId
from ringfs.ring.rates import ONE, race_rates
from ringfs.ring.shares import domain_weights, has_share
from ringfs.wire.messages.cluster import ClusterMap, Node

#: Of each node, whatever its weight: shares are right within 5 % (measured by tests).
TOKENS = 12_800
_CIRCLE = (1 << 64) - 1
#: Numbers of nodes are this short.
_NUMBER_BITS = 16
_NUMBER_MASK = (1 << _NUMBER_BITS) - 1
#: Times in a race are integers: as many for the distance 1 at the rate 1.
_TIME = 1 << 32
#: Longer than any race is: head starts of the domains that have a part of every object.
_AGES = 1 << 160


class _Runner(NamedTuple):
    """A node in a race: it needs `late + distance × slowness`."""

    number: int
    tokens: "array[int]"
    slowness: int
    late: int


class Ring:
    """The placement that one cluster map means. Building costs about 4 ms for each node that was not seen before."""

    def __init__(self, cluster_map: ClusterMap) -> None:
        self.epoch = cluster_map.epoch
        self.domain_of = {NodeId(node.node): node.domain for node in cluster_map.nodes}
        self._weightless = [NodeId(node.node) for node in cluster_map.nodes if not node.weight]
        self._sharing = [node for node in cluster_map.nodes if has_share(node)]
        #: Racing by weight alone: the nodes that have a share; those that have weight and none.
        self._plain = [_plain_runner(node) for node in self._sharing]
        self._unshared = [_plain_runner(node) for node in cluster_map.nodes if node.weight and not has_share(node)]
        #: The nodes that objects belong on, and how many failure domains they are in: no form can be wider.
        self.shared = frozenset(NodeId(node.node) for node in self._sharing)
        self._weights = domain_weights(self._sharing)
        self.domain_count = len(self._weights)
        #: By width; at most as many as there are domains, or as forms are wide.
        self._races: dict[int, list[_Runner]] = {}

    def order(self, oid: bytes, width: int) -> list[NodeId]:
        """All nodes: the desired ones; then the first of each other failure domain, then the second of each, and so on, as they
        come in the race for that width; without a share: last."""
        point = int.from_bytes(oid[:8], "big")
        desired = self.desired(oid, width)
        others = self._spread(_winners(self._race(width), point))
        last = _winners(self._unshared, point) + self._weightless if self._unshared else self._weightless
        return desired + [node for node in others if node not in desired] + self._spread(last)

    def desired(self, oid: bytes, width: int) -> list[NodeId]:
        """The nodes that the parts of an object belong on: `width` of distinct domains, fewer if there are not so many. They are in
        the order of the race by weight alone, so each is first as often as its weight says."""
        point = int.from_bytes(oid[:8], "big")
        race = self._race(width)
        found: dict[str, NodeId] = {}
        for node in _winners(race, point):
            if len(found) == width:
                break
            found.setdefault(self.domain_of[node], node)
        chosen = list(found.values())
        if race is self._plain or len(chosen) < 2:
            return chosen
        return _winners([runner for runner in self._plain if runner.number in chosen], point)

    def _race(self, width: int) -> list[_Runner]:
        """The nodes with a share, as fast as they have to be for parts of that width."""
        width = min(width, self.domain_count)
        if width not in self._races:
            self._races[width] = self._made_race(width)
        return self._races[width]

    def _made_race(self, width: int) -> list[_Runner]:
        if width < 2 or width == self.domain_count or len(set(self._weights.values())) == 1:
            return self._plain
        rates = race_rates(tuple(sorted(self._weights.values())), width)
        race = []
        for node, (number, tokens, slowness, _) in zip(self._sharing, self._plain, strict=True):
            domain = self._weights[node.domain]
            if domain in rates:
                slowness = _TIME * ONE * domain // (rates[domain] * node.weight)
            race.append(_Runner(number, tokens, slowness, _AGES * (domain in rates)))
        return race

    def _spread(self, nodes: list[NodeId]) -> list[NodeId]:
        """The k-th node of every domain before any domain's next one, else in the order given."""
        rounds: list[list[NodeId]] = []
        seen: dict[str, int] = {}
        for node in nodes:
            domain = self.domain_of[node]
            turn = seen.get(domain, 0)
            seen[domain] = turn + 1
            if turn == len(rounds):
                rounds.append([])
            rounds[turn].append(node)
        return [node for turn in rounds for node in turn]


def _plain_runner(node: Node) -> _Runner:
    """As fast as the weight says."""
    return _Runner(node.node, _tokens(UUID(node.seed or node.uuid).bytes, TOKENS), _TIME // node.weight, 0)


def _winners(race: Iterable[_Runner], point: int) -> list[NodeId]:
    """By the time they need from the point to the first token that follows it on the circle, then by number."""
    times = []
    for number, tokens, slowness, late in race:
        token = tokens[bisect_left(tokens, point) % len(tokens)]
        times.append((late + (token - point & _CIRCLE) * slowness) << _NUMBER_BITS | number)
    times.sort()
    return [NodeId(time & _NUMBER_MASK) for time in times]


@lru_cache(maxsize=256)
def _tokens(uuid: bytes, count: int) -> "array[int]":
    """The first `count` tokens of a node, ascending."""
    tokens = array("Q", plain_digest(b"ringfs token v1" + uuid, length=8 * count))
    if byteorder == "little":
        tokens.byteswap()
    return array("Q", sorted(tokens))
