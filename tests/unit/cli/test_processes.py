"""Processes by command line and pidfd: only the one that is meant is ever held."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from ringfs.cli import processes

MARK = f"ringfs-test-of-processes-{os.getpid()}"
PROGRAM = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()", MARK]


def is_marked(argv: Sequence[str]) -> bool:
    """The command line of the child."""
    return argv[-1:] == (MARK,)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until its stdin is closed."""
    with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_find_by_command_line(child: subprocess.Popen[bytes]) -> None:
    """The child is found, and nothing else."""
    found = list(processes.find(is_marked))
    assert [process.pid for process in found] == [child.pid]
    assert found[0].argv == tuple(PROGRAM)
    found[0].close()


def test_own_process_is_not_found() -> None:
    """A verb whose own arguments match does not find itself."""
    assert os.getpid() not in [process.pid for process in processes.find(lambda _: True)]


def test_pid_of_a_stranger_is_not_held(child: subprocess.Popen[bytes]) -> None:
    """A pid whose command line is another is not taken for the process that is meant."""
    assert processes.hold(child.pid, lambda argv: argv[0] == "ringfs") is None
    assert child.poll() is None


@pytest.mark.parametrize("pid", [1 << 22, 1 << 40, -5, 0])
def test_pid_of_nobody(pid: int) -> None:
    """A pid that no process can have is no process."""
    assert processes.hold(pid, lambda _: True) is None


def test_signal_and_wait(child: subprocess.Popen[bytes]) -> None:
    """It lives until it is signalled; its end, even as a zombie, is seen."""
    process = processes.hold(child.pid, is_marked)
    assert process is not None
    with process:
        assert not process.wait(0)
        age_s, resident_bytes = process.age_s(), process.resident_bytes()
        assert age_s is not None
        assert age_s >= 0
        assert resident_bytes is not None
        assert resident_bytes > 1 << 20
        process.signal(signal.SIGKILL)
        assert process.wait(60)
        process.signal(signal.SIGKILL)  # to one that has ended: nothing happens
    assert child.wait() == -signal.SIGKILL


def test_zombie_is_not_found(child: subprocess.Popen[bytes]) -> None:
    """A process that has ended but was not waited for is not found."""
    process = processes.hold(child.pid, is_marked)
    assert process is not None
    with process:
        process.signal(signal.SIGKILL)
        assert process.wait(60)
    assert list(processes.find(is_marked)) == []
    assert processes.hold(child.pid, is_marked) is None
