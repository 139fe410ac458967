"""`ringfs node out`."""

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.exposure import exposure_text
from ringfs.cli.heal import ask_heal
from ringfs.cli.node.changing import change_node, node_in, show
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ask_status
from ringfs.wire.messages.cluster import NODE_UP, STANDING_OUT, Node
from ringfs.wire.messages.heal import SetStanding


@click.command("out")
@click.argument("name", metavar="NODE")
@click.option("--force", is_flag=True, help="Also a node that is up, if everything it holds is elsewhere as promised.")
@cluster_option
@json_option
def command(name: str, force: bool, cluster: str | None, as_json: bool) -> int:
    """Give NODE up, now: what it holds counts for nothing and is rebuilt elsewhere. Nodes that are down for long are given up
    without this. A node that is up is better drained.

    \b
    Example:  ringfs node out data2 --cluster ./cluster
    """
    show(trio.run(_give_up, find_cluster(cluster), name, force), as_json)
    return exits.OK


async def _give_up(config: ClusterConfig, name: str, force: bool) -> Node:
    """The node afterwards. Raises UserError, NotClean, NotReachable."""
    if node_in((await ask_status(config, "node")).map, name).state == NODE_UP:
        if not force:
            raise exits.NotClean(
                f"{name} is up: 'ringfs node drain {name}' moves what it holds while that still counts; --force gives it up at once"
            )
        heal, cluster_map = await ask_heal(config, "node")
        if not heal.is_healed or exposure_text(heal, cluster_map):
            raise exits.NotClean(f"{name} may hold what no other node does: --force works once 'ringfs heal status' says healed")
    return node_in(await change_node(config, "give up", SetStanding(name, STANDING_OUT, 0)), name)
