#!/usr/bin/env python3
"""Faults of the ring on real processes: nodes die, disks are lost, bytes rot, disks fill, nodes come and go, under applications.

    .venv/bin/python tools/ring_faults.py
    .venv/bin/python tools/ring_faults.py --rounds 2 --kinds lose-disk,lose-two

`ringfs dev up --data 6 --class ec:4+2` and one mount. Writers note on a local disk what was acknowledged to them
(tests/support/manifest.py), fsx runs, and a reader checks files that were written before, again and again, straight from the data
nodes (tests/support/ring_reader.py). After each fault the ring has to become healthy by itself, and `ringfs check --deep` must be
clean. A pause is the longest time that the reader waited for a file of 2 MiB. A table on standard output.

Exit codes: 0 nothing was wrong, 1 something was (the cluster's files are kept), 2 called wrongly.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from tests.support.applications import FSX_ENDS, Application, fsx_command
from tests.support.crashes import CrashRun
from tests.support.event_runs import event_parser, run_on_cluster
from tests.support.mounts import DevCluster
from tests.support.ring_events import KINDS, RingEvents, Row

NODES = 6
CLASS = "ec:4+2"
#: Files of the reader, 2 MiB each: more than a client's cache.
_FILES = 64
_READER = (sys.executable, "-m", "tests.support.ring_reader")


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    parser = event_parser(__doc__, KINDS)
    parser.add_argument("--directory", help="where the cluster's files are put (default the temporary directory)")
    options = parser.parse_args(arguments)
    return run_on_cluster("ringfs-faults.", lambda cluster: _run(cluster, options), options.directory)


def _run(cluster: DevCluster, options: argparse.Namespace) -> list[str]:
    """All rounds, and the table; what is wrong."""
    cluster.up("--data", str(NODES), "--class", CLASS)
    books = cluster.new_books()
    writers = CrashRun(cluster, books, options.seed)
    golden = (str(cluster.mount / "golden"), str(_FILES), str(options.seed))
    subprocess.run([*_READER, "make", *golden], check=True, timeout=600)
    applications: list[Application] = []
    try:
        reader = Application("the reader", [*_READER, "read", *golden])
        applications.append(reader)
        fsx_place = cluster.mount / "fsx"
        fsx_place.mkdir()
        exerciser = Application("fsx", fsx_command(fsx_place, books, options.seed))
        applications.append(exerciser)
        writers.start_writers(2)
        events = RingEvents(cluster, applications, writers, options.seed)
        for _ in range(options.rounds):
            for kind in options.kinds:
                row = events.happen(kind)
                print(row, file=sys.stderr, flush=True)
        writers.finish_writers()
        reader.finish()
        exerciser.finish(signal.SIGINT, FSX_ENDS)
        _print_table(events.rows)
        return [*events.findings, *writers.verify()]
    finally:
        writers.abandon()
        for application in applications:
            application.abandon()


def _print_table(rows: Sequence[Row]) -> None:
    print("| what | reader's longest wait, s | healed after, s | rebuilt or moved, MB | MB/s |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.kind} | {row.pause_s:.2f} | {row.healed_s:.1f} | {row.moved_bytes / 1e6:.0f} | {row.rate_mb_s:.1f} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
