"""`ringfs clone` on a mount: files and trees, seen at once, compared by programs that know nothing of it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster

Ringfs = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ringfs(request: pytest.FixtureRequest, is_ringfs: bool) -> Ringfs:
    """Runs a command."""
    if not is_ringfs:
        pytest.skip("this is about a command of ringfs")
    cluster: DevCluster = request.getfixturevalue("cluster")
    return cluster.ringfs


def listing(tree: Path) -> str:
    """All that find, sha256sum, getfacl and getfattr tell of a tree."""
    script = """find . -printf '%P %y %m %U %G %n %s %T@ %l\\n' | sort; find . -type f -exec sha256sum {} + | sort
                find . ! -type l | sort | getfacl -n -; find . | sort | xargs getfattr -h -d -m -"""
    return subprocess.run(["sh", "-ec", script], cwd=tree, check=True, capture_output=True, text=True).stdout


def test_tree(place: Path, ringfs: Ringfs) -> None:
    """No difference in names, bytes, links, modes, owners, times, ACLs and xattrs; writing one leaves the other alone."""
    tree = place / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/file").write_bytes(os.urandom(300_000))
    (tree / "small").write_bytes(b"small")
    os.link(tree / "small", tree / "a/again")
    os.symlink("nowhere", tree / "link")
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "a", "user.key", b"value")
    subprocess.run(["setfacl", "-m", "u:12345:rw", tree / "small"], check=True)
    os.chown(tree / "a/b", 1234, 5678)
    os.chmod(tree / "a/b", 0o1751)
    os.utime(tree / "a", (1, 2))
    said = ringfs("clone", tree, place / "clone").stdout
    assert said.startswith(f"{place / 'clone'}: 4 files, 3 directories, ")
    assert sorted(os.listdir(place)) == ["clone", "tree"]
    assert listing(place / "clone") == listing(tree)
    assert (place / "clone/a").stat().st_mtime == 2
    assert (place / "clone/small").stat().st_ino == (place / "clone/a/again").stat().st_ino != (tree / "small").stat().st_ino
    (place / "clone/a/file").write_bytes(b"changed")
    assert (tree / "a/file").stat().st_size == 300_000


def test_large_sparse_file(place: Path, second_mount_point: Path, mount_point: Path, ringfs: Ringfs) -> None:
    """10 GB with holes in one go, with what another mount has not committed yet; holes stay holes."""
    there = second_mount_point / place.relative_to(mount_point)
    with open(there / "large", "wb") as file:
        for gigabyte in range(10):
            file.seek(gigabyte << 30)
            file.write(os.urandom(1 << 20))
        file.truncate(10 << 30)
        file.flush()
        told = json.loads(ringfs("clone", "--json", place / "large", place / "clone").stdout)
    assert (told["files"], told["directories"], told["bytes"]) == (1, 0, 10 << 30)
    assert (place / "clone").stat().st_blocks == 10 << 11
    with open(there / "large", "rb") as one, open(there / "clone", "rb") as two:
        for gigabyte in range(10):
            at = gigabyte << 30
            assert os.pread(one.fileno(), 2 << 20, at) == os.pread(two.fileno(), 2 << 20, at)


def test_refusals(place: Path, ringfs: Ringfs, tmp_path: Path) -> None:
    """One line each, exit code 2, and nothing is made."""
    (place / "tree/below").mkdir(parents=True)
    for source, destination, line in (
        ("tree", "tree", "exists already"),
        ("tree", "tree/clone", "lies within"),
        ("tree", "tree/below/clone", "lies within"),
        ("nothing", "clone", "cannot look at"),
        ("tree", "nothing/clone", "cannot look at|may be made"),
    ):
        done = ringfs("clone", place / source, place / destination, check=False)
        assert done.returncode == 2
        assert any(part in done.stdout for part in line.split("|")), done.stdout
        assert len(done.stdout.splitlines()) == 1
    assert ringfs("clone", place / "tree", tmp_path / "clone", check=False).returncode == 2
    assert os.listdir(place) == ["tree"]
    assert os.listdir(place / "tree") == ["below"]
