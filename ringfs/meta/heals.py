"""What stewards report about healing: the latest of each node since the leader leads. Volatile and pure."""

from ringfs.ring.shares import has_share, seen_width
from ringfs.wire.messages.cluster import NODE_UP, ClusterMap
from ringfs.wire.messages.heal import HealReport, HealStatus


class HealTable:
    """One report for each node of the map."""

    def __init__(self) -> None:
        self._reports: dict[int, HealReport] = {}

    def take(self, report: HealReport) -> None:
        """The latest of its node."""
        self._reports[report.node] = report

    def status(self, cluster_map: ClusterMap) -> HealStatus:
        """The reports of all nodes that are up. Healed: those of them that have a share are through with it at this epoch."""
        return HealStatus(cluster_map.epoch, not self.why_not_healed(cluster_map), self._current(cluster_map))

    def why_not_healed(self, cluster_map: ClusterMap) -> str:
        """What is to be waited for, or ""."""
        stewards = [node for node in cluster_map.nodes if node.state == NODE_UP and has_share(node)]
        late = [node.name for node in stewards if self._clean_epoch(node.node) < cluster_map.epoch]
        if late:
            return f"healing and moving goes on at {', '.join(late)}"
        return "" if stewards else "no node with a share is up"

    def unhealable_count(self, cluster_map: ClusterMap) -> int:
        """Objects that stewards cannot make whole from what there is."""
        return sum(report.unhealable for report in self._current(cluster_map))

    def waiting_count(self, cluster_map: ClusterMap) -> int:
        """Objects of which parts are not where they belong, and cannot be before some node comes back."""
        return sum(report.waiting for report in self._current(cluster_map))

    def seen_width(self, cluster_map: ClusterMap) -> int:
        """As ring/shares.py says."""
        return seen_width(cluster_map, self._current(cluster_map))

    def _current(self, cluster_map: ClusterMap) -> list[HealReport]:
        """Nodes that are down have nothing to say: their shares are the others' by now."""
        numbers = {node.node for node in cluster_map.nodes}
        self._reports = {number: report for number, report in self._reports.items() if number in numbers}
        up = {node.node for node in cluster_map.nodes if node.state == NODE_UP}
        return [report for number, report in self._reports.items() if number in up]

    def _clean_epoch(self, node: int) -> int:
        report = self._reports.get(node)
        return 0 if report is None else report.clean_epoch
