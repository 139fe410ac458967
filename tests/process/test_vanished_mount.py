"""A mount that goes while it is in use: its process ends by itself, all that it had taken is there, and it can be mounted again."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ringfs.base.mountinfo import mount_at
from ringfs.cli import processes
from tests.support.mounts import dev_cluster
from tests.support.posix import outcome

SECONDS_MAX = 300
CONTENT = os.urandom(3_000_000)


def detached(point: Path) -> None:
    """By `umount -l`: who has files open there goes on."""
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def removed(point: Path) -> None:
    """Where it is not mounted the directory can be removed, and takes the mount with it everywhere."""
    script = f"umount --lazy '{point}' && rmdir '{point}'"
    subprocess.run(["unshare", "--mount", "sh", "-c", script], check=True)
    assert not point.exists()


def aborted(point: Path) -> None:
    """By the kernel's file for it: every call fails from then on."""
    there = mount_at(point)
    assert there is not None
    connections = point.parent / "connections"
    connections.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "fusectl", str(connections)], check=True)
    try:
        (connections / there.device.partition(":")[2] / "abort").write_text("1")
    finally:
        subprocess.run(["umount", str(connections)], check=True)


@pytest.mark.parametrize("goes", [detached, removed, aborted])
def test_the_mount_goes(goes: Callable[[Path], None]) -> None:
    """While a file is open and not synced."""
    with dev_cluster("--data", "2") as cluster:
        process = processes.hold(int((cluster.directory / "mount1/pid").read_text()), lambda _: True)
        assert process is not None
        with process:
            opened = os.open(cluster.mount / "file", os.O_WRONLY | os.O_CREAT)
            assert os.write(opened, CONTENT) == len(CONTENT)
            goes(cluster.mount)
            said = outcome(os.write, opened, b"more")
            assert said == ("ENOTCONN" if goes is aborted else "ok"), said
            outcome(os.close, opened)
            assert process.wait(SECONDS_MAX)
        cluster.dev("start", "mount1")  # what is dead at the mount point is taken away
        assert (cluster.mount / "file").read_bytes() == CONTENT + b"more" * (said == "ok")
