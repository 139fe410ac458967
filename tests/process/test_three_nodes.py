"""ec:2+1 on exactly three nodes of which one dies: nobody can make up for it, and everything says so, and what to do. A new disk or
a fourth node is enough: the rest follows by itself."""

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.mounts import DevCluster, dev_cluster
from tests.support.waiting import wait_for

CONTENT = [os.urandom(200_000) for _ in range(6)]
#: A dead node is lost after half a minute, if that is possible.
_LIMIT_S = 300.0


@pytest.fixture
def ring() -> Iterator[DevCluster]:
    """Some objects, durable and healed."""
    with dev_cluster("--data", "3") as cluster:
        for number, content in enumerate(CONTENT):
            with open(cluster.mount / f"f{number}", "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        cluster.ringfs("heal", "wait", cluster.mount)
        yield cluster


def told(ring: DevCluster, *words: str) -> dict[str, Any]:
    """What `ringfs WORDS --json` says, be all well or not."""
    done = ring.ringfs(*words, "--json", "--cluster", ring.directory, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_exposed(ring: DevCluster, exposed: int) -> dict[str, Any]:
    """Until so many objects wait, and stewards have nothing to do."""
    return wait_for(
        lambda: told(ring, "heal", "status"), lambda heal: heal["healed"] and heal["exposed"] == exposed, patience_s=_LIMIT_S
    )


def is_whole(ring: DevCluster) -> None:
    """All bytes right, every part where it belongs, nothing to say."""
    heal = wait_exposed(ring, 0)
    assert not heal["advice"], heal
    check = told(ring, "check", "--deep")
    assert check["clean"], check
    assert [(ring.mount / f"f{number}").read_bytes() for number in range(len(CONTENT))] == CONTENT


def test_a_dead_node_that_nobody_can_make_up_for(ring: DevCluster) -> None:
    ring.dev("kill", "data2")
    count = len(CONTENT)
    text = wait_exposed(ring, count)["advice"]
    assert text.startswith(f"{count} objects would not survive the next loss: nothing can be rebuilt without data2")
    assert "'ringfs node replace data2'" in text
    assert "'ringfs node add'" in text
    for words in (("status",), ("node", "list"), ("ring", "show"), ("heal", "status")):
        shown = ring.ringfs(*words, "--cluster", ring.directory, check=False)
        assert text in shown.stdout, words
    assert ring.ringfs("heal", "wait", "--cluster", ring.directory, check=False).returncode == 1
    shutil.rmtree(ring.directory / "data2" / "disk")
    (ring.directory / "data2" / "disk").mkdir()
    ring.ringfs("node", "replace", "data2", "--cluster", ring.directory)
    ring.dev("start", "data2")
    is_whole(ring)
    ring.dev("kill", "data3")
    wait_exposed(ring, count)
    ring.dev("add")
    is_whole(ring)
    assert {row["name"]: row["standing"] for row in told(ring, "node", "list")["nodes"]}["data3"] == "lost"
