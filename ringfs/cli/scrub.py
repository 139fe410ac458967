"""`ringfs scrub`: status, start."""

import json

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost, Refused, UserError
from ringfs.cli import exits
from ringfs.cli.heal import ask_heal, names_in
from ringfs.cli.heal_view import scrub_json, scrub_text, unmended_of
from ringfs.cli.output import json_option
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ANSWER_TIMEOUT_S, ask_leader
from ringfs.cli.servers import caller_name
from ringfs.cli.values import Size
from ringfs.wire.messages.cluster import ClusterMap, GetMap, Node
from ringfs.wire.messages.heal import StartScrub
from ringfs.wire.rpc import open_client


@click.group("scrub")
def command() -> None:
    """Every data node reads all that it holds and verifies it, round after round; what is bad is mended from the other nodes.

    \b
    Example:  ringfs scrub status /mnt/ringfs
              ringfs scrub start data2 --rate 200M --cluster ./cluster
    """


@command.command("status")
@click.argument("place", required=False)
@cluster_option
@json_option
def status_command(place: str | None, cluster: str | None, as_json: bool) -> int:
    """Show how far each node's round is, when the last one was complete, what was found and mended. Exit code 1 if some bad part
    is not mended.

    Each node's audit.log on its disk has a line for every bad part.
    """
    status, cluster_map = trio.run(ask_heal, find_cluster(cluster, place), "scrub")
    names = names_in(cluster_map)
    click.echo(json.dumps(scrub_json(status, names)) if as_json else scrub_text(status, names))
    return exits.NOT_CLEAN if unmended_of(status) else exits.OK


@command.command("start")
@click.argument("names", metavar="[NODE]...", nargs=-1)
@click.option(
    "--rate", "rate_bytes_per_s", type=Size(), default=0, help="Bytes a second for this round, as 200M. 0: as configured."
)
@cluster_option
@json_option
def start_command(names: tuple[str, ...], rate_bytes_per_s: int, cluster: str | None, as_json: bool) -> int:
    """Begin a new round now, on the nodes of these names or on all. Returns at once; 'scrub status' tells how it goes."""
    config = find_cluster(cluster)
    outcome = trio.run(_start, config, names, rate_bytes_per_s)
    if as_json:
        click.echo(json.dumps({"nodes": [{"name": name, "started": not why, "reason": why} for name, why in outcome.items()]}))
    else:
        for name, why in outcome.items():
            click.echo(f"{name}: {why or 'a new round has begun'}")
    return exits.NOT_CLEAN if any(outcome.values()) else exits.OK


async def _start(config: ClusterConfig, names: tuple[str, ...], rate_bytes_per_s: int) -> dict[str, str]:
    """By name of the node: why it did not begin, or "". Raises UserError, NotReachable."""
    cluster_map: ClusterMap = await ask_leader(config, "scrub", GetMap())
    nodes = {node.name: node for node in cluster_map.nodes}
    for name in names:
        if name not in nodes:
            raise UserError(f"the cluster has no node {name!r}: it has {', '.join(nodes)}")
    chosen = [nodes[name] for name in names or nodes]
    outcome = dict.fromkeys((node.name for node in chosen), "")

    async def start(node: Node) -> None:
        try:
            async with open_client(node.address, config.load_key(), name=caller_name("scrub")) as client:
                await client.call(StartScrub(rate_bytes_per_s), timeout_s=ANSWER_TIMEOUT_S)
        except (ConnectionLost, Refused) as error:
            outcome[node.name] = str(error)

    async with trio.open_nursery() as nursery:
        for node in chosen:
            nursery.start_soon(start, node)
    return outcome
