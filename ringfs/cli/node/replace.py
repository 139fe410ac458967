"""`ringfs node replace`."""

import click

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.node.changing import change_and_show
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.wire.messages.heal import ReplaceDisk


@click.command("replace")
@click.argument("name", metavar="NODE")
@cluster_option
@json_option
def command(name: str, cluster: str | None, as_json: bool) -> int:
    """NODE's disk is gone for good: the next empty disk that is started under this name takes its place on the ring, and is filled
    from the other nodes. No other node moves anything.

    Refused while the node is up. Then: put in the new disk, mount it where the old one was, empty, and start the node.

    \b
    Example:  ringfs node replace data2 --cluster ./cluster
    """
    config = find_cluster(cluster)
    change_and_show(config, "replace the disk of", ReplaceDisk(name), as_json)
    if not as_json:
        click.echo(_next_step(config, name))
    return exits.OK


def _next_step(config: ClusterConfig, name: str) -> str:
    row = next((row for row in config.data if row.name == name), None)
    where = "where the old one was" if row is None else row.disk
    return f"now: an empty disk at {where}, and start the node: ringfs data {config.path} {name if row is None else row.process}"
