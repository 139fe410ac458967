"""FollowStanding: time has made a node LOST (it was down for too long), or IN again (its MAINTENANCE is over).

A node that an operator has given another standing meanwhile, or that is up again, keeps what it has.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | any other standing; too few domains would be left for the data of the lost one |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.map_nodes import node_numbered, put_standing
from ringfs.meta.namespace.system import FollowStanding
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import NODE_DOWN, STANDING_IN, STANDING_LOST, STANDING_MAINTENANCE, ClusterMap


def apply(work: Work, op: FollowStanding) -> ClusterMap:
    """See the module."""
    node = node_numbered(work, op.node)
    if op.standing == STANDING_LOST:
        if node.standing == STANDING_IN and node.state == NODE_DOWN:
            put_standing(work, node, STANDING_LOST, width=op.width)
    elif op.standing == STANDING_IN:
        if node.standing == STANDING_MAINTENANCE and node.until_ns <= work.leader_ns:
            put_standing(work, node, STANDING_IN)
    else:
        raise Refused(Code.INVALID, "time makes a node lost, or in")
    return cluster_map(work.rows)
