#!/usr/bin/env python3
"""PostgreSQL on a mount, and crashes round after round: what COMMIT acknowledged is there, and its own checks are clean.

    .venv/bin/python tools/soak_postgres.py --rounds 20
    .venv/bin/python tools/soak_postgres.py --minutes 120 --scale 10 --driver pyfuse3

A round: clients insert and note what was acknowledged, pgbench runs beside them; then PostgreSQL, the mount, a data node, the
metadata server or all of them are killed with SIGKILL, started again, and everything is verified. Every fifth round, and at
the end, the server is stopped in peace for pg_checksums. Needs root and `tools/setup.sh --tests`.

Exit codes: 0 nothing was wrong, 1 something was (the cluster's files are kept), 2 called wrongly.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

from ringfs.fuse import DRIVERS
from tests.support.mounts import DevCluster
from tests.support.postgres import Broken, Postgres

#: Commits of each client before the kill of a round.
_COMMITS = (20, 200)
_PEACE_ROUNDS = 5
#: What is killed. Without its mount, PostgreSQL must be killed too: it would go on with files that are gone.
_VICTIMS = (
    ("postgres",),
    ("mount1", "postgres"),
    ("meta1",),
    ("data1",),
    ("meta1", "mount1", "postgres"),
    ("meta1", "data1", "data2", "data3", "mount1", "postgres"),
)


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    options = _parse(arguments)
    root = Path(tempfile.mkdtemp(prefix="ringfs-soak-pg."))
    root.chmod(0o755)
    cluster = DevCluster(root)
    postgres = Postgres(cluster.mount / "data", root / "home")
    is_right = False
    try:
        cluster.up("--data", "3", "--driver", options.driver)
        postgres.init(options.scale)
        _rounds(cluster, postgres, options)
        is_right = True
    except (Broken, AssertionError, pytest.fail.Exception) as error:
        print(f"{type(error).__name__}: {error}\n{cluster.logs()}\nthe files are in {root}", file=sys.stderr)
    finally:
        postgres.end_clients()
        postgres.kill()
        if is_right:
            cluster.destroy()
        else:
            cluster.dev("down", check=False)
    return 0 if is_right else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--minutes", type=float, help="begin rounds for so long, however many they are")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20), help="of the kills (default random)")
    parser.add_argument("--scale", type=int, default=2, help="of pgbench: 15 MB each (default 2)")
    parser.add_argument("--clients", type=int, default=3, help="at once (default 3)")
    parser.add_argument("--driver", choices=DRIVERS, default=DRIVERS[0], help=f"of the mount (default {DRIVERS[0]})")
    return parser.parse_args(arguments)


def _rounds(cluster: DevCluster, postgres: Postgres, options: argparse.Namespace) -> None:
    draw = random.Random(options.seed)
    begun_s = time.monotonic()
    number = 0
    while time.monotonic() < begun_s + 60 * options.minutes if options.minutes is not None else number < options.rounds:
        number += 1
        victims = draw.choice(_VICTIMS)
        postgres.start_clients(options.clients)
        transactions_s = postgres.bench(seconds=2)
        postgres.wait_committed(draw.randint(*_COMMITS))
        _crash(cluster, postgres, victims)
        count = postgres.verify()
        if number % _PEACE_ROUNDS == 0:
            _check_files(postgres)
        print(
            f"{time.monotonic() - begun_s:.0f} s: round {number}, seed {options.seed}: killed {', '.join(victims)}; "
            f"{count} commits are there; pgbench {transactions_s:.0f}/s",
            flush=True,
        )
    _check_files(postgres)
    print("nothing was wrong")


def _crash(cluster: DevCluster, postgres: Postgres, victims: Sequence[str]) -> None:
    for name in victims:
        if name != "postgres":
            cluster.dev("kill", name)
    if "postgres" not in victims:
        # It and its clients feel no more than a pause.
        cluster.dev("up")
        postgres.wait_committed(_COMMITS[0])
        postgres.end_clients()
        return
    postgres.end_clients()
    postgres.kill()
    cluster.dev("up")
    postgres.start()


def _check_files(postgres: Postgres) -> None:
    postgres.stop()
    postgres.verify_files()
    postgres.start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
