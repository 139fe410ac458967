"""`ringfs node drain`."""

import click
import trio

from ringfs.cli import exits
from ringfs.cli.node.changing import node_in, show
from ringfs.cli.node.draining import drain, drain_and_wait
from ringfs.cli.output import json_option, progress
from ringfs.cli.place import cluster_option, find_cluster


@click.command("drain")
@click.argument("name", metavar="NODE")
@click.option("--wait", is_flag=True, help="Return when nothing that counts is left on it.")
@cluster_option
@json_option
def command(name: str, wait: bool, cluster: str | None, as_json: bool) -> int:
    """Move everything that NODE holds to the others. It counts, and is read, until it is moved; nothing new comes to it.

    Refused if the other nodes could not keep the promises of the classes in use. 'ringfs node in' takes it back.

    \b
    Example:  ringfs node drain data3 --wait --cluster ./cluster
    """
    config = find_cluster(cluster)
    with progress() as shown:
        changed = trio.run(drain_and_wait, config, name, shown) if wait else trio.run(drain, config, name)
    show(node_in(changed, name), as_json)
    return exits.OK
