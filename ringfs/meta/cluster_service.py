"""The cluster map and data nodes, condemned objects, status: what is asked without a session, and answered in the grace period too.

Liveness: a node that is silent for NODE_SILENCE_NS goes down, one that heartbeats is up; down for out_after_s, it is lost. All are
transactions, and every change of the map is pushed to the sessions once it is durable.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.meta.live import Live
from ringfs.meta.namespace import facts
from ringfs.meta.namespace.condemned import condemned_page, has_passed
from ringfs.meta.namespace.system import EnterNode, FollowStanding, ForgetVerdicts, MarkReaped, SetNodeState
from ringfs.ring.shares import width_in_use
from ringfs.wire.messages.cluster import (
    NODE_UP,
    STANDING_LOST,
    STANDING_NAMES,
    ClusterMap,
    JoinNode,
    ListCondemned,
    NodeHeartbeat,
    NodeJoined,
    Reaped,
    ServerStatus,
    Status,
    StatusSession,
)
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.heal import StartHeal
from ringfs.wire.rpc import Request

log = structlog.get_logger("ringfs.meta")


class ClusterService:
    """See the module. `name` is this server's, for Status; `tell_server` what it says of itself."""

    def __init__(self, live: Live, name: str, tell_server: Callable[[], ServerStatus]) -> None:
        self._live = live
        self._name = name
        self._tell_server = tell_server
        #: A change of nodes' states waits for admission.
        self._is_changing = False

    def get_map(self, request: Request) -> None:
        """GetMap: ClusterMap."""
        self._live.reply(request, self._live.nodes.map)

    # --- data nodes ---------------------------------------------------------------------------------------------------

    def join(self, request: Request) -> None:
        """JoinNode: NodeJoined; a transaction unless the map says all that already."""
        self._live.leader.admit(partial(self._join, request))

    def _join(self, request: Request) -> None:
        message: JoinNode = request.message
        live = self._live
        node, cluster_map = self._as_in_map(message), live.nodes.map
        if node is None:
            joined = self._entered(message)
            if isinstance(joined, Refused):
                live.reply(request, joined)
                return
            log.info("node joined", node=joined.node, name=message.name, address=message.address, lost=message.has_losses)
            node, cluster_map = joined.node, joined.map
        live.nodes.joined(node, live.clock.monotonic_ns(), message.size_bytes)
        live.take_map(cluster_map)
        live.reply(request, NodeJoined(node, cluster_map))

    def _entered(self, joining: JoinNode) -> Any:
        """NodeJoined, or Refused."""
        weight = joining.weight or self._live.nodes.weight_for(joining.uuid, joining.size_bytes)
        if weight is None:
            return Refused(
                Code.TOO_EARLY, "its weight goes by the sizes of the other disks, and not all of their nodes are here yet"
            )
        fields = (joining.uuid, joining.name, joining.address, joining.domain, weight, joining.has_losses)
        return self._live.transact_own(EnterNode(*fields))

    def _as_in_map(self, joining: JoinNode) -> int | None:
        """The node's number, if the map says of it all that it would after it has entered."""
        wanted = (joining.uuid, joining.name, joining.address, joining.domain, NODE_UP)
        for node in self._live.nodes.map.nodes:
            is_same = (node.uuid, node.name, node.address, node.domain, node.state) == wanted
            if is_same and node.standing != STANDING_LOST and not joining.has_losses:
                return node.node
        return None

    def heartbeat(self, request: Request) -> None:
        """NodeHeartbeat: the map if the node's is old, else Done. Refused NOT_FOUND: the node must join."""
        message: NodeHeartbeat = request.message
        if not self._live.nodes.report(message, self._live.clock.monotonic_ns()):
            raise Refused(Code.NOT_FOUND, f"node {message.node}")
        self._live.look_at_space()
        self.follow_liveness()
        cluster_map = self._live.nodes.map
        self._live.reply(request, Done() if message.epoch == cluster_map.epoch else cluster_map)

    def follow_liveness(self) -> None:
        """Make the map say who is up, lost, or back from maintenance; forget what nobody holds back any more."""
        if has_passed(self._live.leader.view):
            self._live.leader.admit(self._forget_verdicts)
        if self._live.nodes.late_commits_end(self._live.clock.monotonic_ns()):
            self._live.leader.admit(self._look_again)
        if not self._is_changing and self._changes():
            self._is_changing = True
            self._live.leader.admit(self._follow)

    def _changes(self) -> list[SetNodeState | FollowStanding]:
        live = self._live
        now_ns, wall_ns = live.clock.monotonic_ns(), live.leader.tell_now_ns()
        changes: list[SetNodeState | FollowStanding] = [SetNodeState(*each) for each in live.nodes.state_changes(now_ns)]
        seen_width = live.heals.seen_width(live.nodes.map)
        passed = live.nodes.standing_changes(now_ns, wall_ns, seen_width or width_in_use(live.nodes.map))
        return [*changes, *(FollowStanding(*each, seen_width) for each in passed)]

    def _follow(self) -> None:
        self._is_changing = False
        for change in self._changes():
            changed = self._live.transact_own(change)
            # Without room for the transaction the next look at the nodes tries again.
            if isinstance(changed, ClusterMap):
                what = "up" if change == SetNodeState(change.node, NODE_UP) else "down"
                if isinstance(change, FollowStanding):
                    what = STANDING_NAMES[change.standing]
                log.warning(f"node is {what}", node=change.node)
                self._live.take_map(changed)

    def _look_again(self) -> None:
        looking = self._live.transact_own(StartHeal())
        if isinstance(looking, ClusterMap):
            self._live.take_map(looking)

    def _forget_verdicts(self) -> None:
        self._live.transact_own(ForgetVerdicts())

    # --- condemned objects --------------------------------------------------------------------------------------------

    def list_condemned(self, request: Request) -> None:
        """ListCondemned: CondemnedPage."""
        message: ListCondemned = request.message
        limit = min(message.limit, PAGE_ENTRIES_MAX)
        leader = self._live.leader
        self._live.reply(request, condemned_page(leader.view, message.after, limit, leader.tell_now_ns()))

    def reaped(self, request: Request) -> None:
        """Reaped: Done."""
        self._live.leader.admit(partial(self._reaped, request))

    def _reaped(self, request: Request) -> None:
        message: Reaped = request.message
        self._live.reply(request, self._live.transact_own(MarkReaped(message.node, message.through)))

    # --- status -------------------------------------------------------------------------------------------------------

    def get_status(self, request: Request) -> None:
        """GetStatus: Status."""
        live = self._live
        now_ns = live.clock.monotonic_ns()
        counters = facts.counters(live.leader.view)
        total_bytes, free_bytes = live.capacity()
        status = Status(
            cluster=live.nodes.map.cluster,
            leader=self._name,
            term=live.leader.term,
            position=live.leader.applied,
            checkpoint=live.leader.checkpointed,
            default_class=live.default_class,
            map=live.nodes.map,
            nodes=live.nodes.statuses(now_ns),
            sessions=self._sessions(now_ns),
            inode_count=counters.inode_count,
            live_bytes=counters.live_bytes,
            dead_bytes=counters.dead_bytes,
            total_bytes=total_bytes,
            free_bytes=free_bytes,
            trouble=live.leader.trouble,
        )
        live.reply(request, status)

    def get_server(self, request: Request) -> None:
        """GetServer: ServerStatus. At once: whoever asks wants to know whether anybody is there, also while the journal is slow."""
        request.reply(self._tell_server())

    def _sessions(self, now_ns: int) -> list[StatusSession]:
        opens = self._live.opens
        return [
            StatusSession(each.number, each.name, opens.count_of(each.number), max(0, now_ns - each.heard_ns) // 10**6)
            for each in self._live.sessions
        ]
