"""Reading the state of a dev cluster's processes, and the table that shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import trio

from ringfs.cli.dev import supervise
from ringfs.cli.dev.etcd import ETCD, read_members
from ringfs.cli.dev.etcd_health import ask_members, quorum_trouble
from ringfs.cli.dev.layout import Layout, Server
from ringfs.cli.dev.mount_health import mount_trouble
from ringfs.cli.output import age_text, size_text, table
from ringfs.cli.servers import ask_servers, role_of

#: A mount that takes longer to answer is shown as not answering.
_ANSWER_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Row:
    """A process as status shows it. `state`: running, stopped, killed or failed; `note`: what is wrong or was said at its end.

    `role`: leader, standby or starting, of those that choose a leader.
    """

    name: str
    state: str
    role: str
    pid: int | None
    age_s: float | None
    resident_bytes: int | None
    where: str
    note: str


def read_rows(layout: Layout, servers: Sequence[Server] | None = None) -> list[Row]:
    """The rows of all processes, or of some."""
    chosen = layout.servers() if servers is None else servers
    addresses = {row.name: row.address for row in layout.config.meta}
    # Of a process with several disks: the first one's.
    addresses |= {row.process: row.address for row in reversed(layout.config.data)}
    addresses |= {member.name: member.client for member in read_members(layout.root)}
    told = _ask_members(layout, chosen) | _ask_metas(layout, chosen)
    return [_row(server, addresses, told.get(server.name, _Told())) for server in chosen]


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows for scripts."""
    return [asdict(row) for row in rows]


def render(rows: Sequence[Row]) -> str:
    """Rows for people."""
    lines = [
        (
            row.name,
            row.state,
            row.role,
            "" if row.pid is None else str(row.pid),
            "" if row.age_s is None else age_text(row.age_s),
            "" if row.resident_bytes is None else size_text(row.resident_bytes),
            row.where,
            row.note,
        )
        for row in rows
    ]
    return table(("NAME", "STATE", "ROLE", "PID", "UP", "MEMORY", "WHERE", "NOTE"), lines, right=(3, 4, 5))


@dataclass(frozen=True, slots=True)
class _Told:
    """What a server says of itself."""

    role: str = ""
    trouble: str = ""


def _ask_members(layout: Layout, servers: Sequence[Server]) -> dict[str, _Told]:
    """Of the members of etcd that run."""
    running = [server.name for server in servers if server.verb == ETCD and supervise.is_running(server)]
    trouble = quorum_trouble(layout)
    if trouble:
        return {name: _Told(trouble=trouble) for name in running}
    return {
        name: _Told("leader" if member.is_leader else "", "; ".join(filter(None, (member.reason, *member.alarms))))
        for name, member in ask_members(layout.root, running).items()
    }


def _ask_metas(layout: Layout, servers: Sequence[Server]) -> dict[str, _Told]:
    """Of all metadata servers, if one of them is to be shown."""
    if not any(server.verb == "meta" for server in servers):
        return {}
    return {
        name: _Told(trouble=status) if isinstance(status, str) else _Told(role_of(status), status.trouble)
        for name, status in trio.run(ask_servers, layout.config, "dev").items()
    }


def _row(server: Server, addresses: Mapping[str, str], told: _Told) -> Row:
    where = server.arguments[0] if server.verb == "mount" else addresses[server.name]
    process = supervise.running(server)
    if process is None:
        state, note = _ending(server)
        return Row(server.name, state, "", None, None, None, where, note)
    with process:
        note = _mount_note(server) if server.verb == "mount" else told.trouble
        return Row(server.name, "running", told.role, process.pid, process.age_s(), process.resident_bytes(), where, note)


def _mount_note(server: Server) -> str:
    """What is wrong with it, if it still is when it is asked once more: it may have been this machine that stood still."""
    return mount_trouble(server, _ANSWER_TIMEOUT_S) and mount_trouble(server, _ANSWER_TIMEOUT_S)


def _ending(server: Server) -> tuple[str, str]:
    """How a process that does not run has ended: only one that was killed leaves no record."""
    if not (server.directory / "pid").exists():
        return "new", "was never started"
    ended = supervise.last_exit(server.directory)
    if ended is None:
        return "killed", "ended without a word"
    code, words = ended
    return ("stopped", "") if code == 0 else ("failed", words or f"exit code {code}")
