"""Classes of service on a mount: set with `ringfs class` or setfattr, inherited, shown; the data follows."""

import json
import os
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster
from tests.support.posix import outcome

ATTRIBUTE = "user.ringfs.class"
MIB = 1 << 20


@pytest.fixture
def tree(is_ringfs: bool, place: Path) -> Path:
    """/tree/below/file of 3 MiB, durable."""
    if not is_ringfs:
        pytest.skip("classes of service are ringfs's")
    directory = place / "tree"
    (directory / "below").mkdir(parents=True)
    write_synced(directory / "below/file", os.urandom(3 * MIB))
    return directory


def write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def show(cluster: DevCluster, path: Path) -> tuple[str, bool]:
    found = json.loads(cluster.ringfs("class", "show", path, "--json").stdout)
    return found["class"], found["is_default"]


def test_set_by_attribute(tree: Path, cluster: DevCluster) -> None:
    """What is made later has it; what is there does not; refused with the reason's errno."""
    assert (show(cluster, tree), os.getxattr(tree, ATTRIBUTE), os.listxattr(tree)) == (("ec:2+1", True), b"ec:2+1", [])
    os.setxattr(tree, ATTRIBUTE, b"replica:2")
    (tree / "new").mkdir()
    write_synced(tree / "new/file", b"x" * MIB)
    assert [os.getxattr(tree / each, ATTRIBUTE) for each in ("new", "new/file", "below")] == [b"replica:2", b"replica:2", b"ec:2+1"]
    assert os.listxattr(tree / "new") == [ATTRIBUTE]
    assert (show(cluster, tree / "new"), show(cluster, tree / "below/file")) == (("replica:2", False), ("ec:2+1", True))
    told = json.loads(cluster.ringfs("info", tree / "new/file", "--json").stdout)
    assert (told["class"], {each["stored"]["class"] for each in told["extents"]}) == ("replica:2", {"replica:2"})
    for wrong in (b"gold", b"ec:9+2", b""):
        assert outcome(os.setxattr, tree, ATTRIBUTE, wrong) == "EINVAL"
    os.removexattr(tree, ATTRIBUTE)
    assert outcome(os.removexattr, tree, ATTRIBUTE) == "ENODATA"
    assert os.listxattr(tree) == []


def test_set_recursively(tree: Path, cluster: DevCluster) -> None:
    """Everything below gets it, objects too; once more changes nothing; "default" takes it back. Bytes stay what they are."""
    content = (tree / "below/file").read_bytes()
    done = json.loads(cluster.ringfs("class", "set", tree, "replica:3", "--recursive", "--json").stdout)
    assert (done["files"], done["directories"]) == (1, 2)
    assert done["changed_bytes"] >= 3 * MIB
    assert [show(cluster, tree / each) for each in ("", "below", "below/file")] == [("replica:3", False)] * 3
    again = json.loads(cluster.ringfs("class", "set", tree, "replica:3", "--recursive", "--json").stdout)
    assert (again["files"], again["changed_objects"]) == (1, 0)
    cluster.ringfs("class", "set", tree, "default", "--recursive")
    assert show(cluster, tree / "below/file") == ("ec:2+1", True)
    assert (tree / "below/file").read_bytes() == content


def test_refused_with_the_reason(tree: Path, cluster: DevCluster) -> None:
    """No class; too few failure domains."""
    refused = cluster.ringfs("class", "set", tree, "gold", check=False)
    assert (refused.returncode, "is not a class of service" in refused.stdout) == (2, True)
    refused = cluster.ringfs("class", "set", tree, "ec:8+2", check=False)
    assert (refused.returncode, "needs 10 failure domains, there are" in refused.stdout) == (2, True), refused.stdout
    assert show(cluster, tree) == ("ec:2+1", True)
