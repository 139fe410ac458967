"""Which nodes have a share of the ring, and how many failure domains these are. Pure."""

from collections.abc import Iterable

from ringfs.wire.messages.cluster import STANDING_IN, STANDING_MAINTENANCE, Node

_STANDINGS = (STANDING_IN, STANDING_MAINTENANCE)


def has_share(node: Node) -> bool:
    """Whether objects belong on the node, be it up or down."""
    return node.weight > 0 and node.standing in _STANDINGS


def domains_with_share(nodes: Iterable[Node]) -> set[str]:
    """The failure domains that objects can be spread over."""
    return {node.domain for node in nodes if has_share(node)}
