"""`ringfs node weight`."""

import click

from ringfs.base.limits import WEIGHT_MAX
from ringfs.cli import exits
from ringfs.cli.node.changing import change_and_show
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.wire.messages.heal import SetWeight


@click.command("weight")
@click.argument("name", metavar="NODE")
@click.argument("weight", type=click.IntRange(1, WEIGHT_MAX))
@cluster_option
@json_option
def command(name: str, weight: int, cluster: str | None, as_json: bool) -> int:
    """Give NODE another share of the ring: twice the weight is twice the data. What that displaces is moved in the background.

    A weight of zero is refused: 'ringfs node drain' moves everything off a node.

    \b
    Example:  ringfs node weight data2 200 --cluster ./cluster
    """
    change_and_show(find_cluster(cluster), "weigh", SetWeight(name, weight), as_json)
    return exits.OK
