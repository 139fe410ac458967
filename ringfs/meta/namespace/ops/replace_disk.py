"""ReplaceDisk: a node's disk is gone for good, and another one is to take its place: number, weight, tokens (EnterNode).

Until then the node has no disk (an empty uuid): nothing is on it, and its share waits for the new one. Its standing stays.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| BUSY | it is up |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.map_nodes import node_named, put_node, retire_disk
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import NODE_UP, ClusterMap
from ringfs.wire.messages.heal import ReplaceDisk


def apply(work: Work, op: ReplaceDisk) -> ClusterMap:
    """See the module."""
    node = node_named(work, op.name)
    if node.state == NODE_UP:
        raise Refused(Code.BUSY, f"{op.name} is up: stop it first")
    if node.uuid:
        retire_disk(work, node.uuid)
        node.uuid, node.seed = "", node.seed or node.uuid
        put_node(work, node)
    return cluster_map(work.rows)
