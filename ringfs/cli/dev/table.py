"""Reading the state of a dev cluster's processes, and the table that shows it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ringfs.cli.dev import supervise
from ringfs.cli.dev.layout import Layout, Server
from ringfs.cli.dev.mount_health import mount_trouble
from ringfs.cli.output import age_text, size_text, table

#: A mount that takes longer to answer is shown as not answering.
_ANSWER_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Row:
    """A process as status shows it. `state`: running, stopped, killed or failed; `note`: what is wrong or was said at its end."""

    name: str
    state: str
    pid: int | None
    age_s: float | None
    resident_bytes: int | None
    where: str
    note: str


def read_rows(layout: Layout, servers: Sequence[Server] | None = None) -> list[Row]:
    """The rows of all processes, or of some."""
    addresses = {row.name: row.address for row in layout.config.meta} | {row.name: row.address for row in layout.config.data}
    return [_row(server, addresses) for server in (layout.servers() if servers is None else servers)]


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows for scripts."""
    return [asdict(row) for row in rows]


def render(rows: Sequence[Row]) -> str:
    """Rows for people."""
    lines = [
        (
            row.name,
            row.state,
            "" if row.pid is None else str(row.pid),
            "" if row.age_s is None else age_text(row.age_s),
            "" if row.resident_bytes is None else size_text(row.resident_bytes),
            row.where,
            row.note,
        )
        for row in rows
    ]
    return table(("NAME", "STATE", "PID", "UP", "MEMORY", "WHERE", "NOTE"), lines, right=(2, 3, 4))


def _row(server: Server, addresses: dict[str, str]) -> Row:
    where = server.arguments[0] if server.verb == "mount" else addresses[server.name]
    process = supervise.running(server)
    if process is None:
        state, note = _ending(server)
        return Row(server.name, state, None, None, None, where, note)
    with process:
        note = mount_trouble(server, _ANSWER_TIMEOUT_S) if server.verb == "mount" else ""
        return Row(server.name, "running", process.pid, process.age_s(), process.resident_bytes(), where, note)


def _ending(server: Server) -> tuple[str, str]:
    """How a process that does not run has ended: only one that was killed leaves no record."""
    if not (server.directory / "pid").exists():
        return "new", "was never started"
    ended = supervise.last_exit(server.directory)
    if ended is None:
        return "killed", "ended without a word"
    code, words = ended
    return ("stopped", "") if code == 0 else ("failed", words or f"exit code {code}")
