"""SetWeight: an operator gives a node another share of the ring. It stays, whatever the node says when it joins.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | a weight of 0, or above WEIGHT_MAX |
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import WEIGHT_MAX
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.map_nodes import node_named, put_node
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.heal import SetWeight


def apply(work: Work, op: SetWeight) -> ClusterMap:
    """See the module."""
    if not 0 < op.weight <= WEIGHT_MAX:
        raise Refused(Code.INVALID, f"a weight is from 1 to {WEIGHT_MAX}: to empty a node, drain it")
    node = node_named(work, op.name)
    if node.weight != op.weight:
        node.weight = op.weight
        put_node(work, node)
    return cluster_map(work.rows)
