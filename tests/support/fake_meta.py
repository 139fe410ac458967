"""A metadata server as data nodes see it: it lets nodes join, hears heartbeats, tells condemned objects. No namespace behind it."""

from ringfs.base.errors import Code
from ringfs.wire.messages.cluster import (
    NODE_UP,
    ROLE_LEADER,
    ClusterMap,
    Condemned,
    CondemnedPage,
    GetMap,
    GetServer,
    JoinNode,
    ListCondemned,
    Node,
    NodeHeartbeat,
    NodeJoined,
    Reaped,
    ServerStatus,
)
from ringfs.wire.messages.common import Done
from ringfs.wire.rpc import Peer, Request
from tests.support.stores import CLUSTER


class FakeMeta:
    """A wire Handler."""

    def __init__(self) -> None:
        #: Refuse every join with this, if anything.
        self.refuse_join: Code | None = None
        self.refuse_heartbeat: Code | None = None
        self.cluster = CLUSTER
        self.epoch = 1
        self.nodes: list[Node] = []
        self.heartbeats: list[NodeHeartbeat] = []
        self.condemned: list[Condemned] = []
        self.listed: list[ListCondemned] = []
        self.reaped: list[Reaped] = []
        self.peers: list[Peer] = []
        self.joins: list[JoinNode] = []
        #: What it says of itself, and how often it did.
        self.asked_count = 0
        self.status = ServerStatus("meta1", ROLE_LEADER, 1, 0, "meta1", "", [], 0, "")

    def connected(self, peer: Peer) -> None:
        """See Handler."""
        self.peers.append(peer)

    def disconnected(self, peer: Peer) -> None:
        """See Handler."""
        self.peers.remove(peer)

    @property
    def map(self) -> ClusterMap:
        """The present one."""
        return ClusterMap(self.epoch, self.cluster, self.nodes)

    @property
    def join_count(self) -> int:
        """How often a node has tried to join."""
        return len(self.joins)

    def handle(self, request: Request) -> None:
        """See Handler."""
        match request.message:
            case GetServer():
                self.asked_count += 1
                request.reply(self.status)
            case GetMap():
                request.reply(self.map)
            case JoinNode() as joining:
                self._join(request, joining)
            case NodeHeartbeat() as heartbeat:
                self.heartbeats.append(heartbeat)
                if self.refuse_heartbeat is not None:
                    request.refuse(self.refuse_heartbeat)
                else:
                    request.reply(Done() if heartbeat.epoch == self.epoch else self.map)
            case ListCondemned() as asked:
                self.listed.append(asked)
                rows = [row for row in self.condemned if row.sequence > asked.after][: asked.limit]
                request.reply(CondemnedPage(rows, rows[-1].sequence if rows else asked.after))
            case Reaped() as reaped:
                self.reaped.append(reaped)
                request.reply(Done())
            case _:
                request.refuse(Code.BAD_REQUEST)

    def _join(self, request: Request, joining: JoinNode) -> None:
        self.joins.append(joining)
        if self.refuse_join is not None:
            request.refuse(self.refuse_join)
            return
        if all(node.uuid != joining.uuid for node in self.nodes):
            number = len(self.nodes) + 1
            self.nodes.append(
                Node(number, joining.uuid, joining.name, joining.address, joining.domain, joining.weight or 100, NODE_UP)
            )
            self.epoch += 1
        (number,) = (node.node for node in self.nodes if node.uuid == joining.uuid)
        request.reply(NodeJoined(number, self.map))
