"""`ringfs meta promote` on real processes: the server that is named leads, writers only pause, and what cannot be is refused."""

import json
import os
from pathlib import Path
from typing import Any

from ringfs.cli.dev.layout import create_layout
from tests.support.mounts import DevCluster, dev_cluster
from tests.support.waiting import wait_for

USAGE = 2


def promote(cluster: DevCluster, name: str) -> dict[str, Any]:
    """What the command says, once it can be done: a server that stood still for seconds, with the machine, begins anew."""
    words = ("meta", "promote", name, "--cluster", cluster.directory, "--json")
    said: dict[str, Any] = json.loads(
        wait_for(lambda: cluster.ringfs(*words, check=False), lambda done: done.returncode == 0).stdout
    )
    return said


def leader(cluster: DevCluster) -> dict[str, Any]:
    """Who leads, and in which term, as `ringfs status` says."""
    words = ("status", "--cluster", cluster.directory, "--json")
    said = wait_for(lambda: cluster.ringfs(*words, check=False).stdout, lambda said: said.startswith("{"))
    found: dict[str, Any] = json.loads(said)["leader"]
    return found


def write(mount: Path, name: str) -> None:
    """A file that is durable under its name."""
    descriptor = os.open(mount / name, os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, name.encode())
    os.fsync(descriptor)
    os.close(descriptor)


def test_promotion() -> None:
    """Each server in turn; files written in between are all there, and the namespace is right."""
    with dev_cluster("--meta", "3", "--data", "1", "--class", "replica:1") as cluster:
        for round_number in range(4):
            wanted = f"meta{round_number % 3 + 1}"
            promoted, leads = promote(cluster, wanted), leader(cluster)
            assert promoted["leader"] == wanted
            # Nobody else leads in that term; after a standstill there may be a newer one.
            assert leads["name"] == wanted or leads["term"] > promoted["term"]
            write(cluster.mount, f"file{round_number}")
        assert sorted(path.name for path in cluster.mount.iterdir()) == [f"file{number}" for number in range(4)]
        assert cluster.ringfs("meta", "promote", "meta9", "--cluster", cluster.directory, check=False).returncode == USAGE
        cluster.ringfs("check", cluster.mount)


def test_one_server_alone_hands_over_to_nobody(tmp_path: Path) -> None:
    """And says why, without asking anybody."""
    layout = create_layout(tmp_path, 1, "replica:1", 1)
    done = DevCluster(tmp_path).ringfs("meta", "promote", "meta1", "--cluster", layout.root, check=False)
    assert done.returncode == USAGE
    assert "nobody to hand over to" in done.stdout
