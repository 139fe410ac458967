"""Space on six nodes of real processes: large files take what theory says, statfs is true, also of what is deleted and still there,
and all of it comes back.

What is deleted is on the disks for DELETE_GRACE_NS more, so this takes that long.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringfs.base.limits import DELETE_GRACE_NS
from tests.support.mounts import DevCluster, dev_cluster
from tests.support.space import MIB, Space, measure, set_capacity, stored_bytes

NAMES = [f"data{number}" for number in range(1, 7)]
CLASS = "ec:4+2"
CAPACITY_BYTES = 96 * MIB
LARGE_BYTES = 24 * MIB
COPIES_BYTES = 16 * MIB
CUT_BYTES = 8 * MIB
GRACE_S = DELETE_GRACE_NS / 10**9
#: Between two deletions, so that there is a time when one has been carried out and the other has not.
APART_S = 15
#: How much longer than the grace it may take to be felt, on a machine that is busy.
SLACK_S = 180
LOOK_S = 1.5


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    """With a capacity that other users of this machine's disk do not change."""
    with dev_cluster("--data", str(len(NAMES)), "--class", CLASS) as cluster:
        set_capacity(cluster, NAMES, CAPACITY_BYTES)
        yield cluster


def write(path: Path, size: int) -> None:
    """A file of that size in the place of what is there, durable."""
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        for _ in range(0, size, MIB):
            assert file.write(os.urandom(MIB)) == MIB
        os.fsync(file.fileno())


def settled(cluster: DevCluster, has_come: Callable[[Space], bool] = lambda _: True) -> Space:
    """Once that has come, and two looks in a row, with a heartbeat between them, see the same."""
    until_s = time.monotonic() + SLACK_S
    last, space = None, measure(cluster)
    while space != last or not has_come(space):
        assert time.monotonic() < until_s, f"still {space}"
        time.sleep(LOOK_S)
        last, space = space, measure(cluster)
    return space


def wait_for(cluster: DevCluster, condition: Callable[[Space], bool], until_s: float) -> Space:
    """What is there once it holds."""
    while not condition(space := measure(cluster)):
        assert time.monotonic() < until_s, f"still {space}"
        time.sleep(LOOK_S)
    return space


def is_near(bytes_: float, theory: float) -> bool:
    """No less than theory, and no more than 2 % over it."""
    return theory <= bytes_ <= 1.02 * theory


def check_statfs(space: Space) -> None:
    """Free is what more can be stored under the default class: objects have parts on all six, so the fullest node decides. The rest
    of the total is what is used, in terms of that class."""
    assert space.free == pytest.approx(4 * (CAPACITY_BYTES - max(space.used)), rel=0.01)
    assert space.total == pytest.approx(space.free + sum(space.used) / 1.5, rel=0.01)


@pytest.mark.timeout(1800)
def test_space(cluster: DevCluster) -> None:
    """Written, overwritten, cut, removed while it is open, removed; at each step nodes, disks and statfs say what theory does."""
    mount = cluster.mount
    empty = settled(cluster)
    assert sum(empty.used) == empty.in_segments == empty.allocated == 0
    assert empty.free == empty.total == 4 * CAPACITY_BYTES

    (mount / "copies").mkdir()
    cluster.ringfs("class", "set", mount / "copies", "replica:2")
    write(mount / "copies" / "file", COPIES_BYTES)
    for name in ("held", "overwritten", "cut", "removed"):
        write(mount / name, LARGE_BYTES)
    copies = stored_bytes(COPIES_BYTES, "replica:2")
    large = stored_bytes(LARGE_BYTES, CLASS)
    full = settled(cluster, lambda space: sum(space.used) >= copies + 4 * large)
    assert is_near(sum(full.used), copies + 4 * large)
    assert is_near(full.in_segments, copies + 4 * large)
    check_statfs(full)

    with (mount / "held").open("rb") as held:
        begun_s = time.monotonic()
        (mount / "held").unlink()
        (mount / "removed").unlink()
        write(mount / "overwritten", LARGE_BYTES)
        os.truncate(mount / "cut", CUT_BYTES)
        pending = settled(cluster, lambda space: sum(space.used) >= copies + 5 * large and space.dead > 0)
        # Nothing is free before it is deleted, whatever metadata thinks of it.
        assert is_near(sum(pending.used), copies + 5 * large)
        assert pending.live < full.live
        check_statfs(pending)
        # What is said to be free can be written.
        most = int(0.97 * pending.free) // MIB * MIB
        write(mount / "most", most)
        all_bytes = sum(pending.used) + stored_bytes(most, CLASS)
        brim = settled(cluster, lambda space: sum(space.used) >= all_bytes and time.monotonic() > begun_s + APART_S)
        check_statfs(brim)
        assert len(held.read()) == LARGE_BYTES
    second_s = time.monotonic()
    for path in ("most", "overwritten", "cut", "copies/file"):
        (mount / path).unlink()
    ended_s = time.monotonic()

    # The first deletion is carried out, the second is not: what was open until then is among the rest. Where looking takes so long
    # that the second is due as well there is nothing to be seen of that.
    rest = copies + 2 * large + stored_bytes(CUT_BYTES + most, CLASS)
    between = wait_for(cluster, lambda space: max(sum(space.used), space.in_segments) <= 1.02 * rest, begun_s + GRACE_S + SLACK_S)
    is_second_due = time.monotonic() > second_s + GRACE_S
    assert is_second_due or is_near(sum(between.used), rest)
    assert is_second_due or is_near(between.in_segments, rest)

    peak = sum(brim.used)
    wait_for(
        cluster,
        lambda space: max(sum(space.used), space.in_segments, space.allocated) <= 0.01 * peak,
        ended_s + GRACE_S + SLACK_S,
    )
    end = settled(cluster, lambda space: space.live == space.dead == 0)
    check_statfs(end)
    assert end.free >= 0.99 * empty.free
    cluster.ringfs("check", "--cluster", cluster.directory)
