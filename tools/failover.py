#!/usr/bin/env python3
"""Failover on real processes: servers and members of etcd are killed and stopped under applications, and the pause is measured.

    .venv/bin/python tools/failover.py --rounds 20
    .venv/bin/python tools/failover.py --rounds 3 --kinds kill-leader,stop-leader

`ringfs dev up --meta 3` with two mounts. On one, writers note on a local disk what was acknowledged to them
(tests/support/manifest.py), and a pacer makes and syncs a file each 10 ms; on the other, fsx and SQLite run. A pause is the longest
time between two acknowledgements to the pacer around one event. At the end no application has seen an error, the manifests and the
database are compared, and `ringfs check` is clean. A table on standard output.

Exit codes: 0 nothing was wrong, 1 something was (the cluster's files are kept), 2 called wrongly.
"""

import argparse
import itertools
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from ringfs.cli.dev import supervise
from ringfs.cli.dev.layout import open_layout
from tests.support.applications import FSX_ENDS, Application, fsx_command
from tests.support.crashes import CrashRun, Stuck
from tests.support.event_runs import event_parser, run_on_cluster
from tests.support.failover_writers import find_wrong_rows
from tests.support.mounts import DevCluster

KINDS = (
    "kill-leader",
    "stop-leader",
    "kill-standby",
    "kill-etcd",
    "stop-etcd",
    "kill-etcd-leader",
    "stop-etcd-leader",
    "kill-successor",
    "kill-two",
)
_METAS = ("meta1", "meta2", "meta3")
_STOPPED_S = (3.0, 15.0)
#: Between an event and what comes next.
_SETTLE_S = 4.0
_JOIN_S = 300.0


class Failovers:
    """Events on one cluster, and the pause that each made."""

    def __init__(self, cluster: DevCluster, seed: int) -> None:
        self.pauses_s: dict[str, list[float]] = {}
        self._cluster = cluster
        self._draw = random.Random(seed)

    # --- whom -----------------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, object]:
        deadline_s = time.monotonic() + _JOIN_S
        while time.monotonic() < deadline_s:
            said = self._cluster.ringfs("status", "--cluster", self._cluster.directory, "--json", check=False).stdout
            try:
                found: dict[str, object] = json.loads(said[said.index("{") :])
            except ValueError:
                continue
            return found
        raise Stuck("no metadata server leads")

    def _leader(self) -> str:
        leader = self._status()["leader"]
        assert isinstance(leader, dict)
        return str(leader["name"])

    def _standby(self) -> str:
        return self._draw.choice([name for name in _METAS if name != self._leader()])

    def _etcd(self, *, leads: bool) -> str:
        members = self._status()["etcd"]
        assert isinstance(members, list)
        found = [f"etcd{number}" for number, member in enumerate(members, 1) if member["is_leader"] == leads]
        return self._draw.choice(found or ["etcd1"])

    # --- what -----------------------------------------------------------------------------------------------------------

    def event(self, kind: str, pacer: Application) -> None:
        """One of KINDS: make it, mend it, and note the pause."""
        begun_ns = time.monotonic_ns()
        act: Callable[[], None] = {
            "kill-leader": lambda: self._kill(self._leader()),
            "stop-leader": lambda: self._stop(self._leader()),
            "kill-standby": lambda: self._kill(self._standby()),
            "kill-etcd": lambda: self._kill(self._etcd(leads=False)),
            "stop-etcd": lambda: self._stop(self._etcd(leads=False)),
            "kill-etcd-leader": lambda: self._kill(self._etcd(leads=True)),
            "stop-etcd-leader": lambda: self._stop(self._etcd(leads=True)),
            "kill-successor": self._kill_successor,
            "kill-two": self._kill_two,
        }[kind]
        act()
        self._wait_acknowledged(pacer)
        time.sleep(_SETTLE_S)
        around = [at_ns for at_ns in list(pacer.lines) if at_ns > begun_ns - 10**9]
        self.pauses_s.setdefault(kind, []).append(max(b - a for a, b in itertools.pairwise(around)) / 1e9)

    def _wait_acknowledged(self, pacer: Application) -> None:
        """The pacer goes on. Raises Stuck."""
        count, deadline_s = len(pacer.lines), time.monotonic() + _JOIN_S
        while len(pacer.lines) < count + 20:
            if time.monotonic() > deadline_s:
                raise Stuck("the pacer does not go on")
            time.sleep(0.1)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = supervise.running(open_layout(str(self._cluster.directory)).server(name))
        if process is None:
            raise Stuck(f"{name} does not run")
        with process:
            process.signal(number)

    def _kill(self, name: str, down_s: float = 3.0) -> None:
        self._signal(name, signal.SIGKILL)
        time.sleep(down_s)
        self._cluster.dev("start", name)

    def _stop(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)
        try:
            time.sleep(self._draw.uniform(*_STOPPED_S))
        finally:
            self._signal(name, signal.SIGCONT)

    def _kill_successor(self) -> None:
        """The leader, and whoever is elected then, as soon as it leads."""
        first = self._leader()
        self._signal(first, signal.SIGKILL)
        second = self._leader()
        self._signal(second, signal.SIGKILL)
        time.sleep(1.0)
        self._cluster.dev("start", first)
        self._cluster.dev("start", second)

    def _kill_two(self) -> None:
        """Two metadata servers in turn, the leader first."""
        self._kill(self._leader())
        self._kill(self._leader())


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    options = event_parser(__doc__, KINDS).parse_args(arguments)
    return run_on_cluster("ringfs-failover.", lambda cluster: _run(cluster, options))


def _run(cluster: DevCluster, options: argparse.Namespace) -> list[str]:
    """All rounds, and the table; what is wrong."""
    cluster.up("--meta", "3", "--data", "2")
    second = cluster.another_mount("mnt2")
    books = cluster.new_books()
    failovers, writers = Failovers(cluster, options.seed), CrashRun(cluster, books, options.seed)
    program = [sys.executable, "-m", "tests.support.failover_writers"]
    applications: list[Application] = []
    try:
        for name, point in ("pace", cluster.mount), ("sqlite", second):
            directory = point / name
            subprocess.run(["mkdir", directory], check=True, timeout=_JOIN_S)
            applications.append(Application(name, [*program, name, directory]))
        applications.append(Application("fsx", fsx_command(second, books, options.seed)))
        writers.start_writers(2)
        pacer, database, exerciser = applications
        writers.wait_acknowledged(5)
        for _ in range(options.rounds):
            for kind in options.kinds:
                failovers.event(kind, pacer)
                for application in applications:
                    application.check_running()
                writers.wait_acknowledged(1)
                print(f"{kind:18} {failovers.pauses_s[kind][-1]:6.2f} s", file=sys.stderr, flush=True)
        writers.finish_writers()
        pacer.finish()
        database.finish()
        exerciser.finish(signal.SIGINT, FSX_ENDS)
        _print_table(failovers.pauses_s)
        return [*writers.verify(), *find_wrong_rows(second / "sqlite", database.lines[-1])]
    finally:
        writers.abandon()
        for application in applications:
            application.abandon()


def _print_table(pauses_s: dict[str, list[float]]) -> None:
    print("| what | times | median pause, s | worst, s |\n| --- | --- | --- | --- |")
    for kind, pauses in pauses_s.items():
        print(f"| {kind} | {len(pauses)} | {statistics.median(pauses):.2f} | {max(pauses):.2f} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
