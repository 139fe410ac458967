"""Nodes of the cluster map, while a transaction works on them: found by name, written, refused what would leave too few domains."""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.facts import cluster_map, nodes
from ringfs.meta.namespace.records import NOTHING
from ringfs.meta.namespace.work import Work
from ringfs.ring.shares import is_left_short, who_needs, widest_class, width_in_use
from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.packing import pack, unpack


def node_numbered(work: Work, number: int) -> Node:
    """Refused NOT_FOUND."""
    value = work.rows.get(keys.node(number))
    if value is None:
        raise Refused(Code.NOT_FOUND, f"node {number}")
    return Node(number, *unpack(value))


def node_named(work: Work, name: str) -> Node:
    """Refused NOT_FOUND."""
    found = next((node for node in nodes(work.rows) if node.name == name), None)
    if found is None:
        raise Refused(Code.NOT_FOUND, f"there is no node {name}")
    return found


def put_node(work: Work, node: Node) -> None:
    """Write a node's row; the map's epoch grows."""
    fields = (node.uuid, node.name, node.address, node.domain, node.weight, node.state, node.standing, node.until_ns, node.seed)
    work.rows.put(keys.node(node.node), pack(fields))
    grow_epoch(work)


def grow_epoch(work: Work) -> None:
    """The map is another one."""
    work.rows.put(keys.MAP_EPOCH, pack(cluster_map(work.rows).epoch + 1))


def retire_disk(work: Work, uuid: str) -> None:
    """The disk is not to come back by itself."""
    if uuid:
        work.rows.put(keys.retired(uuid), NOTHING)


def put_standing(work: Work, node: Node, standing: int, until_ns: int = 0, width: int = 0) -> None:
    """Give a node another standing, if it is one. Refused INVALID if too few domains were left with a share: fewer than the width,
    or, if that is 0, than the widest class of the map needs."""
    if (node.standing, node.until_ns) == (standing, until_ns):
        return
    node.standing, node.until_ns = standing, until_ns
    before = cluster_map(work.rows)
    if is_left_short(before.nodes, node, width or width_in_use(before)):
        raise Refused(Code.INVALID, f"too few failure domains without {node.name}: {_what_needs(before, width)}")
    put_node(work, node)


def _what_needs(before: ClusterMap, width: int) -> str:
    if width:
        return f"{who_needs(before, width)} needs {width}"
    needed = f"{widest_class(before)} needs {width_in_use(before)}"
    return f"{needed}, and counts as in use until stewards have looked at all that is stored: wait for 'ringfs heal wait'"
