"""`ringfs node replace`."""

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.healing import LOOK_S
from ringfs.cli.node.changing import change_node, node_in, show
from ringfs.cli.output import Progress, json_option, progress
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ask_status
from ringfs.wire.messages.cluster import NODE_UP, Node
from ringfs.wire.messages.heal import ReplaceDisk

#: A node that is gone is down after 5 s without a word of its.
_SILENCE_S = 7.0


@click.command("replace")
@click.argument("name", metavar="NODE")
@cluster_option
@json_option
def command(name: str, cluster: str | None, as_json: bool) -> int:
    """NODE's disk is gone for good: the next empty disk that is started under this name takes its place on the ring, and is filled
    from the other nodes. No other node moves anything.

    Refused while the node is up; one that has just ended is waited for. Then: put in the new disk, mount it where the old one
    was, empty, and start the node.

    \b
    Example:  ringfs node replace data2 --cluster ./cluster
    """
    config = find_cluster(cluster)
    with progress() as shown:
        show(trio.run(_replace, config, name, shown), as_json)
    if not as_json:
        click.echo(_next_step(config, name))
    return exits.OK


async def _replace(config: ClusterConfig, name: str, shown: Progress) -> Node:
    """The node afterwards. Raises UserError, NotClean, NotReachable."""
    with trio.move_on_after(_SILENCE_S):
        while node_in((await ask_status(config, "node")).map, name).state == NODE_UP:
            shown.step(f"waiting for {name} to be down")
            await trio.sleep(LOOK_S)
    return node_in(await change_node(config, "replace the disk of", ReplaceDisk(name)), name)


def _next_step(config: ClusterConfig, name: str) -> str:
    row = next((row for row in config.data if row.name == name), None)
    where = "where the old one was" if row is None else row.disk
    return f"now: an empty disk at {where}, and start the node: ringfs data {config.path} {name if row is None else row.process}"
