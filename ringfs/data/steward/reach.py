"""Whom a steward talks to: the leader, over the node's own connection, and all data nodes, its own among them."""

from collections.abc import Sequence
from typing import Any, Protocol

from ringfs.base.checksums import Buffer
from ringfs.base.errors import ConnectionLost
from ringfs.objects.nodes import DataNodes
from ringfs.wire.messages.cluster import ClusterMap, Node

#: Of questions that are answered from memory; putting and reading parts has its own.
ASK_TIMEOUT_S = 10.0


class Member(Protocol):
    """The node's place in the cluster (data/membership.py)."""

    #: The newest map that was heard of; None before the first join.
    map: ClusterMap | None
    #: The node's number; 0 before the first join.
    number: int
    #: When (trio's clock) the leader last said that the map is the newest.
    confirmed_s: float

    async def wait_map(self, epoch: int) -> None:
        """Until the newest map has another epoch than that; 0: until there is one."""
        ...

    async def ask(self, request: Any, *, timeout_s: float) -> Any:
        """What the leader answers. Raises Refused, ConnectionLost (also while there is none)."""
        ...


class Reach:
    """See the module."""

    def __init__(self, member: Member, nodes: DataNodes) -> None:
        self.member = member
        self._nodes = nodes

    async def ask_leader(self, request: Any) -> Any:
        """Its answer. Raises Refused, ConnectionLost."""
        return await self.member.ask(request, timeout_s=ASK_TIMEOUT_S)

    async def ask(self, node: Node, request: Any, payload: Sequence[Buffer] = (), *, timeout_s: float = ASK_TIMEOUT_S) -> Any:
        """What a data node answers. Raises Refused, ConnectionLost."""
        lane = self._nodes.lane(node, bulk=bool(payload))
        return (await lane.call(request, payload, timeout_s=timeout_s)).message

    def node(self, number: int) -> Node:
        """The node of that number. Raises ConnectionLost if the map has none (any more)."""
        assert self.member.map is not None, "asked once the node has joined"
        for node in self.member.map.nodes:
            if node.node == number:
                return node
        raise ConnectionLost(f"node {number} is not in the map any more")
