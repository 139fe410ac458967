"""StartHeal: the map is of a new epoch, and nothing else in it; so every steward goes through its share now. Nothing is refused."""

from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.map_nodes import grow_epoch
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.heal import StartHeal


def apply(work: Work, op: StartHeal) -> ClusterMap:
    """See the module."""
    grow_epoch(work)
    return cluster_map(work.rows)
