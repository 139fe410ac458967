"""A PostgreSQL server whose data directory is on a mount: clients that note what COMMIT acknowledged, kills, and its own checks.

For tests/process/test_postgres.py and tools/soak_postgres.py. Needs root: the server runs as the user that Debian's package made.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

USER = "postgres"
SECONDS_MAX = 300
#: What may be lost at a crash is nothing: fsync, full_page_writes and synchronous_commit are on by default.
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_wal_size": "64MB",
    "checkpoint_timeout": "30s",
    "autovacuum_naptime": "5s",
    "logging_collector": "off",
    "wal_sync_method": "fdatasync",
}


class Broken(AssertionError):
    """A program of PostgreSQL failed, or what it says is wrong."""


def programs() -> Path:
    """Where the newest installed version has its programs. Raises Broken."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise Broken("no PostgreSQL is installed: run tools/setup.sh --tests")
    return found[-1].parent


@dataclass(slots=True)
class Client:
    """A psql that inserts 0, 1, 2 … under its number, each in a transaction, and prints each that was committed."""

    number: int
    process: "subprocess.Popen[bytes]"
    output: Path

    def acknowledged(self) -> int:
        """How many were, by whole lines; others are what psql says when its server dies."""
        return sum(
            line.rstrip(b"\n").isdigit() for line in self.output.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
        )


@dataclass(slots=True)
class Postgres:
    """data: on the mount. home: a local directory for sockets, logs and what clients note; both must be reachable by every user."""

    data: Path
    home: Path
    _server: "subprocess.Popen[bytes] | None" = None
    _clients: list[Client] = field(default_factory=list)
    #: Of clients that have ended: number → committed transactions.
    committed: dict[int, int] = field(default_factory=dict)

    # --- the server ---------------------------------------------------------------------------------------------------

    def init(self, scale: int) -> None:
        """A new database with checksums, pgbench's tables of that scale, and the table of the clients."""
        for directory in (self.home, self.data):
            directory.mkdir(exist_ok=True)
            shutil.chown(directory, USER, USER)
        self.data.chmod(0o700)
        self.run("initdb", "--data-checksums", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", str(self.data))
        self.start()
        self.run("pgbench", "-h", str(self.home), "-i", "-q", "-s", str(scale), USER)
        self.query("create table note (client int, number int, filler text, primary key (client, number))")

    def start(self) -> None:
        """Start it, and wait until it has recovered. Raises Broken."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed: its pid may be somebody else's by now
        settings = [item for name, value in _SETTINGS.items() for item in ("-c", f"{name}={value}")]
        command = [str(programs() / "postgres"), "-D", str(self.data), "-k", str(self.home), *settings]
        with open(self.home / "log", "ab") as log:
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                user=USER,
                group=USER,
                extra_groups=(),
            )
        deadline_s = time.monotonic() + SECONDS_MAX
        while self.run("pg_isready", "-q", "-h", str(self.home), check=False).returncode:
            if self._server.poll() is not None or time.monotonic() > deadline_s:
                raise Broken(f"the server did not start: {(self.home / 'log').read_text()[-3000:]}")

    def stop(self) -> None:
        """In peace."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(SECONDS_MAX)
            self._server = None

    def kill(self) -> None:
        """SIGKILL of the server and everything it has started, at once."""
        if self._server is None:
            return
        for pid in [*_children(self._server.pid), self._server.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait(SECONDS_MAX)
        self._server = None

    def run(
        self, program: str, *arguments: str, check: bool = True, seconds_max: float = SECONDS_MAX
    ) -> "subprocess.CompletedProcess[str]":
        """One of PostgreSQL's programs, as its user. Raises Broken."""
        done = subprocess.run(
            [str(programs() / program), *arguments],
            capture_output=True,
            text=True,
            timeout=seconds_max,
            cwd="/",
            check=False,
            user=USER,
            group=USER,
            extra_groups=(),
        )
        if check and done.returncode:
            raise Broken(f"{program} {' '.join(arguments)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done

    def query(self, text: str) -> list[list[str]]:
        """The rows that it gives."""
        done = self.run("psql", "-h", str(self.home), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", text)
        return [line.split("\t") for line in done.stdout.splitlines() if line]

    # --- load ---------------------------------------------------------------------------------------------------------

    def start_clients(self, count: int) -> None:
        """So many that insert, each as fast as it can, and a pgbench beside them."""
        for _ in range(count):
            number = len(self.committed) + len(self._clients)
            script = self.home / f"client{number}.sql"
            # It comes after COMMIT has been answered, and is written at once, which stdout is not.
            lines = (f"insert into note values ({number}, {each}, repeat('x', 200));\n\\warn {each}\n" for each in range(20_000))
            script.write_text("".join(lines))
            output = self.home / f"client{number}.out"
            with open(output, "wb") as out:
                command = [str(programs() / "psql"), "-h", str(self.home), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", user=USER, group=USER, extra_groups=()
                )
            self._clients.append(Client(number, process, output))

    def bench(self, seconds: int) -> float:
        """pgbench's own transactions for so long beside the clients: transactions a second. Raises Broken."""
        done = self.run(
            "pgbench", "-h", str(self.home), "-c", "2", "-T", str(seconds), "-n", USER, seconds_max=SECONDS_MAX + seconds
        )
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("tps"))
        return float(line.split()[2])

    def wait_committed(self, count: int) -> None:
        """Until each client has so many more commits. Raises Broken."""
        goals = {client.number: client.acknowledged() + count for client in self._clients}
        deadline_s = time.monotonic() + SECONDS_MAX
        while any(client.acknowledged() < goals[client.number] for client in self._clients):
            ended = [client.number for client in self._clients if client.process.poll() is not None]
            if ended or time.monotonic() > deadline_s:
                said = "".join(client.output.read_text()[-300:] for client in self._clients)
                raise Broken(f"clients {ended} ended, or not each committed {count} more: {said}")
            os.sched_yield()

    def end_clients(self) -> None:
        """Whatever state they are in; what they were told is noted."""
        for client in self._clients:
            client.process.kill()
            client.process.wait(SECONDS_MAX)
            self.committed[client.number] = client.acknowledged()
        self._clients = []

    # --- checks -------------------------------------------------------------------------------------------------------

    def verify(self) -> int:
        """Every acknowledged commit is there, without gaps; pgbench's books balance; pg_amcheck finds nothing. How many commits
        were checked. Raises Broken."""
        self._verify_notes()
        sums = self.query(
            "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),"
            " (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)"
        )
        if len(set(sums[0])) != 1:
            raise Broken(f"pgbench's sums differ: {sums}")
        self.query("create extension if not exists amcheck")
        self.run("pg_amcheck", "-h", str(self.home), "--heapallindexed", "--parent-check", USER)
        return sum(self.committed.values())

    def _verify_notes(self) -> None:
        rows = self.query("select client, count(*), coalesce(max(number), -1) from note group by client")
        found = {int(client): (int(count), int(last)) for client, count, last in rows}
        for client, committed in self.committed.items():
            count, last = found.get(client, (0, -1))
            # One more may have been committed when nobody was there to hear of it.
            if count != last + 1 or not committed <= count <= committed + 1:
                raise Broken(f"client {client}: {committed} commits acknowledged, {count} rows up to {last} found")

    def verify_files(self) -> None:
        """pg_checksums on the server's files, which must not run and have been stopped in peace. Raises Broken."""
        self.run("pg_checksums", "--check", "-D", str(self.data))


def _children(pid: int) -> Sequence[int]:
    """Processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
