"""`ringfs node remove`."""

import json

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.node.changing import change_node
from ringfs.cli.node.draining import drain_and_remove
from ringfs.cli.output import json_option, progress
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.heal import RemoveNode


@click.command("remove")
@click.argument("name", metavar="NODE")
@click.option("--wait", is_flag=True, help="Drain it first if it is in, and wait until nobody needs it.")
@cluster_option
@json_option
def command(name: str, wait: bool, cluster: str | None, as_json: bool) -> int:
    """Forget NODE, which is drained, out or lost. Refused, with the reason, as long as it holds what others do not.

    Stop its process and take it out of cluster.toml afterwards. Its disk does not come back; an empty one can, under any name.

    \b
    Example:  ringfs node remove data3 --wait --cluster ./cluster
    """
    config = find_cluster(cluster)
    with progress() as shown:
        changed = trio.run(drain_and_remove, config, name, shown) if wait else trio.run(_remove, config, name)
    if as_json:
        click.echo(json.dumps({"removed": name, "epoch": changed.epoch, "nodes": [node.name for node in changed.nodes]}))
    else:
        click.echo(f"{name} is removed: the cluster has {', '.join(node.name for node in changed.nodes)}")
    return exits.OK


async def _remove(config: ClusterConfig, name: str) -> ClusterMap:
    return await change_node(config, "remove", RemoveNode(name))
