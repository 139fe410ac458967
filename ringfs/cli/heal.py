"""`ringfs heal`: status, wait."""

import json

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.exposure import exposure_text
from ringfs.cli.heal_view import Names, dangers_of, heal_json, heal_text
from ringfs.cli.healing import Bar, wait_healed
from ringfs.cli.node_view import misfits_text
from ringfs.cli.output import json_option, progress
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ANSWER_TIMEOUT_S, ask_leader, ask_status, reach_leader
from ringfs.wire.messages.cluster import ClusterMap, GetMap, Status
from ringfs.wire.messages.heal import GetHeal, HealStatus


@click.group("heal")
def command() -> None:
    """What the stewards on the data nodes do: rebuild what is missing, move what belongs elsewhere.

    \b
    Example:  ringfs heal status /mnt/ringfs
              ringfs heal wait --cluster ./cluster --timeout 3600
    """


@command.command("status")
@click.argument("place", required=False)
@cluster_option
@json_option
def status_command(place: str | None, cluster: str | None, as_json: bool) -> int:
    """Show queues, rates, the time left, what is in danger, and each node's share of it. Exit code 0: healed, 1: not.

    Counters count from the start of each node's process.
    """
    status, cluster_map = trio.run(ask_heal, find_cluster(cluster, place), "heal")
    names, text = names_in(cluster_map), exposure_text(status, cluster_map)
    click.echo(json.dumps({**heal_json(status, names), "advice": text}) if as_json else heal_text(status, names, text))
    return exits.OK if status.is_healed and not dangers_of(status) and not text else exits.NOT_CLEAN


@command.command("wait")
@click.argument("place", required=False)
@cluster_option
@click.option("--timeout", "timeout_s", type=float, help="Seconds; then the exit code is 1. Default: for ever.")
def wait_command(place: str | None, cluster: str | None, timeout_s: float | None) -> int:
    """Return when the stewards of all nodes have nothing left to do."""
    config = find_cluster(cluster, place)
    with progress() as shown:
        status, cluster_map = trio.run(_wait, config, Bar(shown, "healing"), timeout_s)
    dangers = [*dangers_of(status), exposure_text(status, cluster_map)]
    if any(dangers):
        raise exits.NotClean("; ".join(filter(None, dangers)))
    click.echo("healed")
    return exits.OK


async def _wait(config: ClusterConfig, bar: Bar, timeout_s: float | None) -> tuple[HealStatus, ClusterMap]:
    with trio.move_on_after(timeout_s if timeout_s is not None else float("inf")):
        return await wait_healed(config, "heal", 0, bar.show), await ask_leader(config, "heal", GetMap())
    raise exits.NotClean(f"not healed after {timeout_s:g} s: see 'ringfs heal status'")


async def ask_heal(config: ClusterConfig, verb: str) -> tuple[HealStatus, ClusterMap]:
    """What stewards have reported to the leader, and the map. Raises NotReachable, Refused."""
    async with reach_leader(config, verb) as leader:
        status: HealStatus = (await leader.call(GetHeal(), timeout_s=ANSWER_TIMEOUT_S)).message
        cluster_map: ClusterMap = (await leader.call(GetMap(), timeout_s=ANSWER_TIMEOUT_S)).message
        return status, cluster_map
    raise AssertionError("a client does not suppress exceptions")


async def ask_status_and_advice(config: ClusterConfig, verb: str) -> tuple[Status, str]:
    """The cluster's status; what to do about objects that stewards cannot help just now, and about weights, or "". Raises
    NotReachable, Refused."""
    status = await ask_status(config, verb)
    return status, advice_of(status, await ask_leader(config, verb, GetHeal()))


def advice_of(status: Status, heal: HealStatus) -> str:
    """A line for each matter, or ""."""
    return "\n".join(filter(None, [exposure_text(heal, status.map), misfits_text(status)]))


def names_in(cluster_map: ClusterMap) -> Names:
    """Of all nodes."""
    return {node.node: node.name for node in cluster_map.nodes}
