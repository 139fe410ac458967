"""What `ringfs status` shows: JSON, text, and what is wrong. Pure. Asking: status.py."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ringfs.base.config import ClusterConfig
from ringfs.cli.exposure import exposure_of
from ringfs.cli.heal_view import dangers_of, indexes_of, sums_of, work_text
from ringfs.cli.node_view import ago_text, figures_of, node_json, node_table, standing_text
from ringfs.cli.output import size_text, table
from ringfs.cli.servers import Told, role_of
from ringfs.wire.messages.cluster import (
    NODE_UP,
    ROLE_STANDBY,
    STANDING_DRAINING,
    STANDING_LOST,
    STANDING_MAINTENANCE,
    STANDING_OUT,
    EtcdMember,
    Node,
    ServerStatus,
    Status,
)
from ringfs.wire.messages.heal import HealStatus


@dataclass(frozen=True, slots=True)
class Seen:
    """A cluster as its leader tells it, what stewards have reported to that, and what each metadata server says of itself."""

    status: Status
    leader: ServerStatus
    servers: Told
    heal: HealStatus


def troubles_of(config: ClusterConfig, seen: Seen) -> list[str]:
    """What is wrong with the cluster, one line each."""
    found = [seen.status.trouble, seen.leader.trouble]
    for name, status in seen.servers.items():
        if name != seen.leader.name:
            found.append(_server_trouble(name, status))
    for member in seen.leader.etcd:
        found += [f"etcd member {member.endpoint}: {reason}" for reason in _member_troubles(member)]
    found += _node_troubles(config, seen.status)
    found += dangers_of(seen.heal)
    exposure = exposure_of(seen.heal, seen.status.map)
    if exposure is not None and not exposure.is_announced:
        found.append(exposure.text)
    # What the leader says of itself may be in its status, too.
    return [trouble for trouble in dict.fromkeys(found) if trouble]


def _server_trouble(name: str, status: ServerStatus | str) -> str:
    if isinstance(status, str):
        return f"{name}: {status}"
    if status.trouble:
        return f"{name}: {status.trouble}"
    return "" if status.role == ROLE_STANDBY else f"{name} is no standby: it is {role_of(status)}"


def _member_troubles(member: EtcdMember) -> list[str]:
    return [*([member.reason] if member.reason else []), *(f"alarm: {alarm}" for alarm in member.alarms)]


def _node_troubles(config: ClusterConfig, status: Status) -> Iterable[str]:
    figures = figures_of(status)
    for node in status.map.nodes:
        if node.state != NODE_UP:
            yield from _absence(node)
        elif node.node in figures and figures[node.node].trouble:
            yield f"{node.name}: {figures[node.node].trouble}"
    known = {node.name for node in status.map.nodes}
    yield from (f"{row.name} has never joined" for row in config.data if row.name not in known)


def _absence(node: Node) -> Iterable[str]:
    """A node that is down, unless an operator wants it so."""
    if not node.uuid:
        yield f"{node.name} waits for a new disk"
    elif node.standing == STANDING_LOST:
        yield f"{node.name} is lost: what it held is made anew on the others"
    elif node.standing not in (STANDING_OUT, STANDING_MAINTENANCE):
        yield f"{node.name} is down"


def notes_of(seen: Seen) -> list[str]:
    """What is under way, and no fault: one line each."""
    nodes = [node for node in seen.status.map.nodes if node.standing in (STANDING_OUT, STANDING_DRAINING, STANDING_MAINTENANCE)]
    found = [f"{node.name} is {standing_text(node)}" for node in nodes]
    exposure = exposure_of(seen.heal, seen.status.map)
    found += [exposure.text] if exposure is not None and exposure.is_announced else []
    found += indexes_of(seen.heal, {node.node: node.name for node in seen.status.map.nodes})
    return found + ([f"healing: {work_text(seen.heal)}"] if sums_of(seen.heal).queued else [])


# --- JSON -------------------------------------------------------------------------------------------------------------------


def to_json(seen: Seen, troubles: list[str]) -> dict[str, Any]:
    """Field names are those of the messages, with a node's two halves put together."""
    status, leader = seen.status, seen.leader
    figures = figures_of(status)
    nodes = [node_json(node, figures.get(node.node)) for node in status.map.nodes]
    whole = {name: value for name, value in asdict(status).items() if name not in ("map", "nodes")}
    return {
        **whole,
        "leader": {"name": leader.name, "term": status.term, "address": leader.leader_address},
        "servers": [_server_row(name, told, leader) for name, told in seen.servers.items()],
        "etcd": [{**asdict(member), "healthy": not _member_troubles(member)} for member in leader.etcd],
        "snapshot_position": leader.snapshot_position,
        "epoch": status.map.epoch,
        "nodes": nodes,
        "heal": {"healed": seen.heal.is_healed, **asdict(sums_of(seen.heal))},
        "healthy": not troubles,
        "troubles": troubles,
        "notes": notes_of(seen),
    }


