"""A program that is killed while a request of it cannot be answered: it ends, and the mount goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.mounts import dev_cluster
from tests.support.waiting import PATIENCE_S, wait_for


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_in_kernel(pid: int) -> None:
    """Until a process waits for an answer of a FUSE mount."""
    wait_for(Path(f"/proc/{pid}/wchan").read_text, lambda where: where.startswith(("request_wait_answer", "fuse_")))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_it_waits(sent: signal.Signals) -> None:
    """The metadata service does not answer; whoever asked and is killed is gone at once, and afterwards everything works."""
    with dev_cluster("--data", "2") as cluster:
        meta = int((cluster.directory / "meta1/pid").read_text())
        program = [sys.executable, "-S", "-c", f"import os; os.statvfs({str(cluster.mount)!r})"]
        with stopped(meta):
            asking = subprocess.Popen(program)
            wait_in_kernel(asking.pid)
            os.kill(asking.pid, sent)
            assert asking.wait(PATIENCE_S) == -sent
        os.statvfs(cluster.mount)
        (cluster.mount / "file").write_text("content")
        assert (cluster.mount / "file").read_text() == "content"
