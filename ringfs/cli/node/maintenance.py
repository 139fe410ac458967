"""`ringfs node maintenance`."""

import click

from ringfs.cli import exits
from ringfs.cli.node.changing import change_and_show
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.values import Duration
from ringfs.wire.messages.cluster import STANDING_MAINTENANCE
from ringfs.wire.messages.heal import SetStanding


@click.command("maintenance")
@click.argument("name", metavar="NODE")
@click.argument("duration_s", metavar="DURATION", type=Duration())
@cluster_option
@json_option
def command(name: str, duration_s: int, cluster: str | None, as_json: bool) -> int:
    """NODE may be down for DURATION (90m, 2h, 1d) and nothing of it is rebuilt elsewhere; new data goes to the other nodes.

    It keeps its place on the ring. When the time is over, or after 'ringfs node in', it counts as any other node.

    \b
    Example:  ringfs node maintenance data2 2h --cluster ./cluster
    """
    change_and_show(find_cluster(cluster), "maintain", SetStanding(name, STANDING_MAINTENANCE, duration_s), as_json)
    return exits.OK
