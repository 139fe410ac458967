"""`ringfs status`."""

import json

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ask_leader, status_at
from ringfs.cli.servers import ask_servers, leader_among
from ringfs.cli.status_view import Seen, render, to_json, troubles_of
from ringfs.wire.messages.heal import GetHeal


@click.command("status")
@click.argument("place", required=False)
@cluster_option
@json_option
def command(place: str | None, cluster: str | None, as_json: bool) -> int:
    """Show servers, nodes, capacity, health and sessions of a cluster. Exit code 1 if something is wrong with it.

    PLACE is anywhere in a mount of it, its cluster.toml, or the directory of that.

    \b
    Example:  ringfs status /mnt/ringfs
              ringfs status --cluster ./cluster --json
    """
    config = find_cluster(cluster, place)
    seen = trio.run(_look, config)
    troubles = troubles_of(config, seen)
    click.echo(json.dumps(to_json(seen, troubles)) if as_json else render(seen, troubles))
    return exits.NOT_CLEAN if troubles else exits.OK


async def _look(config: ClusterConfig) -> Seen:
    told = await ask_servers(config, "status")
    leader = leader_among(told)
    status = await status_at(config, leader.name, "status")
    return Seen(status, leader, told, await ask_leader(config, "status", GetHeal()))
