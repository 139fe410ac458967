"""SIGKILL of each process in the middle of writes: everything that was acknowledged is there afterwards, byte for byte.

Writers note on a local disk what was acknowledged to them (tests/support/manifest.py). What must be there is read through a
new mount, and where servers were killed from servers that were all started anew: from disks, not from memory.
tools/soak.py is the long version.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfs.cli import mounts
from tests.support.crashes import CrashRun
from tests.support.mounts import dev_cluster

#: Acknowledgements to each writer between two events.
SOME = 12
SERVERS = ("meta1", "data1", "data2", "data3")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[CrashRun]:
    """A cluster of three data nodes, and a seed of its own."""
    with dev_cluster("--data", "3") as cluster:
        run = CrashRun(cluster, tmp_path, random.randrange(1 << 20))
        try:
            yield run
        finally:
            run.abandon()


def restart(run: CrashRun) -> None:
    """The mount in peace, so that nobody waits for its session; then all servers by SIGKILL."""
    run.cluster.dev("stop", "mount1")
    run.kill(*SERVERS)
    run.cluster.dev("up")


def assert_all_there(run: CrashRun) -> None:
    """Nothing is wrong, and there was something to lose when something was killed."""
    findings = run.verify()
    assert not findings, "\n".join([*findings, run.cluster.logs()])
    assert run.totals.under_way_count > 0, f"seed {run.seed}: no kill was in the middle of a call"
    assert run.totals.exact_count > 0, f"seed {run.seed}"


def test_data_nodes(run: CrashRun) -> None:
    """Two nodes in turn: writers see no error and go on without the node; what it held it holds again."""
    run.start_writers()
    for name in ("data1", "data2"):
        run.wait_acknowledged(SOME)
        run.kill(name)
        run.wait_acknowledged(SOME)
        run.cluster.dev("start", name)
    run.wait_acknowledged(SOME)
    run.finish_writers()
    restart(run)
    assert_all_there(run)


def test_metadata_server(run: CrashRun) -> None:
    """Writers see no error, only a pause, three times over."""
    run.start_writers()
    for _ in range(3):
        run.wait_acknowledged(SOME)
        run.kill("meta1")
        run.cluster.dev("start", "meta1")
    run.wait_acknowledged(SOME)
    run.finish_writers()
    restart(run)
    assert_all_there(run)


def test_mount(run: CrashRun) -> None:
    """Calls fail as on any dead mount; the next mount has what was acknowledged, and new writers go on."""
    run.start_writers()
    run.wait_acknowledged(3 * SOME)
    run.kill("mount1")
    run.join_failed_writers()
    run.cluster.dev("start", "mount1")
    assert_all_there(run)
    run.start_writers()
    run.wait_acknowledged(SOME)
    run.finish_writers()
    assert_all_there(run)


def test_dead_mount_is_known_at_once(run: CrashRun) -> None:
    """Also while the kernel may still answer from what it remembers; it can be started again at that moment."""
    point = run.cluster.mount
    for _ in range(3):
        point.stat()
        run.kill("mount1")
        assert mounts.is_dead(point)
        run.cluster.dev("start", "mount1")
        assert not mounts.is_dead(point)


def test_everything_at_once(run: CrashRun) -> None:
    """All processes at one moment; what was acknowledged is there, and new writers go on."""
    run.start_writers()
    run.wait_acknowledged(3 * SOME)
    run.kill_everything()
    run.join_failed_writers()
    run.cluster.dev("up")
    assert_all_there(run)
    run.start_writers()
    run.wait_acknowledged(SOME)
    run.finish_writers()
    assert_all_there(run)
