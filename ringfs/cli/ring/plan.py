"""`ringfs ring plan`: add, drain, remove, weight. Nothing is changed."""

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.limits import PAGE_ENTRIES_MAX, WEIGHT_MAX
from ringfs.cli import exits
from ringfs.cli.node.changing import node_in
from ringfs.cli.output import Progress, age_text, json_option, progress, size_text, table
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ANSWER_TIMEOUT_S, reach_leader
from ringfs.ring.classes import parse_class
from ringfs.ring.parts import form_bytes
from ringfs.ring.plan import Plan, plan_moves
from ringfs.ring.shares import has_share
from ringfs.ring.weights import middle_weight
from ringfs.wire.messages.cluster import NODE_UP, STANDING_DRAINING, ClusterMap, GetStatus, Node, Status
from ringfs.wire.messages.heal import ListLive, LivePage

#: What becomes of the map.
Change = Callable[[ClusterMap], ClusterMap]


@click.group("plan")
def command() -> None:
    """What a change would move, and how the data would be spread then, before it is made: bytes by node, balance, time.

    The time is that of all nodes healing at heal_bytes_per_s of cluster.toml; they give clients way, so it may take longer.

    \b
    Example:  ringfs ring plan add data4 data5 --cluster ./cluster
              ringfs ring plan drain data2 --json --cluster ./cluster
              ringfs ring plan weight data2 200 --cluster ./cluster
    """


@command.command("add")
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@click.option("--domain", help="Their failure domain. Default: each one's name.")
@click.option("--weight", type=click.IntRange(1, WEIGHT_MAX), help="The share of each. Default: that of the node in the middle.")
@cluster_option
@json_option
def add_command(names: tuple[str, ...], domain: str | None, weight: int | None, cluster: str | None, as_json: bool) -> int:
    """New nodes. Where exactly their shares lie depends on their disks: what comes is as much as this, but not the same objects."""

    def add(before: ClusterMap) -> ClusterMap:
        first = max((node.node for node in before.nodes), default=0) + 1
        share = weight or middle_weight(node.weight for node in before.nodes if has_share(node))
        added = [_new_node(number, name, domain or name, share) for number, name in enumerate(names, first)]
        return replace(before, nodes=[*before.nodes, *added])

    return _show(cluster, add, as_json)


@command.command("drain")
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@cluster_option
@json_option
def drain_command(names: tuple[str, ...], cluster: str | None, as_json: bool) -> int:
    """Nodes are to be emptied."""

    def drain(before: ClusterMap) -> ClusterMap:
        wanted = {node_in(before, name).node for name in names}
        nodes = [replace(node, standing=STANDING_DRAINING) if node.node in wanted else node for node in before.nodes]
        return replace(before, nodes=nodes)

    return _show(cluster, drain, as_json)


@command.command("remove")
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@cluster_option
@json_option
def remove_command(names: tuple[str, ...], cluster: str | None, as_json: bool) -> int:
    """Nodes are to be removed, which drains them first."""

    def remove(before: ClusterMap) -> ClusterMap:
        wanted = {node_in(before, name).node for name in names}
        return replace(before, nodes=[node for node in before.nodes if node.node not in wanted])

    return _show(cluster, remove, as_json)


@command.command("weight")
@click.argument("name", metavar="NODE")
@click.argument("weight", type=click.IntRange(1, WEIGHT_MAX))
@cluster_option
@json_option
def weight_command(name: str, weight: int, cluster: str | None, as_json: bool) -> int:
    """A node is to have another share."""

    def weigh(before: ClusterMap) -> ClusterMap:
        wanted = node_in(before, name).node
        nodes = [replace(node, weight=weight) if node.node == wanted else node for node in before.nodes]
        return replace(before, nodes=nodes)

    return _show(cluster, weigh, as_json)


def _new_node(number: int, name: str, domain: str, weight: int) -> Node:
    """A made-up disk, always the same one for a name."""
    return Node(number, str(uuid.uuid5(uuid.NAMESPACE_URL, f"ringfs plan {name}")), name, "", domain, weight, NODE_UP)


def _show(cluster: str | None, change: Change, as_json: bool) -> int:
    """Exit code 1 if a class in use could not be kept."""
    with progress() as shown:
        plan = trio.run(_plan, find_cluster(cluster), change, shown)
    click.echo(json.dumps(_to_json(plan)) if as_json else render(plan))
    return exits.NOT_CLEAN if plan.unmet else exits.OK


async def _plan(config: ClusterConfig, change: Change, shown: Progress) -> Plan:
    """Raises UserError (no such node), NotReachable."""
    async with reach_leader(config, "ring") as leader:
        status: Status = (await leader.call(GetStatus(), timeout_s=ANSWER_TIMEOUT_S)).message
        after = change(status.map)
        stored: dict[str, int] = {}
        position, more, count = b"", True, 0
        while more:
            page: LivePage = (await leader.call(ListLive(position, b"", PAGE_ENTRIES_MAX), timeout_s=ANSWER_TIMEOUT_S)).message
            for row in page.objects:
                stored[row.stored_class] = stored.get(row.stored_class, 0) + form_bytes(parse_class(row.form), row.size_bytes)
            position, more, count = page.objects[-1].object if page.objects else position, page.more, count + len(page.objects)
            shown.step("counting objects", count)
    used = {row.node: row.used_bytes for row in status.nodes}
    return plan_moves(status.map, after, used, stored, config.ring.heal_bytes_per_s)


def _to_json(plan: Plan) -> dict[str, Any]:
    """For scripts."""
    return {**asdict(plan), "kept": not plan.unmet}


def render(plan: Plan) -> str:
    """For people."""
    rows = [
        (
            each.name,
            size_text(each.used_bytes),
            size_text(each.in_bytes),
            size_text(each.out_bytes),
            size_text(each.after_bytes),
            f"{each.weight_share:.1%}",
            f"{each.held_share:.1%}",
        )
        for each in plan.nodes
    ]
    shown = table(("NODE", "USED", "IN", "OUT", "AFTER", "WEIGHT", "HOLDS"), rows, right=range(1, 7))
    moved = (
        f"{size_text(plan.moved_bytes)} to move ({plan.moved_fraction:.1%} of what is stored), about {age_text(plan.duration_s)}"
    )
    unmet = [f"too few failure domains would be left for {text}" for text in plan.unmet]
    return "\n".join([shown, "", moved, *unmet])
