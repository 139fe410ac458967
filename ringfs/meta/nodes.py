"""What data nodes tell about themselves: liveness, sizes, trouble. Volatile and pure; times come in.

Which nodes there are and which are up is the cluster map, state of the namespace machine. Not here: placement (ring/).
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from ringfs.base.limits import DELETE_GRACE_NS, OBJECT_BYTES_MAX
from ringfs.ring.classes import ServiceClass, form_for, parse_class
from ringfs.ring.room import room_bytes
from ringfs.ring.shares import has_share, is_left_short
from ringfs.ring.weights import Weighed, weight_for
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    NODE_UP,
    STANDING_IN,
    STANDING_LOST,
    STANDING_MAINTENANCE,
    ClusterMap,
    Node,
    NodeHeartbeat,
    NodeStatus,
)

#: A node that was silent this long is down; it heartbeats every second.
NODE_SILENCE_NS = 5 * 10**9
#: For so long after a node has lost its share, clients may commit what they put there by an older map.
LATE_COMMITS_NS = DELETE_GRACE_NS


@dataclass(slots=True)
class _Report:
    """When a node was last heard, whether it was heard at all since the start (else heard_ns is that), and its latest heartbeat."""

    heard_ns: int
    was_heard: bool = False
    #: What its disk can hold; 0: it has not said.
    size_bytes: int = 0
    heartbeat: NodeHeartbeat | None = None


class NodeTable:
    """The latest report of each node of the map."""

    def __init__(self, cluster_map: ClusterMap, now_ns: int, out_after_ns: int) -> None:
        """Nodes of the map have NODE_SILENCE_NS to report, and are lost when they were silent for out_after_ns: both count from
        now on, for before it was this server that was not there."""
        self.map = cluster_map
        self._out_after_ns = out_after_ns
        self._reports = {node.node: _Report(now_ns) for node in cluster_map.nodes}
        #: Nodes without a share that may yet get the only copy of something → until when.
        self._late_ns: dict[int, int] = {}
        self._follow_shares(now_ns)

    def take_map(self, cluster_map: ClusterMap, now_ns: int) -> None:
        """The map is another one; nodes that are not in it are forgotten."""
        before = {node.node for node in self.map.nodes if not has_share(node)}
        self.map = cluster_map
        numbers = {node.node for node in cluster_map.nodes}
        self._reports = {number: report for number, report in self._reports.items() if number in numbers}
        self._follow_shares(now_ns, before)

    def _follow_shares(self, now_ns: int, before: Collection[int] = ()) -> None:
        """before: the nodes that had no share before."""
        left = {node.node for node in self.map.nodes if not has_share(node)}
        self._late_ns = {number: until_ns for number, until_ns in self._late_ns.items() if number in left}
        if any(parse_class(text).tolerance == 0 for text in self.map.classes):
            self._late_ns |= dict.fromkeys(left.difference(before), now_ns + LATE_COMMITS_NS)

    def gets_late_commits(self, node: int) -> bool:
        """Whether the node may yet turn out to hold the only copy of something: then what stewards have seen says nothing."""
        return node in self._late_ns

    def late_commits_end(self, now_ns: int) -> bool:
        """Whether that has come to an end for some node: stewards are to look once more. True once."""
        ended = [number for number, until_ns in self._late_ns.items() if until_ns <= now_ns]
        for number in ended:
            del self._late_ns[number]
        return bool(ended)

    def joined(self, node: int, now_ns: int, size_bytes: int = 0) -> None:
        """A node presented itself."""
        report = self._reports.setdefault(node, _Report(now_ns))
        report.heard_ns = now_ns
        report.was_heard = True
        report.size_bytes = size_bytes

    def report(self, heartbeat: NodeHeartbeat, now_ns: int) -> bool:
        """Take a heartbeat; False if there is no such node."""
        report = self._reports.get(heartbeat.node)
        if report is None:
            return False
        report.heard_ns = now_ns
        report.was_heard = True
        report.heartbeat = heartbeat
        report.size_bytes = heartbeat.size_bytes
        return True

    def state_changes(self, now_ns: int) -> list[tuple[int, int]]:
        """(node, new state) where the map disagrees with who was heard. Only who was heard since the start comes up."""
        changes = []
        for node in self.map.nodes:
            is_silent = self._silence_ns(node.node, now_ns) >= NODE_SILENCE_NS
            if node.state == NODE_UP and is_silent:
                changes.append((node.node, NODE_DOWN))
            elif node.state == NODE_DOWN and not is_silent and self._reports[node.node].was_heard:
                changes.append((node.node, NODE_UP))
        return changes

    def standing_changes(self, now_ns: int, wall_ns: int, width: int) -> list[tuple[int, int]]:
        """(node, new standing) where time has come: LOST after too long a silence, unless fewer domains than the width were left
        then; IN after MAINTENANCE, which ends by wall_ns, the leader's."""
        changes = []
        for node in self.map.nodes:
            if node.standing == STANDING_MAINTENANCE and node.until_ns <= wall_ns:
                changes.append((node.node, STANDING_IN))
            elif node.standing == STANDING_IN and node.state == NODE_DOWN and self._is_lost(node, now_ns, width):
                changes.append((node.node, STANDING_LOST))
        return changes

    def _is_lost(self, node: Node, now_ns: int, width: int) -> bool:
        is_due = self._silence_ns(node.node, now_ns) >= self._out_after_ns
        return is_due and not is_left_short(self.map.nodes, replace(node, standing=STANDING_LOST), width)

    def holds_nothing(self, node: int) -> bool:
        """Whether the node has said that it holds no object at all."""
        told = self._reports[node].heartbeat
        return told is not None and told.object_count == 0

    def stood_still(self, duration_ns: int) -> None:
        """This process did not run for so long: silence in that time is nobody's fault."""
        for report in self._reports.values():
            report.heard_ns += duration_ns

    def weight_for(self, uuid: str, size_bytes: int) -> int | None:
        """What a disk of that size is to weigh: as it does, or as the others say; None while some of these have not been heard."""
        mine = next((node.weight for node in self.map.nodes if node.uuid == uuid), None)
        if mine is not None:
            return mine
        if not all(self._reports[node.node].was_heard for node in self.map.nodes if node.state == NODE_UP):
            return None
        return weight_for(size_bytes, [Weighed(node.weight, self._reports[node.node].size_bytes) for node in self.map.nodes])

    def has_told_space(self) -> bool:
        """Whether each node that is up and has a share has said what it has: before, capacity() tells of a part of the cluster."""
        return all(self._has_told(node) for node in self.map.nodes if node.state == NODE_UP and has_share(node))

    def capacity(self, default_class: ServiceClass) -> tuple[int, int]:
        """(total, free) bytes that users can store under the class, on nodes with a share. What is dead and not deleted yet is not
        free.

        Nodes that are down have no room, unless without them there were too few domains for anything: then writes wait for them,
        and it is not space that they want for. (0, 0) if nobody knows what these have: they have been down since the start. Nodes
        that share a file system have what each may use of it, but together no more than is free there.
        """
        sharing = [node for node in self.map.nodes if has_share(node)]
        told = [node for node in sharing if self._has_told(node)]
        up = [node for node in told if node.state == NODE_UP]
        if len({node.domain for node in up}) <= default_class.tolerance:
            if len(told) < len(sharing):
                return 0, 0
            up = sharing
        free_bytes = self._free_bytes(up, default_class)
        used_bytes = sum(self._told(node).used_bytes for node in told)
        return free_bytes + int(used_bytes / default_class.overhead), free_bytes

    def _free_bytes(self, nodes: list[Node], default_class: ServiceClass) -> int:
        by_domain: Counter[str] = Counter()
        allowed: Counter[str] = Counter()
        there: dict[str, int] = {}
        for node in nodes:
            told = self._told(node)
            by_domain[node.domain] += min(told.free_bytes, told.filesystem_free_bytes)
            allowed[told.filesystem] += told.free_bytes
            there[told.filesystem] = max(there.get(told.filesystem, 0), told.filesystem_free_bytes)
        form = form_for(default_class, OBJECT_BYTES_MAX, sum(free_bytes > 0 for free_bytes in by_domain.values()))
        together_bytes = sum(min(allowed[filesystem], there[filesystem]) for filesystem in there)
        return min(room_bytes(form, by_domain.values()), int(together_bytes / form.overhead))

    def _has_told(self, node: Node) -> bool:
        return self._reports[node.node].heartbeat is not None

    def _told(self, node: Node) -> NodeHeartbeat:
        told = self._reports[node.node].heartbeat
        assert told is not None, "only nodes that have reported are asked"
        return told

    def statuses(self, now_ns: int) -> list[NodeStatus]:
        """All nodes of the map, as Status shows them."""
        return [self._status(node.node, now_ns) for node in self.map.nodes]

    def _status(self, node: int, now_ns: int) -> NodeStatus:
        silent_ms, size_bytes = self._silence_ns(node, now_ns) // 10**6, self._reports[node].size_bytes
        told = self._reports[node].heartbeat
        if told is None:
            return NodeStatus(node, 0, 0, 0, silent_ms, "has not reported since the metadata server started", size_bytes)
        return NodeStatus(node, told.used_bytes, told.free_bytes, told.object_count, silent_ms, told.trouble, size_bytes)

    def _silence_ns(self, node: int, now_ns: int) -> int:
        return max(0, now_ns - self._reports[node].heard_ns)
