"""SetStanding: an operator says what is to become of a node. The epoch grows if that is new.

MAINTENANCE ends when the leader's clock says so (FollowStanding); said again, it begins anew.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | no standing that operators give; MAINTENANCE without a duration, or another with one; too few domains would be left |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.map_nodes import node_named, put_standing
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import STANDING_DRAINING, STANDING_IN, STANDING_MAINTENANCE, STANDING_OUT, ClusterMap
from ringfs.wire.messages.heal import SetStanding

_GIVEN = (STANDING_IN, STANDING_OUT, STANDING_DRAINING, STANDING_MAINTENANCE)


def apply(work: Work, op: SetStanding) -> ClusterMap:
    """See the module."""
    if op.standing not in _GIVEN:
        raise Refused(Code.INVALID, "a node can be made in, out, draining, or in maintenance")
    if (op.standing == STANDING_MAINTENANCE) != (op.duration_s > 0):
        raise Refused(Code.INVALID, "maintenance, and nothing else, has a duration")
    until_ns = work.leader_ns + op.duration_s * 10**9 if op.duration_s else 0
    put_standing(work, node_named(work, op.name), op.standing, until_ns, op.width)
    return cluster_map(work.rows)
