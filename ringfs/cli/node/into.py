"""`ringfs node in`: the file is not named after the verb, which is a word of Python's."""

import click

from ringfs.cli import exits
from ringfs.cli.node.changing import change_and_show
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.wire.messages.cluster import STANDING_IN
from ringfs.wire.messages.heal import SetStanding


@click.command("in")
@click.argument("name", metavar="NODE")
@cluster_option
@json_option
def command(name: str, cluster: str | None, as_json: bool) -> int:
    """NODE has its share of the ring again, whether it was out, draining or in maintenance. What it held meanwhile counts.

    \b
    Example:  ringfs node in data2 --cluster ./cluster
    """
    change_and_show(find_cluster(cluster), "let in", SetStanding(name, STANDING_IN, 0), as_json)
    return exits.OK
