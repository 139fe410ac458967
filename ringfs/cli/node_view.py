"""How data nodes look in tables: state, standing, what they use. Pure. Shared by node, ring and status."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ringfs.cli.output import age_text, size_text, table
from ringfs.wire.messages.cluster import NODE_UP, STANDING_MAINTENANCE, STANDING_NAMES, Node, NodeStatus, Status


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


def ago_text(silent_ms: int) -> str:
    """How long ago something was heard."""
    return f"{silent_ms} ms ago" if silent_ms < 1000 else f"{age_text(silent_ms / 1000)} ago"
