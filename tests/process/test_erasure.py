"""Six data nodes of real processes and ec:4+2: any two may be gone or stand still, and everything is read and written on."""

import os
import signal
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster, dev_cluster
from tests.support.running_time import RunningTime, running_time

#: Whole objects, parts of one, one block, and what is stored as copies.
SIZES = [30_000_000, 8 << 20, 3_000_001, 700_000, 65_536, 65_535, 20_000]
#: A read that a stopped node holds up for longer than this is not overtaken (the connection is given up after 10 s), nor is a
#: write. In the machine's running time: a machine that is slow is no reason.
GAP_S_MAX = 4.0
WRITE_S_MAX = 20.0


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    """Up and mounted, and its own."""
    with dev_cluster("--data", "6", "--class", "ec:4+2") as cluster:
        yield cluster


def write(folder: Path, name: str) -> dict[str, bytes]:
    """Files of all sizes, durable: their digests."""
    digests = {}
    for size in SIZES:
        path = folder / f"{name}.{size}"
        content = os.urandom(size)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        digests[path.name] = blake2b(content).digest()
    return digests


def check(folder: Path, digests: dict[str, bytes]) -> float:
    """Every file is what was written; the longest that one read took."""
    with running_time() as clock:
        return max(read_through(folder / name, expected, clock) for name, expected in digests.items())


def read_through(path: Path, expected: bytes, clock: RunningTime) -> float:
    """A file with that digest; the longest that one read took."""
    longest_s = 0.0
    digest = blake2b()
    with path.open("rb", buffering=0) as file:
        data = b"begun"
        while data:
            begun_s = clock.now_s()
            data = file.read(1 << 20)
            longest_s = max(longest_s, clock.now_s() - begun_s)
            digest.update(data)
    assert digest.digest() == expected, path.name
    return longest_s


def pid_of(cluster: DevCluster, name: str) -> int:
    """The process's number."""
    return int((cluster.directory / name / "pid").read_text())


def test_two_nodes_of_six_are_killed(cluster: DevCluster) -> None:
    """What was written with all nodes, and with four, is read through mounts that know nothing yet; also when the two
    are back."""
    digests = write(cluster.mount, "all")
    check(cluster.another_mount("fresh1"), digests)
    for name in ("data2", "data5"):
        cluster.dev("kill", name)
    check(cluster.mount, digests)
    check(cluster.another_mount("fresh2"), digests)
    digests |= write(cluster.mount, "four")
    check(cluster.another_mount("fresh3"), digests)
    for name in ("data2", "data5"):
        cluster.dev("start", name)
    digests |= write(cluster.mount, "again")
    check(cluster.another_mount("fresh4"), digests)


def test_two_nodes_of_six_stand_still(cluster: DevCluster) -> None:
    """Nodes that take requests and answer none hold up neither reads nor writes for long."""
    digests = write(cluster.mount, "all")
    fresh = cluster.another_mount("fresh")
    stopped = [pid_of(cluster, name) for name in ("data1", "data4")]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert check(fresh, digests) < GAP_S_MAX
        with running_time() as clock:
            digests |= write(cluster.mount, "four")
            assert clock.now_s() < WRITE_S_MAX
        assert check(fresh, digests) < GAP_S_MAX
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    check(cluster.another_mount("later"), digests)
