"""EnterNode: a data node presents itself, and is up.

A disk (uuid) that is not known gets the next number and begins IN, with the weight that it brings. A known one has its new name,
address and domain; its weight stays, for an operator may have changed it (SetWeight), and so does its standing, but LOST becomes
IN. Where a disk is to be replaced, whichever comes under the name takes the place: number, weight, what tokens come from; it is
IN. Losses make the epoch grow in any case, so that stewards look at once.

| refused | when |
| --- | --- |
| INVALID | no uuid or name, a weight of 0 or above WEIGHT_MAX, or more nodes than a map holds |
| NODE_NAME_TAKEN | another disk has that name |
| NODE_REMOVED | the disk was removed from the cluster, or replaced |
"""

from dataclasses import replace

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import WEIGHT_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.facts import cluster_map, nodes
from ringfs.meta.namespace.map_nodes import put_node
from ringfs.meta.namespace.system import EnterNode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.cluster import NODE_UP, STANDING_IN, STANDING_LOST, Node, NodeJoined

#: As many as a ClusterMap holds.
_NODES_MAX = 4096
#: Numbers are 16 bits, and never come back.
_NUMBER_MAX = 0xFFFF


def apply(work: Work, op: EnterNode) -> NodeJoined:
    """See the module."""
    if not op.uuid or not op.name or not 0 < op.weight <= WEIGHT_MAX:
        raise Refused(Code.INVALID, f"a node has a uuid, a name and a weight from 1 to {WEIGHT_MAX}")
    known = nodes(work.rows)
    node = _row_for(work, known, op)
    node.uuid, node.name, node.address, node.domain, node.state = op.uuid, op.name, op.address, op.domain, NODE_UP
    if node.standing == STANDING_LOST:
        node.standing = STANDING_IN
    if op.has_losses or node not in known:
        put_node(work, node)
    return NodeJoined(node.node, cluster_map(work.rows))


def _row_for(work: Work, known: list[Node], op: EnterNode) -> Node:
    """A copy of the row that the disk has or takes over, or a new one. Refused."""
    mine = next((node for node in known if node.uuid == op.uuid), None)
    namesake = next((node for node in known if node.name == op.name and node is not mine), None)
    if mine is None and namesake is not None and not namesake.uuid:
        work.rows.delete(keys.retired(op.uuid))
        return replace(namesake, standing=STANDING_IN, until_ns=0)
    if namesake is not None:
        raise Refused(Code.NODE_NAME_TAKEN, op.name)
    if mine is not None:
        return replace(mine)
    if work.rows.get(keys.retired(op.uuid)) is not None:
        raise Refused(Code.NODE_REMOVED, op.name)
    if len(known) >= _NODES_MAX:
        raise Refused(Code.INVALID, f"a map holds {_NODES_MAX} nodes")
    return Node(_next_number(work), op.uuid, op.name, op.address, op.domain, op.weight, NODE_UP)


def _next_number(work: Work) -> int:
    number = work.counters.next_node
    if number > _NUMBER_MAX:
        raise Refused(Code.INVALID, "no more numbers for nodes")
    work.counters.next_node = number + 1
    return number
