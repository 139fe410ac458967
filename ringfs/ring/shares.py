"""Which nodes have a share of the ring, and how many failure domains these are. Pure."""

from collections.abc import Iterable

from ringfs.ring.classes import parse_class
from ringfs.wire.messages.cluster import STANDING_IN, STANDING_MAINTENANCE, ClusterMap, Node

_STANDINGS = (STANDING_IN, STANDING_MAINTENANCE)


def is_to_stay(node: Node) -> bool:
    """Whether nobody wants to be rid of the node."""
    return node.standing in _STANDINGS


def has_share(node: Node) -> bool:
    """Whether objects belong on the node, be it up or down."""
    return node.weight > 0 and is_to_stay(node)


def domains_with_share(nodes: Iterable[Node]) -> set[str]:
    """The failure domains that objects can be spread over."""
    return {node.domain for node in nodes if has_share(node)}


def is_left_short(nodes: Iterable[Node], changed: Node, width: int) -> bool:
    """Whether a node that becomes as `changed` takes a failure domain away, so that fewer are left than the width."""
    before = list(nodes)
    had = len(domains_with_share(before))
    left = len(domains_with_share(changed if node.node == changed.node else node for node in before))
    return left < had and left < width


def width_in_use(cluster_map: ClusterMap) -> int:
    """Failure domains that the widest class of the map needs."""
    return max(parse_class(text).width for text in cluster_map.classes)
