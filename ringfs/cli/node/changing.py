"""Changing a node at the metadata service: asking, showing the outcome, saying why it was refused."""

import json

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import Code, Refused, UserError
from ringfs.cli import exits
from ringfs.cli.node_view import node_json, standing_text, state_text
from ringfs.cli.reach import ask_leader, ask_status
from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.messages.heal import RemoveNode, ReplaceDisk, SetStanding, SetWeight

Change = SetStanding | SetWeight | RemoveNode | ReplaceDisk


def node_in(cluster_map: ClusterMap, name: str) -> Node:
    """The node of that name. Raises UserError."""
    for node in cluster_map.nodes:
        if node.name == name:
            return node
    names = ", ".join(node.name for node in cluster_map.nodes) or "none yet"
    raise UserError(f"the cluster has no node {name!r}: it has {names}")


async def change_node(config: ClusterConfig, verb: str, change: Change) -> ClusterMap:
    """The map afterwards. Raises UserError (no such node), NotClean (refused, with the reason), NotReachable."""
    try:
        changed: ClusterMap = await ask_leader(config, "node", change)
    except Refused as refused:
        if refused.code is Code.NOT_FOUND:
            node_in((await ask_status(config, "node")).map, change.name)
        raise exits.NotClean(f"cannot {verb} {change.name}: {refused.detail or refused}") from None
    return changed


def change_and_show(config: ClusterConfig, verb: str, change: Change, as_json: bool) -> Node:
    """Do it, show the node as it is now."""
    node = node_in(trio.run(change_node, config, verb, change), change.name)
    show(node, as_json)
    return node


def show(node: Node, as_json: bool) -> None:
    """In a line, or for scripts."""
    if as_json:
        click.echo(json.dumps(node_json(node, None)))
    else:
        click.echo(f"{node.name} is {standing_text(node)} ({state_text(node)}, weight {node.weight})")
