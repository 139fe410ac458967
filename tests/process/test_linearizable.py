"""Names are linearizable: what processes on two mounts were told of creates, renames, links and removals has an order that a single
directory could have shown, while metadata servers are killed under them.
"""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crashes import CrashRun
from tests.support.directory_history import KINDS, Call
from tests.support.hammering import Hammering, findings
from tests.support.mounts import DevCluster, dev_cluster

#: Calls of each process between two events.
SOME = 150


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    """One metadata server; killed here, so not the one that mount tests share."""
    with dev_cluster("--data", "2") as cluster:
        yield cluster


def hammered(cluster: DevCluster, mounts: list[Path], books: Path, events: list[str]) -> list[Call]:
    """The calls of hammers on those mounts while each of those servers in turn is killed and started again."""
    seed = random.randrange(1 << 20)
    hammering = Hammering(mounts, books, seed)
    try:
        hammering.start()
        for victim in events:
            hammering.wait_calls(SOME)
            CrashRun(cluster, books, seed).kill(victim)
            cluster.dev("start", victim)
        hammering.wait_calls(SOME)
        return hammering.finish()
    finally:
        hammering.abandon()


def assert_linearizable(cluster: DevCluster, calls: list[Call]) -> None:
    """And the calls were such that it could have been otherwise: of all kinds, successful and not, many at the same time."""
    assert not (found := findings(calls)), "\n".join([*found, cluster.logs()])
    for kind in KINDS:
        assert {call.outcome.error == "" for call in calls if call.kind == kind and call.outcome} == {True, False}, kind
    ordered = sorted(calls, key=lambda call: call.start_ns)
    assert sum(a.end_ns is not None and a.end_ns > b.start_ns for a, b in itertools.pairwise(ordered)) > SOME


def test_one_metadata_server(cluster: DevCluster, tmp_path: Path) -> None:
    """SIGKILL and a new start, twice."""
    calls = hammered(cluster, [cluster.mount, cluster.another_mount("mnt2")], tmp_path, ["meta1", "meta1"])
    assert_linearizable(cluster, calls)


def test_failover(tmp_path: Path) -> None:
    """Three metadata servers on etcd: each is killed in turn, whichever leads."""
    with dev_cluster("--meta", "3", "--data", "2") as cluster:
        mounts = [cluster.mount, cluster.another_mount("mnt2")]
        assert_linearizable(cluster, hammered(cluster, mounts, tmp_path, ["meta1", "meta2", "meta3"]))
