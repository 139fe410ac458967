"""SetNodeState: the leader found a data node up or down. The epoch grows if that is new. One that is LOST and comes up is IN again.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | no such state |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.map_nodes import node_numbered, put_node
from ringfs.meta.namespace.system import SetNodeState
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import NODE_DOWN, NODE_UP, STANDING_IN, STANDING_LOST, ClusterMap


def apply(work: Work, op: SetNodeState) -> ClusterMap:
    """See the module."""
    if op.state not in (NODE_UP, NODE_DOWN):
        raise Refused(Code.INVALID, "a node is up or down")
    node = node_numbered(work, op.node)
    if node.state != op.state:
        node.state = op.state
        if op.state == NODE_UP and node.standing == STANDING_LOST:
            node.standing = STANDING_IN
        put_node(work, node)
    return cluster_map(work.rows)
