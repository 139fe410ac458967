"""Which nodes have a share of the ring, how large it is, and how many failure domains these are. Pure."""

from collections.abc import Iterable

from ringfs.ring.classes import parse_class
from ringfs.ring.rates import contested
from ringfs.wire.messages.cluster import NODE_UP, STANDING_IN, STANDING_LOST, STANDING_MAINTENANCE, STANDING_OUT, ClusterMap, Node
from ringfs.wire.messages.heal import HealReport

_STANDINGS = (STANDING_IN, STANDING_MAINTENANCE)


def is_to_stay(node: Node) -> bool:
    """Whether nobody wants to be rid of the node."""
    return node.standing in _STANDINGS


def is_away(node: Node) -> bool:
    """Whether the node is down and not given up: what it holds counts, for it may come back."""
    return node.state != NODE_UP and node.standing not in (STANDING_OUT, STANDING_LOST)


def has_share(node: Node) -> bool:
    """Whether objects belong on the node, be it up or down."""
    return node.weight > 0 and is_to_stay(node)


def domain_weights(nodes: Iterable[Node]) -> dict[str, int]:
    """The failure domains that objects can be spread over, with the weight of their nodes that have a share."""
    weights: dict[str, int] = {}
    for node in nodes:
        if has_share(node):
            weights[node.domain] = weights.get(node.domain, 0) + node.weight
    return weights


def domains_with_share(nodes: Iterable[Node]) -> set[str]:
    """The failure domains that objects can be spread over."""
    return {node.domain for node in nodes if has_share(node)}


def heavy_domains(nodes: Iterable[Node], width: int) -> set[str]:
    """The failure domains with more weight than their one part of every object of that width is worth."""
    weights = domain_weights(nodes)
    whole = sum(weights.values())
    return {domain for domain, weight in weights.items() if min(width, len(weights)) * weight > whole}


def shares_of(nodes: Iterable[Node], width: int) -> dict[int, float]:
    """By number, what each node is to hold of all parts of objects of that width: what its weight says, unless its domain or
    another one is too heavy."""
    known = list(nodes)
    weights = domain_weights(known)
    held = min(width, len(weights))
    parts, total = contested(weights.values(), held)
    shares = dict.fromkeys((node.node for node in known), 0.0)
    for node in known:
        if has_share(node):
            weight = weights[node.domain]
            shares[node.node] = min(1.0, parts * weight / total if total else 1.0) / held * node.weight / weight
    return shares


def is_left_short(nodes: Iterable[Node], changed: Node, width: int) -> bool:
    """Whether a node that becomes as `changed` takes a failure domain away, so that fewer are left than the width."""
    before = list(nodes)
    had = len(domains_with_share(before))
    left = len(domains_with_share(changed if node.node == changed.node else node for node in before))
    return left < had and left < width


def width_in_use(cluster_map: ClusterMap, reports: Iterable[HealReport] = ()) -> int:
    """Failure domains that are needed: as stewards have seen it, or else by the widest class that was ever set."""
    return seen_width(cluster_map, reports) or parse_class(widest_class(cluster_map)).width


def seen_width(cluster_map: ClusterMap, reports: Iterable[HealReport]) -> int:
    """Failure domains that the default class and what is stored need, if all nodes that look after objects have gone through their
    shares since the map is what it is; else 0. A class that nothing has any more does not count, once they have looked."""
    seen = {report.node: report.seen_width for report in reports if report.seen_epoch == cluster_map.epoch}
    stewards = [node.node for node in cluster_map.nodes if node.state == NODE_UP and has_share(node)]
    if not stewards or any(number not in seen for number in stewards):
        return 0
    return max(parse_class(cluster_map.classes[0]).width, *(seen[number] for number in stewards))


def who_needs(cluster_map: ClusterMap, width: int) -> str:
    """A class of that width, or what has one that is in the map no more."""
    return next((text for text in cluster_map.classes if parse_class(text).width == width), "what is stored")


def widest_class(cluster_map: ClusterMap) -> str:
    """The class of the map that needs most failure domains."""
    return max(cluster_map.classes, key=lambda text: parse_class(text).width)
