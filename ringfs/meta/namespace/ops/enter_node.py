"""EnterNode: a data node presents itself. A new disk (uuid) gets the next number, a known one its new particulars; it is up.

| refused | when |
| --- | --- |
| INVALID | no uuid or name, a weight of 0, or more nodes than a map holds |
| NODE_NAME_TAKEN | another disk has that name |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.facts import cluster_map, nodes
from ringfs.meta.namespace.ops.set_node_state import put_node
from ringfs.meta.namespace.system import EnterNode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import NODE_UP, Node, NodeJoined

#: As many as a ClusterMap holds.
_NODES_MAX = 4096


def apply(work: Work, op: EnterNode) -> NodeJoined:
    """See the module."""
    if not op.uuid or not op.name or not op.weight:
        raise Refused(Code.INVALID, "a node has a uuid, a name and a weight")
    known: Node | None = None
    for other in nodes(work.rows):
        if other.uuid == op.uuid:
            known = other
        elif other.name == op.name:
            raise Refused(Code.NODE_NAME_TAKEN, op.name)
    number = known.node if known else _next_number(work)
    node = Node(number, op.uuid, op.name, op.address, op.domain, op.weight, NODE_UP)
    if node != known:
        put_node(work, node)
    return NodeJoined(number, cluster_map(work.rows))


def _next_number(work: Work) -> int:
    number = work.counters.next_node
    if number > _NODES_MAX:
        raise Refused(Code.INVALID, "no more numbers for nodes")
    work.counters.next_node = number + 1
    return number
