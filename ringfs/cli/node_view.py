"""How data nodes look in tables: state, standing, what they use. Pure. Shared by node, ring and status."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ringfs.cli.output import age_text, size_text, table
from ringfs.ring.shares import has_share
from ringfs.ring.weights import Weighed, is_misfit, weight_for
from ringfs.wire.messages.cluster import NODE_UP, STANDING_MAINTENANCE, STANDING_NAMES, Node, NodeStatus, Status

_MISFITS_SHOWN = 5


def state_text(node: Node) -> str:
    """Up or down."""
    return "up" if node.state == NODE_UP else "down"


def standing_text(node: Node) -> str:
    """As it completes "the node is …"; with the time until maintenance ends."""
    if node.standing != STANDING_MAINTENANCE:
        return STANDING_NAMES.get(node.standing, str(node.standing))
    left_s = max(0, node.until_ns - time.time_ns()) / 10**9
    return f"in maintenance, {age_text(left_s)} left"


def figures_of(status: Status) -> dict[int, NodeStatus]:
    """What each node last said, by number."""
    return {row.node: row for row in status.nodes}


def node_json(node: Node, figures: NodeStatus | None) -> dict[str, Any]:
    """A node's two halves put together; field names are those of the messages."""
    told = {} if figures is None else asdict(figures)
    words = {"state": state_text(node), "standing": STANDING_NAMES.get(node.standing, str(node.standing))}
    return {**told, **asdict(node), **words}


def node_table(status: Status) -> str:
    """All nodes, for people."""
    figures = figures_of(status)
    rows: list[Sequence[str]] = []
    for node in status.map.nodes:
        row = figures.get(node.node, NodeStatus(node.node, 0, 0, 0, 0, ""))
        sizes = (size_text(row.used_bytes), size_text(row.free_bytes), str(row.object_count), ago_text(row.silent_ms))
        rows.append((node.name, state_text(node), standing_text(node), node.address, node.domain, *sizes, row.trouble))
    head = ("NODE", "STATE", "STANDING", "ADDRESS", "DOMAIN", "USED", "FREE", "OBJECTS", "HEARD", "TROUBLE")
    return table(head, rows, right=(5, 6, 7, 8))


def misfits_text(status: Status) -> str:
    """Weights that fit the sizes of their disks badly, in one line, or ""."""
    sizes = {row.node: row.size_bytes for row in status.nodes}
    disks = {node.name: Weighed(node.weight, sizes.get(node.node, 0)) for node in status.map.nodes if has_share(node)}
    misfits = [
        f"{name} ({size_text(disk.size_bytes)}) weighs {disk.weight}, by its size {weight_for(disk.size_bytes, disks.values())}"
        for name, disk in disks.items()
        if is_misfit(disk, disks.values())
    ]
    if not misfits:
        return ""
    more = f", and {len(misfits) - _MISFITS_SHOWN} others" if len(misfits) > _MISFITS_SHOWN else ""
    told = ", ".join(misfits[:_MISFITS_SHOWN]) + more
    return f"weights do not fit the disks, so some get full before others: {told} ('ringfs node weight')"


def ago_text(silent_ms: int) -> str:
    """How long ago something was heard."""
    return f"{silent_ms} ms ago" if silent_ms < 1000 else f"{age_text(silent_ms / 1000)} ago"
