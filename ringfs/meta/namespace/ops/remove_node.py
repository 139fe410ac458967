"""RemoveNode: forget a node that has no share any more. Its number and its disk never come back.

Whether what it held is elsewhere, stewards know and not the namespace: who asks has made sure (meta/heal_service.py).

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | it is IN, or in MAINTENANCE |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.map_nodes import grow_epoch, node_named, retire_disk
from ringfs.meta.namespace.work import Work
from ringfs.ring.shares import is_to_stay
from ringfs.wire.messages.cluster import STANDING_NAMES, ClusterMap
from ringfs.wire.messages.heal import RemoveNode


def apply(work: Work, op: RemoveNode) -> ClusterMap:
    """See the module."""
    node = node_named(work, op.name)
    if is_to_stay(node):
        raise Refused(Code.INVALID, f"{op.name} is {STANDING_NAMES[node.standing]}: drain it first, or take it out")
    work.rows.delete(keys.node(node.node))
    work.rows.delete(keys.reaped(node.node))
    retire_disk(work, node.uuid)
    grow_epoch(work)
    return cluster_map(work.rows)
