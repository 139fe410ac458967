"""Finding and stopping the processes of a dev cluster. They are nobody's children: each verb finds them anew.

A process is recognised by its command line, which names its own directory (command_lines.py). Starting them: starting.py.
"""

import signal
from collections.abc import Sequence
from pathlib import Path

from ringfs.cli import exits, mounts, processes
from ringfs.cli.dev.command_lines import identify
from ringfs.cli.dev.etcd import ETCD, last_words
from ringfs.cli.dev.layout import Server
from ringfs.cli.dev.spawning import last_lines
from ringfs.cli.processes import Process
from ringfs.cli.run_dir import EXIT_NAME

#: After SIGKILL: when a mount is helped to end, and when no end is in sight.
_KILL_TIMEOUT_S = 3.0
_GONE_TIMEOUT_S = 30.0


def is_running(server: Server) -> bool:
    """Whether its process lives."""
    process = running(server)
    if process is None:
        return False
    process.close()
    return True


def running(server: Server) -> Process | None:
    """Its process, held, or None. The pid file is asked first, and is not needed."""

    def match(argv: Sequence[str]) -> bool:
        return identify(argv) == (server.verb, server.directory)

    hint = _read_text(server.directory / "pid").strip()
    if hint.isdigit():
        process = processes.hold(int(hint), match)
        if process is not None:
            return process
    return next(processes.find(match), None)


def processes_of(root: Path) -> list[Process]:
    """Every living process of the cluster in a directory, held, whether its configuration still names it or not."""
    return list(processes.find(lambda argv: (found := identify(argv)) is not None and found[1].parent == root))


def verb_of(process: Process) -> str:
    """etcd, meta, data or mount: of a process of processes_of."""
    return _identity(process)[0]


def run_dir_of(process: Process) -> Path:
    """The directory of a process of processes_of."""
    return _identity(process)[1]


def stop(server: Server, timeout_s: float) -> bool:
    """SIGTERM and wait: whether it has ended (or did not run)."""
    process = running(server)
    if process is None:
        return True
    with process:
        process.signal(signal.SIGTERM)
        return wait_end(process, timeout_s)


def wait_end(process: Process, timeout_s: float) -> bool:
    """Whether a process that was told to end has ended in that time."""
    has_ended = process.wait(timeout_s)
    if has_ended and verb_of(process) == ETCD:
        # It leaves no record itself. Whatever it had answered is durable, however it ends.
        (run_dir_of(process) / EXIT_NAME).write_text(f"{exits.OK}\n")
    return has_ended


def kill(server: Server) -> bool:
    """SIGKILL, and wait for the end: whether it ran."""
    process = running(server)
    if process is None:
        return False
    with process:
        kill_process(process)
    return True


def kill_process(process: Process) -> None:
    """SIGKILL a process of a cluster, and wait. Raises NotClean if the kernel does not let it go."""
    process.signal(signal.SIGKILL)
    if process.wait(_KILL_TIMEOUT_S):
        return
    if verb_of(process) == "mount":
        mounts.abort(Path(process.argv[-1]))  # one of its threads waits for an answer of its own mount
    if not process.wait(_GONE_TIMEOUT_S):
        raise exits.NotClean(f"process {process.pid} does not end after SIGKILL: look at /proc/{process.pid}/stack")


def last_exit(run_dir: Path) -> tuple[int, str] | None:
    """Code and last words of a process's last end, or None if it runs or was killed."""
    code, _, words = _read_text(run_dir / EXIT_NAME).strip().partition(" ")
    if code.isdigit():
        return int(code), words
    words = last_words(last_lines(run_dir / "log"))
    return (exits.NOT_CLEAN, words) if words else None


def _identity(process: Process) -> tuple[str, Path]:
    found = identify(process.argv)
    assert found is not None, process.argv
    return found


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
