"""Processes of the machine, found by their command line and held by a pidfd, so that no signal can reach a stranger.

A pid from a file is only a hint: a process is the one that is meant if its command line is, and the pidfd, which is
opened before the command line is read, keeps meaning that process even if its number is given out again.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A process that was seen alive. Holds a pidfd until closed."""

    def __init__(self, pid: int, pidfd: int, argv: tuple[str, ...]) -> None:
        self.pid = pid
        self.argv = argv
        self._pidfd = pidfd

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the process has ended."""
        if not self.wait(0):
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return  # it ended just now

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within the time. A zombie has ended."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(max(0, int(timeout_s * 1000))))

    def age_s(self) -> float | None:
        """Seconds since it was started, or None if it has ended."""
        stat = _stat_fields(self.pid)
        # Field 22 of proc(5), counted behind the command: start time in ticks since boot.
        return None if stat is None else time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / _TICKS_PER_SECOND

    def resident_bytes(self) -> int | None:
        """Memory it has resident, or None if it has ended."""
        stat = _stat_fields(self.pid)
        return None if stat is None else int(stat[21]) * _PAGE_BYTES

    def close(self) -> None:
        """Let go of it."""
        os.close(self._pidfd)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Match = Callable[[Sequence[str]], bool]


def hold(pid: int, match: Match) -> Process | None:
    """The process with that number if it lives and its command line matches, else None."""
    try:
        pidfd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError, OverflowError):
        return None  # none of that number (EINVAL: the number of a thread, or no number of a process)
    argv = command_line(pid)
    if argv and match(argv):
        return Process(pid, pidfd, argv)
    os.close(pidfd)
    return None


def find(match: Match) -> Iterator[Process]:
    """Every living process whose command line matches, but not this one."""
    for entry in os.listdir(_PROC):
        if entry.isdigit() and int(entry) != os.getpid():
            argv = command_line(int(entry))
            if argv and match(argv):
                process = hold(int(entry), match)
                if process is not None:
                    yield process


def command_line(pid: int) -> tuple[str, ...]:
    """The argument vector it was started with; empty for a zombie, a kernel thread, and none at all."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ()
    return tuple(os.fsdecode(part) for part in raw.split(b"\0")[:-1])


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the command's name, or None if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
