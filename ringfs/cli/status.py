"""`ringfs status`."""

import json
from dataclasses import asdict
from typing import Any

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.cli import exits
from ringfs.cli.output import age_text, json_option, size_text, table
from ringfs.cli.place import cluster_option, find_cluster
from ringfs.cli.reach import ask_status
from ringfs.wire.messages.cluster import NODE_UP, NodeStatus, Status


@click.command("status")
@click.argument("place", required=False)
@cluster_option
@json_option
def command(place: str | None, cluster: str | None, as_json: bool) -> int:
    """Show nodes, capacity, health and sessions of a cluster. Exit code 1 if something is wrong with it.

    PLACE is anywhere in a mount of it, its cluster.toml, or the directory of that.

    \b
    Example:  ringfs status /mnt/ringfs
              ringfs status --cluster ./cluster --json
    """
    config = find_cluster(cluster, place)
    status = trio.run(ask_status, config, "status")
    troubles = troubles_of(config, status)
    click.echo(json.dumps(_to_json(status, troubles)) if as_json else _render(status, troubles))
    return exits.NOT_CLEAN if troubles else exits.OK


def troubles_of(config: ClusterConfig, status: Status) -> list[str]:
    """What is wrong with the cluster, one line each."""
    figures = {row.node: row for row in status.nodes}
    found = [status.trouble] if status.trouble else []
    for node in status.map.nodes:
        if node.state != NODE_UP:
            found.append(f"{node.name} is down")
        elif node.node in figures and figures[node.node].trouble:
            found.append(f"{node.name}: {figures[node.node].trouble}")
    known = {node.name for node in status.map.nodes}
    return found + [f"{row.name} has never joined" for row in config.data if row.name not in known]


def _to_json(status: Status, troubles: list[str]) -> dict[str, Any]:
    """Field names are those of the message, with a node's two halves put together."""
    figures = {row.node: asdict(row) for row in status.nodes}
    nodes = [{**figures.get(node.node, {}), **asdict(node), "state": _state(node.state)} for node in status.map.nodes]
    whole = {name: value for name, value in asdict(status).items() if name not in ("map", "nodes")}
    return {**whole, "epoch": status.map.epoch, "nodes": nodes, "healthy": not troubles, "troubles": troubles}


def _state(state: int) -> str:
    return "up" if state == NODE_UP else "down"


def _render(status: Status, troubles: list[str]) -> str:
    parts = [_head(status), _node_table(status)]
    if status.sessions:
        rows = [(str(row.session), str(row.open_count), _ago(row.silent_ms), row.name) for row in status.sessions]
        parts.append(table(("SESSION", "OPEN", "HEARD", "NAME"), rows, right=(0, 1, 2)))
    parts.append("health: " + ("; ".join(troubles) if troubles else "good"))
    return "\n\n".join(parts)


def _head(status: Status) -> str:
    used_bytes = status.total_bytes - status.free_bytes
    live, dead = size_text(status.live_bytes), size_text(status.dead_bytes)
    return "\n".join(
        [
            f"cluster   {status.cluster}",
            f"leader    {status.leader}, term {status.term}, journal position {status.position} (checkpoint {status.checkpoint})",
            f"class     {status.default_class}",
            f"capacity  {size_text(status.free_bytes)} free of {size_text(status.total_bytes)}, {size_text(used_bytes)} used",
            f"content   {status.inode_count} inodes, {live} live, {dead} to be freed",
        ]
    )


def _node_table(status: Status) -> str:
    figures = {row.node: row for row in status.nodes}
    rows = []
    for node in status.map.nodes:
        row = figures.get(node.node, NodeStatus(node.node, 0, 0, 0, 0, ""))
        sizes = (size_text(row.used_bytes), size_text(row.free_bytes), str(row.object_count), _ago(row.silent_ms))
        rows.append((node.name, _state(node.state), node.address, node.domain, *sizes, row.trouble))
    head = ("NODE", "STATE", "ADDRESS", "DOMAIN", "USED", "FREE", "OBJECTS", "HEARD", "TROUBLE")
    return table(head, rows, right=(4, 5, 6, 7))


def _ago(silent_ms: int) -> str:
    return f"{silent_ms} ms ago" if silent_ms < 1000 else f"{age_text(silent_ms / 1000)} ago"
