"""SetNodeState: the leader found a data node up or down. The epoch grows if that is new.

| refused | when |
| --- | --- |
| NOT_FOUND | there is no such node |
| INVALID | no such state |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.system import SetNodeState
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import NODE_DOWN, NODE_UP, ClusterMap, Node
from ringfs.wire.packing import pack, unpack


def apply(work: Work, op: SetNodeState) -> ClusterMap:
    """See the module."""
    if op.state not in (NODE_UP, NODE_DOWN):
        raise Refused(Code.INVALID, "a node is up or down")
    value = work.rows.get(keys.node(op.node))
    if value is None:
        raise Refused(Code.NOT_FOUND, f"node {op.node}")
    node = Node(op.node, *unpack(value))
    if node.state != op.state:
        node.state = op.state
        put_node(work, node)
    return cluster_map(work.rows)


def put_node(work: Work, node: Node) -> None:
    """Write a node's row; the map's epoch grows."""
    fields = (node.uuid, node.name, node.address, node.domain, node.weight, node.state, node.standing, node.until_ns, node.seed)
    work.rows.put(keys.node(node.node), pack(fields))
    work.rows.put(keys.MAP_EPOCH, pack(cluster_map(work.rows).epoch + 1))
