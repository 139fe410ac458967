"""The operator's verbs on a small ring of real processes: growing, shrinking, a new disk, maintenance, fixity. One cluster for all,
and each test leaves it healed."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mounts import DevCluster, dev_cluster
from tests.support.waiting import wait_for

OK, NOT_CLEAN, USAGE = 0, 1, 2
#: In objects of 8 MiB, so many that each node has a part of some (all but once in 10,000 times), and in one that small files share.
LARGE = os.urandom(80_000_000)
SMALL = [os.urandom(20_000) for _ in range(4)]


@pytest.fixture(scope="module")
def ring() -> Iterator[DevCluster]:
    """Four nodes, ec:2+1, some files, all of it durable."""
    with dev_cluster("--data", "4") as cluster:
        (cluster.mount / "large").write_bytes(LARGE)
        (cluster.mount / "tree" / "deep").mkdir(parents=True)
        for number, content in enumerate(SMALL):
            (cluster.mount / "tree" / ("deep" if number % 2 else "") / f"small{number}").write_bytes(content)
        subprocess.run(["sync", "-f", cluster.mount], check=True)
        cluster.ringfs("heal", "wait", cluster.mount)
        yield cluster


def verb(cluster: DevCluster, *words: str | Path, code: int = OK) -> dict[str, Any]:
    """What `ringfs WORDS --json --cluster …` says."""
    done = cluster.ringfs(*words, "--json", "--cluster", cluster.directory, check=code == OK)
    assert done.returncode == code, done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def refused(cluster: DevCluster, *words: str | Path, code: int = NOT_CLEAN) -> str:
    """The line with which a verb is refused."""
    done = cluster.ringfs(*words, "--cluster", cluster.directory, check=False)
    assert done.returncode == code, done.stdout
    return done.stdout


def nodes(cluster: DevCluster) -> dict[str, dict[str, Any]]:
    """The rows of `node list`, by name."""
    return {row["name"]: row for row in verb(cluster, "node", "list")["nodes"]}


def is_whole(cluster: DevCluster, *, node_count: int = 4) -> None:
    """Healed, every part where it belongs, and all bytes right."""
    cluster.ringfs("heal", "wait", "--timeout", "250", "--cluster", cluster.directory)
    told = verb(cluster, "check", "--deep")
    assert told["clean"], told
    assert told["to_move"] == 0
    assert verb(cluster, "heal", "status")["healed"]
    assert [row["state"] for row in nodes(cluster).values()] == ["up"] * node_count
    assert (cluster.mount / "large").read_bytes() == LARGE


def test_growing_and_shrinking(ring: DevCluster) -> None:
    """What a plan says is what comes to a new node; a node that is removed leaves nothing behind but its share on the others."""
    plan = verb(ring, "ring", "plan", "add", "data5")
    ring.dev("add")
    is_whole(ring, node_count=5)
    stored = sum(row["used_bytes"] for row in plan["nodes"])
    assert 0 < nodes(ring)["data5"]["used_bytes"] < stored
    assert {row["name"] for row in verb(ring, "ring", "show")["nodes"]} == set(nodes(ring))
    ring.dev("remove", "data2")
    assert set(nodes(ring)) == {"data1", "data3", "data4", "data5"}
    assert not (ring.directory / "data2").exists()
    assert "data2" not in (ring.directory / "cluster.toml").read_text()
    is_whole(ring)


def test_draining(ring: DevCluster) -> None:
    """A drained node has nothing, is told as that, and comes back; with too few domains it is refused, and so is removing one."""
    assert verb(ring, "node", "drain", "data1", "--wait")["standing"] == "draining"
    assert {row["name"]: row["share"] for row in verb(ring, "ring", "show")["nodes"]}["data1"] == 0
    assert verb(ring, "status")["healthy"]
    assert "needs 3" in refused(ring, "node", "drain", "data3")
    assert verb(ring, "ring", "plan", "drain", "data3", code=NOT_CLEAN)["unmet"] == ["ec:2+1"]
    assert verb(ring, "node", "in", "data1")["standing"] == "in"
    is_whole(ring)
    assert "drain it first" in refused(ring, "node", "remove", "data3")
    assert "is up" in refused(ring, "node", "out", "data3")
    assert "no node 'data9'" in refused(ring, "node", "drain", "data9", code=USAGE)


def test_maintenance(ring: DevCluster) -> None:
    """A node may be down as announced: no fault, files are there, and it is in again when that is said."""
    assert verb(ring, "node", "maintenance", "data3", "1h")["standing"] == "maintenance"
    ring.dev("stop", "data3")
    assert (ring.mount / "large").read_bytes() == LARGE
    (ring.mount / "meanwhile").write_bytes(LARGE[::-1])
    ring.dev("start", "data3")
    notes = verb(ring, "status")["notes"]
    # An hour less what this took.
    assert any(re.match(r"data3 is in maintenance, [345]\d min", note) for note in notes), notes
    verb(ring, "node", "in", "data3")
    is_whole(ring)
    assert (ring.mount / "meanwhile").read_bytes() == LARGE[::-1]


def test_new_disk(ring: DevCluster) -> None:
    """One command, an empty disk, a start: it has its old place, and all that belongs there."""
    assert "is up" in refused(ring, "node", "replace", "data4")
    ring.dev("kill", "data4")
    shutil.rmtree(ring.directory / "data4" / "disk")
    (ring.directory / "data4" / "disk").mkdir()
    before = nodes(ring)["data4"]
    wait_down(ring, "data4")
    verb(ring, "node", "replace", "data4")
    ring.dev("start", "data4")
    is_whole(ring)
    after = nodes(ring)["data4"]
    assert (after["node"], after["name"]) == (before["node"], "data4")
    assert after["uuid"] != before["uuid"]
    assert after["used_bytes"] > 0


def wait_down(cluster: DevCluster, name: str) -> None:
    """Nodes are down some seconds after they are gone."""
    wait_for(lambda: nodes(cluster)[name]["state"], lambda state: state == "down")


def test_verify(ring: DevCluster, tmp_path: Path) -> None:
    """A list that is written is kept to; what was changed, is missing or is damaged on a disk is found, and mended there."""
    listed = tmp_path / "files.b3"
    told = json.loads(ring.ringfs("verify", ring.mount, "--manifest", listed, "--json").stdout)
    assert told["good"]
    assert len(listed.read_bytes().splitlines()) == told["totals"]["files"] >= 5
    ring.ringfs("verify", "--against", listed)
    (ring.mount / "tree" / "small0").write_bytes(b"other")
    (ring.mount / "tree" / "deep" / "small1").unlink()
    done = ring.ringfs("verify", ring.mount / "tree", "--against", listed, check=False)
    assert done.returncode == NOT_CLEAN
    assert "small0: is not what the list says" in done.stdout
    assert "small1: is in the list, and not there" in done.stdout
    holder = verb(ring, "info", "/large")["extents"][0]["parts"][0]["node"]
    damage_segments(ring, holder)
    told = verb(ring, "verify", "/large", code=NOT_CLEAN)
    assert {bad["node"] for bad in told["files"][0]["bad"]} == {holder}
    assert told["files"][0]["digest"] is not None, "the others have it"
    wait_mended(ring)
    is_whole(ring)
    assert verb(ring, "verify", "/large")["good"]
    scrub = {row["name"]: row for row in verb(ring, "scrub", "status")["nodes"]}
    assert scrub[holder]["mended_parts"] >= 1
    assert all(row["started"] for row in verb(ring, "scrub", "start", "--rate", "100M")["nodes"])


def wait_mended(cluster: DevCluster) -> None:
    """What a check finds bad on a disk is mended soon after."""
    wait_for(
        lambda: cluster.ringfs("check", "--deep", "--cluster", cluster.directory, check=False),
        lambda checked: checked.returncode == OK,
    )


def damage_segments(cluster: DevCluster, name: str) -> None:
    """Another byte in each 64 KiB that are written on a node's disk."""
    for segment in (cluster.directory / name / "disk" / "segments").iterdir():
        with segment.open("r+b", buffering=0) as file:
            for start in range(0, segment.stat().st_size, 1 << 16):
                block = os.pread(file.fileno(), 1 << 16, start)
                middle = len(block) // 2
                if any(block):
                    os.pwrite(file.fileno(), bytes([block[middle] ^ 1]), start + middle)