def _server_row(name: str, told: ServerStatus | str, leader: ServerStatus) -> dict[str, Any]:
    """`lag`: how many transactions its state is behind the leader's."""
    if isinstance(told, str):
        return {"name": name, "role": "unreachable", "term": None, "position": None, "lag": None, "trouble": told}
    lag = max(0, leader.position - told.position)
    row = {"name": name, "role": role_of(told), "term": told.term, "position": told.position, "lag": lag}
    return {**row, "trouble": told.trouble}


# --- text -------------------------------------------------------------------------------------------------------------------


def render(seen: Seen, troubles: list[str]) -> str:
    """For people."""
    status = seen.status
    parts = [_head(seen)]
    if len(seen.servers) > 1:
        parts.append(_server_table(seen))
    if seen.leader.etcd:
        parts.append(_etcd_table(seen.leader.etcd))
    parts.append(node_table(status))
    if status.sessions:
        rows = [(str(row.session), str(row.open_count), ago_text(row.silent_ms), row.name) for row in status.sessions]
        parts.append(table(("SESSION", "OPEN", "HEARD", "NAME"), rows, right=(0, 1, 2)))
    parts.append("health: " + "; ".join([*(troubles or ["good"]), *notes_of(seen)]))
    return "\n\n".join(parts)


def _head(seen: Seen) -> str:
    status = seen.status
    used_bytes = status.total_bytes - status.free_bytes
    live, dead = size_text(status.live_bytes), size_text(status.dead_bytes)
    saved = f"checkpoint {status.checkpoint}" + (f", snapshot {seen.leader.snapshot_position}" if seen.leader.etcd else "")
    return "\n".join(
        [
            f"cluster   {status.cluster}",
            f"leader    {status.leader}, term {status.term}, journal position {status.position} ({saved})",
            f"class     {status.default_class}",
            f"capacity  {size_text(status.free_bytes)} free of {size_text(status.total_bytes)}, {size_text(used_bytes)} used",
            f"content   {status.inode_count} inodes, {live} live, {dead} to be freed",
        ]
    )


def _server_table(seen: Seen) -> str:
    rows = []
    for name, told in seen.servers.items():
        row = _server_row(name, told, seen.leader)
        figures = ("" if row[figure] is None else str(row[figure]) for figure in ("term", "position", "lag"))
        rows.append((name, row["role"], *figures, row["trouble"]))
    return table(("SERVER", "ROLE", "TERM", "POSITION", "BEHIND", "TROUBLE"), rows, right=(2, 3, 4))


def _etcd_table(members: list[EtcdMember]) -> str:
    rows = []
    for member in members:
        sizes = (size_text(member.database_bytes), size_text(member.used_bytes))
        rows.append((member.endpoint, "leader" if member.is_leader else "", *sizes, "; ".join(_member_troubles(member))))
    return table(("ETCD", "ROLE", "DATABASE", "USED", "TROUBLE"), rows, right=(2, 3))
