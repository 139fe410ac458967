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
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

from tests.support.applications import FSX_ENDS, Application, fsx_command
from tests.support.crashes import CrashRun, Stuck
from tests.support.mounts import DevCluster
from tests.support.ring_events import KINDS, RingEvents, Row

NODES = 6
CLASS = "ec:4+2"
#: Files of the reader, 2 MiB each: more than a client's cache.
_FILES = 64
_READER = (sys.executable, "-m", "tests.support.ring_reader")


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    options = _parse(arguments)
    root = Path(tempfile.mkdtemp(prefix="ringfs-faults.", dir=options.directory))
    root.chmod(0o755)
    cluster = DevCluster(root)
    try:
        findings = _run(cluster, options)
    except (Stuck, AssertionError, pytest.fail.Exception, subprocess.SubprocessError) as error:
        findings = [f"{type(error).__name__}: {error}"]
    if findings:
        print("\n".join([*findings, f"the cluster is down, its files are in {root}"]), file=sys.stderr)
        cluster.dev("down", check=False)
        return 1
    cluster.destroy()
    return 0


def _run(cluster: DevCluster, options: argparse.Namespace) -> list[str]:
    """All rounds, and the table; what is wrong."""
    cluster.up("--data", str(NODES), "--class", CLASS)
    books = Path(tempfile.mkdtemp(prefix="ringfs-faults-manifests."))
    writers = CrashRun(cluster, books, options.seed)
    golden = (str(cluster.mount / "golden"), str(_FILES), str(options.seed))
    subprocess.run([*_READER, "make", *golden], check=True, timeout=120)
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
        shutil.rmtree(books)


def _print_table(rows: Sequence[Row]) -> None:
    print("| what | reader's longest wait, s | healed after, s | rebuilt or moved, MB | MB/s |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.kind} | {row.pause_s:.2f} | {row.healed_s:.1f} | {row.moved_bytes / 1e6:.0f} | {row.rate_mb_s:.1f} |")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="how often each kind (default 1)")
    parser.add_argument("--kinds", type=_kinds, default=KINDS, metavar="K,K", help=f"of {', '.join(KINDS)} (default all)")
    parser.add_argument("--seed", type=int, default=os.getpid(), help="of writers, fsx and choices (default random)")
    parser.add_argument("--directory", help="where the cluster's files are put (default the temporary directory)")
    return parser.parse_args(arguments)


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
