"""`ringfs node list`."""

import json

import click
import trio

from ringfs.cli import exits
from ringfs.cli.heal import ask_status_and_advice
from ringfs.cli.node_view import figures_of, node_json, node_table
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster


@click.command("list")
@click.argument("place", required=False)
@cluster_option
@json_option
def command(place: str | None, cluster: str | None, as_json: bool) -> int:
    """Show all data nodes: whether they are up, their standing, what they use and may still use; and what to do if objects are not
    safe with these.

    \b
    Example:  ringfs node list /mnt/ringfs
              ringfs node list --cluster ./cluster --json
    """
    status, advice = trio.run(ask_status_and_advice, find_cluster(cluster, place), "node")
    figures = figures_of(status)
    if as_json:
        nodes = [node_json(node, figures.get(node.node)) for node in status.map.nodes]
        click.echo(json.dumps({"epoch": status.map.epoch, "nodes": nodes, "advice": advice}))
    else:
        click.echo("\n\n".join(filter(None, [node_table(status), advice])))
    return exits.OK
