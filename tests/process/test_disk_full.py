"""Full disks, with real processes: ENOSPC to who writes, nothing acknowledged is lost, and work goes on when space returns.

That space returns by deleting files, after the minute that deletion takes (DELETE_GRACE_NS), tools/soak.py shows.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster, dev_cluster
from tests.support.posix import names, outcome
from tests.support.space import MIB, set_capacity
from tests.support.waiting import wait_for

NAMES = ["data1", "data2"]
CAPACITY_BYTES = 24 * MIB
#: Of the metadata server's file system: room for its journal (64 MiB) and for what these tests store.
STATE_BYTES = 256 * MIB
XATTR = os.urandom(60_000)
#: By then what was tried must have happened.
TRIES_MAX = 5000


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    """Two data nodes, each object on both."""
    with dev_cluster("--data", "2") as cluster:
        yield cluster


def append(path: Path, content: bytes, *, sync: bool = True) -> str:
    """Append to a file: "ok" once fsync (or only close) has acknowledged it; else the errno of the first call that failed."""

    def call() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            assert os.write(fd, content) == len(content)
            if sync:
                os.fsync(fd)
        except BaseException:
            outcome(os.close, fd)  # it may fail too: the first error counts
            raise
        os.close(fd)

    return outcome(call)


def fill(directory: Path, size: int) -> dict[str, bytes]:
    """Synced files until one is refused with ENOSPC: name and content of those that were acknowledged."""
    acknowledged: dict[str, bytes] = {}
    for number in range(TRIES_MAX):
        name, content = f"{size}-{number}", os.urandom(size)
        said = append(directory / name, content)
        if said != "ok":
            assert said == "ENOSPC"
            return acknowledged
        acknowledged[name] = content
    pytest.fail("the disks never were full")


def wrong(directory: Path, expected: dict[str, bytes]) -> list[str]:
    """Names whose content is not what it must be."""
    return [name for name, content in expected.items() if (directory / name).read_bytes() != content]


def test_data_nodes(cluster: DevCluster) -> None:
    """Large writes, small ones and closes get ENOSPC; names, small files and reads go on; with more space all is as before."""
    mount = cluster.mount
    set_capacity(cluster, NAMES, CAPACITY_BYTES)
    acknowledged = fill(mount, 2 * MIB) | fill(mount, 200_000)
    assert 2 * MIB * 8 < sum(map(len, acknowledged.values())) < CAPACITY_BYTES
    os.statvfs(mount)  # from now on the mount knows that space is scarce, and close tells
    assert append(mount / "unsynced", os.urandom(2 * MIB), sync=False) == "ENOSPC"
    log = b""
    for number in range(TRIES_MAX):
        record = b"%03999d\n" % number
        if (said := append(mount / "log", record)) != "ok":
            break
        log += record
    assert said == "ENOSPC", "a log outgrows what metadata keeps inline"
    assert len(log) > 10_000
    (mount / "dir").mkdir()
    assert append(mount / "dir" / "small", b"inline") == "ok"
    acknowledged["dir/small"] = b"inline"
    assert wrong(mount, acknowledged) == []

    set_capacity(cluster, NAMES, None)
    assert append(mount / "more", b"m" * 4 * MIB) == "ok"
    acknowledged["more"] = b"m" * 4 * MIB
    cluster.dev("stop", "mount1")
    for name in ("data1", "data2", "meta1"):
        cluster.dev("kill", name)
    cluster.dev("up")
    assert wrong(mount, acknowledged) == []
    assert (mount / "log").read_bytes().startswith(log)
    cluster.ringfs("check", "--cluster", cluster.directory)


def move_to_small_disk(cluster: DevCluster) -> Path:
    """Give the metadata server a file system of its own for its state, in the cluster's directory; removed with it."""
    state, before = cluster.directory / "meta1" / "state", cluster.root / "state"
    cluster.dev("stop", "meta1")
    state.rename(before)
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES},mode=700", "ringfs-test", state], check=True)
    shutil.copytree(before, state, dirs_exist_ok=True)
    cluster.dev("start", "meta1")
    return state


def take_all_space(directory: Path) -> Path:
    """A file that is as large as it can be."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            while outcome(file.write, bytes(size)) == "ok":
                pass
    return ballast


def test_metadata_server(cluster: DevCluster) -> None:
    """Its state's disk is full: changes go on in memory, then get ENOSPC; removals and reads go on, also over a kill; then
    space returns."""
    mount = cluster.mount
    state = move_to_small_disk(cluster)
    assert append(mount / "file", b"before") == "ok"
    ballast = take_all_space(state)
    made = []
    for number in range(TRIES_MAX):
        path = mount / f"f{number}"
        if (said := outcome(path.touch)) != "ok" or (said := outcome(os.setxattr, path, "user.v", XATTR)) != "ok":
            break
        made.append(path.name)
    assert said == "ENOSPC"
    assert len(made) > 100
    assert "the state directory's disk is full" in cluster.ringfs("status", "--cluster", cluster.directory, check=False).stdout
    for _ in range(2):
        assert set(made) <= set(names(mount))
        assert all(os.getxattr(mount / name, "user.v") == XATTR for name in made)
        assert (mount / "file").read_bytes() == b"before"
        assert outcome(os.setxattr, mount / "file", "user.v", XATTR) == "ENOSPC"
        assert outcome((mount / made.pop()).unlink) == "ok"
        cluster.dev("kill", "meta1")
        cluster.dev("start", "meta1")

    ballast.unlink()
    wait_for(lambda: outcome(os.setxattr, mount / "file", "user.v", XATTR), lambda said: said != "ENOSPC")
    assert append(mount / "file", b" and after") == "ok"
    cluster.ringfs("check", "--cluster", cluster.directory)
    cluster.dev("kill", "meta1")
    cluster.dev("start", "meta1")
    assert set(made) <= set(names(mount))
    assert (mount / "file").read_bytes() == b"before and after"
