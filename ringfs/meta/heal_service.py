"""What stewards and operators ask, without a session: live objects and their forms, reports of healing, wishes for nodes.

Nothing here heals: that is the stewards' work (data/steward/).
"""

from dataclasses import replace
from functools import partial

import structlog

from ringfs.base.errors import Code, Refused
from ringfs.meta.live import Live
from ringfs.meta.namespace.live_objects import list_live, list_references
from ringfs.ring.shares import is_away, is_to_stay
from ringfs.wire.messages.cluster import NODE_UP, STANDING_NAMES, ClusterMap, Node
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.heal import (
    HealReport,
    ListLive,
    ListReferences,
    RemoveNode,
    ReplaceDisk,
    SetStanding,
    SetWeight,
    StartHeal,
)
from ringfs.wire.rpc import Request

log = structlog.get_logger("ringfs.meta")


class HealService:
    """See the module."""

    def __init__(self, live: Live) -> None:
        self._live = live

    # --- stewards -----------------------------------------------------------------------------------------------------

    def list_live(self, request: Request) -> None:
        """ListLive: LivePage."""
        message: ListLive = request.message
        self._live.reply(request, list_live(self._live.leader.view, message))

    def list_references(self, request: Request) -> None:
        """ListReferences: ReferencePage."""
        message: ListReferences = request.message
        self._live.reply(request, list_references(self._live.leader.view, message))

    def transact(self, request: Request) -> None:
        """Reform: ReformDone; Sweep: SweepDone; Reclass: Reclassed."""
        self._live.leader.admit(partial(self._transact, request))

    def _transact(self, request: Request) -> None:
        self._live.reply(request, self._live.transact_own(request.message))

    def take_report(self, request: Request) -> None:
        """HealReport: Done. Refused NOT_FOUND."""
        message: HealReport = request.message
        if all(node.node != message.node for node in self._live.nodes.map.nodes):
            raise Refused(Code.NOT_FOUND, f"node {message.node}")
        self._live.heals.take(message)
        self._live.reply(request, Done())

    def get_heal(self, request: Request) -> None:
        """GetHeal: HealStatus."""
        self._live.reply(request, self._live.heals.status(self._live.nodes.map))

    # --- operators ----------------------------------------------------------------------------------------------------

    def change_map(self, request: Request) -> None:
        """SetStanding, SetWeight, ReplaceDisk, StartHeal: ClusterMap."""
        self._live.leader.admit(partial(self._change_map, request))

    def remove(self, request: Request) -> None:
        """RemoveNode: ClusterMap."""
        self._live.leader.admit(partial(self._remove, request))

    def _remove(self, request: Request) -> None:
        message: RemoveNode = request.message
        node = next((each for each in self._live.nodes.map.nodes if each.name == message.name), None)
        reason = "" if node is None else self._why_needed(node)
        if reason:
            self._live.reply(request, Refused(Code.BUSY, f"{message.name} may hold what others do not: {reason}"))
        else:
            self._change_map(request)

    def _why_needed(self, node: Node) -> str:
        """Why the node cannot be forgotten yet, or "". Of one that is to stay nothing is waited for: the namespace refuses it."""
        live = self._live
        if is_to_stay(node):
            return ""
        if node.state == NODE_UP and live.nodes.holds_nothing(node.node):
            return ""
        if live.nodes.gets_late_commits(node.node):
            return "clients may still commit what they have put there, for a minute after it lost its share"
        cluster_map = live.nodes.map
        count = live.heals.unhealable_count(cluster_map)
        if count:
            return f"{count} objects cannot be made whole without it (delete their files, or bring it back)"
        reason = live.heals.why_not_healed(cluster_map)
        waiting_count = live.heals.waiting_count(cluster_map)
        if waiting_count and not reason:
            return f"{waiting_count} objects wait for {_away(cluster_map)}, and are not whole without it before that"
        return reason

    def _change_map(self, request: Request) -> None:
        wish = request.message
        if isinstance(wish, SetStanding):
            wish = replace(wish, width=self._live.heals.seen_width(self._live.nodes.map))
        changed = self._live.transact_own(wish)
        if not isinstance(changed, Refused):
            _log_wish(wish)
            self._live.take_map(changed)
        self._live.reply(request, changed)


def _away(cluster_map: ClusterMap) -> str:
    names = [node.name for node in cluster_map.nodes if is_away(node)]
    return f"{', '.join(names)} to come back" if names else "a place"


def _log_wish(message: SetStanding | SetWeight | RemoveNode | ReplaceDisk | StartHeal) -> None:
    match message:
        case SetStanding():
            log.warning("an operator changed a node", name=message.name, standing=STANDING_NAMES[message.standing])
        case SetWeight():
            log.warning("an operator changed a node", name=message.name, weight=message.weight)
        case StartHeal():
            log.info("stewards are to look at everything")
        case _:
            log.warning("an operator changed a node", name=message.name, wish=type(message).__name__)
