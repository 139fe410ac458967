#!/usr/bin/env python3
"""Crashes for hours: a cluster is started, written to, and its processes are killed with SIGKILL, round after round.

    .venv/bin/python tools/soak.py --rounds 20
    .venv/bin/python tools/soak.py --minutes 480 --writers 6 --data 4
    .venv/bin/python tools/soak.py --seed 7 --rounds 1 --victims meta1+data2
    .venv/bin/python tools/soak.py --full 3

A round: writers note on a local disk what was acknowledged to them (tests/support/manifest.py); processes are killed in the
middle of it, one or several at once, and started again, several times over; then everything is killed and started anew,
every acknowledged byte and name is compared, and `ringfs check` must be clean. What a round does follows from its seed, but
not to the microsecond. --full N fills the data nodes instead, N times over: ENOSPC, then files are removed, and
writing must go on by itself once they are deleted, a minute later.

Exit codes: 0 nothing was wrong, 1 something was (the cluster's files are kept), 2 called wrongly.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

from ringfs.base.limits import DELETE_GRACE_NS
from ringfs.fuse import DRIVERS
from tests.process.test_disk_full import CAPACITY_BYTES, NAMES, append, fill, wrong
from tests.support.crashes import CrashRun, Stuck
from tests.support.mounts import DevCluster
from tests.support.space import MIB, set_capacity

#: Acknowledgements to each writer between two events of a round.
_ACKNOWLEDGED = (5, 60)
_KILLS = (2, 6)
#: How much longer than the grace a deletion may take to be felt.
_DELETION_SLACK_S = 60


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    options = _parse(arguments)
    begun_s = time.monotonic()
    try:
        with _cluster(2 if options.full else options.data, options.driver) as cluster:
            for number in range(1, options.full + 1):
                _say(begun_s, f"full {number}/{options.full}: {_full_round(cluster)}")
            if not options.full:
                _crash_rounds(cluster, options, begun_s)
    except (Stuck, AssertionError, pytest.fail.Exception) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    _say(begun_s, "nothing was wrong")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--minutes", type=float, help="begin rounds for so long, however many they are")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 20), help="of the first round (default random)"
    )
    parser.add_argument("--data", type=int, default=3, help="data nodes, 3 or more (default 3)")
    parser.add_argument("--writers", type=int, default=3, help="at once (default 3)")
    parser.add_argument("--victims", help="what is killed each time: names joined by +, or 'all' (default: drawn anew)")
    parser.add_argument("--driver", choices=DRIVERS, default=DRIVERS[0], help=f"of the mount (default {DRIVERS[0]})")
    parser.add_argument("--full", type=int, default=0, metavar="N", help="fill the disks N times instead")
    options = parser.parse_args(arguments)
    if options.data < 3:
        parser.error("--data must be 3 or more: with one node killed two must be left for replica:2")
    return options


@contextmanager
def _cluster(data_count: int, driver: str) -> Iterator[DevCluster]:
    """A cluster of its own. Nothing is left of it, unless something was wrong: then its files are."""
    root = Path(tempfile.mkdtemp(prefix="ringfs-soak."))
    cluster = DevCluster(root)
    try:
        cluster.up("--data", str(data_count), "--driver", driver)
        yield cluster
    except (Stuck, AssertionError, pytest.fail.Exception):
        print(f"{cluster.logs()}\nthe cluster is down, its files are in {root}", file=sys.stderr)
        cluster.dev("down", check=False)
        raise
    except BaseException:
        cluster.destroy()
        raise
    cluster.destroy()


def _crash_rounds(cluster: DevCluster, options: argparse.Namespace, begun_s: float) -> None:
    seed, number = options.seed, 0
    until_s = begun_s + 60 * options.minutes if options.minutes is not None else None
    while time.monotonic() < until_s if until_s is not None else number < options.rounds:
        number += 1
        with tempfile.TemporaryDirectory(prefix="ringfs-soak-manifests.") as books:
            run = CrashRun(cluster, Path(books), seed)
            try:
                kills = _crash_round(run, options)
            finally:
                run.abandon()
        totals = run.totals
        _say(
            begun_s,
            f"round {number}, seed {seed}: killed {', '.join(kills)}; {totals.under_way_count} times in the middle of a call; "
            f"{totals.acknowledged_count} acknowledgements, {totals.file_count} files, {totals.byte_count / MIB:.0f} MiB right",
        )
        for directory in cluster.mount.glob("writer*"):
            shutil.rmtree(directory)
        seed += 1


def _crash_round(run: CrashRun, options: argparse.Namespace) -> list[str]:
    """One round; what was killed. Raises Stuck or AssertionError."""
    draw = random.Random(run.seed)
    kills: list[str] = []
    run.start_writers(options.writers)
    for _ in range(draw.randint(*_KILLS)):
        run.wait_acknowledged(draw.randint(*_ACKNOWLEDGED))
        victims = _victims(draw, options)
        kills.append("+".join(victims))
        run.kill(*victims)
        if "mount1" in victims:
            run.join_failed_writers()
        elif len(victims) == 1 and victims != ["meta1"]:
            run.wait_acknowledged(draw.randint(*_ACKNOWLEDGED))
        run.cluster.dev("up")
        if "mount1" in victims:
            run.start_writers(options.writers)
    run.wait_acknowledged(draw.randint(*_ACKNOWLEDGED))
    run.finish_writers()
    run.kill_everything()
    run.cluster.dev("up")
    findings = run.verify()
    assert not findings, "\n".join(findings)
    assert run.totals.under_way_count, f"seed {run.seed}: no kill was in the middle of a call"
    return kills


def _victims(draw: random.Random, options: argparse.Namespace) -> list[str]:
    """Names of what is killed at once."""
    data = [f"data{number}" for number in range(1, options.data + 1)]
    everything = ["meta1", *data, "mount1"]
    if options.victims:
        return everything if options.victims == "all" else options.victims.split("+")
    kind = draw.choice(("data", "data", "meta", "mount", "servers", "some", "all"))
    match kind:
        case "data":
            return [draw.choice(data)]
        case "meta":
            return ["meta1"]
        case "mount":
            return ["mount1"]
        case "servers":
            return ["meta1", *data]
        case "some":
            return sorted(draw.sample(everything, draw.randint(2, len(everything) - 1)))
    return everything


def _full_round(cluster: DevCluster) -> str:
    """Fill, remove, and wait until there is space again; how that went. Raises AssertionError."""
    set_capacity(cluster, NAMES, CAPACITY_BYTES)
    acknowledged = fill(cluster.mount, 2 * MIB)
    removed = sorted(acknowledged)[::2]
    for name in removed:
        (cluster.mount / name).unlink()
        del acknowledged[name]
    begun_s = time.monotonic()
    new = os.urandom(4 * MIB)
    while append(cluster.mount / "new", new) != "ok":
        assert time.monotonic() - begun_s < DELETE_GRACE_NS / 1e9 + _DELETION_SLACK_S, "no space came back"
        (cluster.mount / "new").unlink()
        time.sleep(1)
    waited_s = time.monotonic() - begun_s
    acknowledged["new"] = new
    found = wrong(cluster.mount, acknowledged)
    assert not found, f"wrong: {found}"
    cluster.ringfs("check", "--cluster", cluster.directory)
    for name in acknowledged:
        (cluster.mount / name).unlink()
    return f"{len(acknowledged) + len(removed) - 1} files fitted; {len(removed)} removed, space after {waited_s:.0f} s"


def _say(begun_s: float, text: str) -> None:
    print(f"{time.monotonic() - begun_s:7.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
