"""Quotas of directories on a mount: set with `ringfs quota`, met by programs as EDQUOT, shown by statvfs."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster
from tests.support.posix import outcome

MIB = 1 << 20


def write_synced(path: Path, size_bytes: int) -> None:
    """What is written counts once it is committed."""
    with open(path, "wb") as opened:
        opened.write(b"x" * size_bytes)
        opened.flush()
        os.fsync(opened.fileno())


@pytest.fixture
def limited(is_ringfs: bool, place: Path, request: pytest.FixtureRequest) -> Path:
    """A directory that may hold 4 MiB and 10 files, with a file of 1 MiB in it from before."""
    if not is_ringfs:
        pytest.skip("quotas of directories are set with ringfs")
    directory = place / "limited"
    directory.mkdir()
    write_synced(directory / "before", MIB)
    cluster: DevCluster = request.getfixturevalue("cluster")
    cluster.ringfs("quota", "set", directory, "--bytes", "4M", "--files", "10")
    # The mount learns of a first quota within seconds, or when it is asked for space.
    os.statvfs(directory)
    return directory


def figures(cluster: DevCluster, directory: Path) -> tuple[int, int]:
    found = json.loads(cluster.ringfs("quota", "get", directory, "--json").stdout)
    return found["bytes_used"], found["files_used"]


def test_files(limited: Path, cluster: DevCluster) -> None:
    """The eleventh inode is refused, whatever it is; removing one makes room."""
    for index in range(9):
        (limited / f"{index}").touch()
    assert figures(cluster, limited) == (MIB, 10)
    assert outcome(os.mkdir, limited / "more") == "EDQUOT"
    assert outcome(os.symlink, "x", limited / "more") == "EDQUOT"
    assert outcome(os.mknod, limited / "more") == "EDQUOT"
    os.unlink(limited / "3")
    os.mkdir(limited / "more")
    assert outcome(os.mknod, limited / "more/deep") == "EDQUOT"


def test_fsync(limited: Path, cluster: DevCluster) -> None:
    """fsync tells, and what it acknowledged is within the quota."""
    descriptor = os.open(limited / "file", os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, b"a" * 2 * MIB)
        os.fsync(descriptor)
        os.pwrite(descriptor, b"b" * 2 * MIB, 2 * MIB)
        assert outcome(os.fsync, descriptor) == "EDQUOT"
        os.ftruncate(descriptor, 2 * MIB)
        os.pwrite(descriptor, b"c" * MIB, 2 * MIB)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    assert figures(cluster, limited) == (4 * MIB, 2)
    assert (limited / "file").read_bytes() == b"a" * 2 * MIB + b"c" * MIB


def test_programs_are_told(limited: Path, place: Path) -> None:
    """cp fails: at a write, or at the close."""
    (place / "large").write_bytes(b"x" * 8 * MIB)
    result = subprocess.run(["cp", place / "large", limited / "copy"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "quota" in result.stderr.lower()


def test_sparse_files_cost_what_they_store(limited: Path, cluster: DevCluster) -> None:
    """A hole is free."""
    with open(limited / "sparse", "wb") as opened:
        opened.truncate(1 << 40)
        opened.seek(1 << 39)
        opened.write(b"x" * 4096)
        opened.flush()
        os.fsync(opened.fileno())
    assert figures(cluster, limited) == (MIB + 4096, 2)


def test_moving_in(limited: Path, place: Path, cluster: DevCluster) -> None:
    """A tree comes in with all that it holds, or not at all; out it always gets."""
    tree = place / "tree"
    tree.mkdir()
    for name in ("1", "2"):
        write_synced(tree / name, 2 * MIB)
    assert outcome(os.rename, tree, limited / "tree") == "EDQUOT"
    os.unlink(tree / "1")
    os.rename(tree, limited / "tree")
    assert figures(cluster, limited) == (3 * MIB, 3)
    os.rename(limited / "tree", place / "out")
    assert figures(cluster, limited) == (MIB, 1)


def test_links_across_the_edge(limited: Path, place: Path) -> None:
    """EXDEV, at which mv copies."""
    (place / "file").write_bytes(b"x")
    assert outcome(os.link, place / "file", limited / "link") == "EXDEV"
    assert outcome(os.link, limited / "before", place / "link") == "EXDEV"
    os.link(limited / "before", limited / "again")
    assert outcome(os.rename, limited / "again", place / "again") == "EXDEV"
    subprocess.run(["mv", limited / "again", place / "again"], check=True)
    assert (place / "again").stat().st_size == MIB


def test_statvfs(limited: Path, driver: str) -> None:
    """df in the directory shows the quota."""
    if driver == "pyfuse3":
        pytest.skip("pyfuse3 does not say which directory is meant")
    found = os.statvfs(limited)
    assert found.f_blocks * found.f_frsize == 4 * MIB
    assert found.f_bavail * found.f_frsize == 3 * MIB
    assert (found.f_files, found.f_ffree) == (10, 9)
