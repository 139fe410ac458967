"""Starting, finding and stopping the processes of a dev cluster. They are nobody's children: each verb finds them anew.

A process is recognised by its command line, which holds its own directory (--run-dir DIR/NAME). It says "ready" on its
standard output, which is a pipe to whoever starts it, and its log is its standard error.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ringfs
from ringfs.base.errors import UserError
from ringfs.cli import exits, mounts, processes
from ringfs.cli.dev.layout import Layout, Server
from ringfs.cli.mount_point import prepare_mount_point
from ringfs.cli.processes import Process
from ringfs.cli.run_dir import EXIT_NAME, READY, RUN_DIR_OPTION

#: A server replays its journal, or rebuilds its index, before it is ready.
READY_TIMEOUT_S = 120.0
_KILL_TIMEOUT_S = 3.0
_LOG_BYTES_MAX = 16 << 20
_LAST_WORDS_BYTES = 64 << 10
_MODULE = ("-P", "-m", "ringfs.cli.main")


@dataclass(slots=True)
class _Starting:
    """A process that has not said whether it is ready. log_start: where in the log its words begin."""

    server: Server
    pid: int
    pipe: int
    log_start: int
    said: bytes = b""


def start(layout: Layout, servers: Sequence[Server], timeout_s: float = READY_TIMEOUT_S) -> None:
    """Start those that do not run, all at once, and wait until each is ready. Raises UserError or NotClean naming what failed."""
    starting = [_spawn(layout, server) for server in servers if not is_running(server)]
    try:
        failures = _wait_ready(starting, time.monotonic() + timeout_s)
    finally:
        for one in starting:
            os.close(one.pipe)
    if failures:
        code, line = failures[0]
        raise UserError(line) if code == exits.USAGE else exits.NotClean(line)


def start_mounts(layout: Layout, servers: Sequence[Server]) -> None:
    """The same for mounts, whose mount points are looked at first, and cleaned if their process is dead."""
    down = [server for server in servers if not is_running(server)]
    for server in down:
        prepare_mount_point(Path(server.arguments[0]), make=True)
    start(layout, down)


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
        return _run_dir_in(argv) == str(server.directory)

    hint = _read_text(server.directory / "pid").strip()
    if hint.isdigit():
        process = processes.hold(int(hint), match)
        if process is not None:
            return process
    return next(processes.find(match), None)


def processes_of(root: Path) -> list[Process]:
    """Every living process of the cluster in a directory, held, whether its configuration still names it or not."""
    return list(processes.find(lambda argv: (run_dir := _run_dir_in(argv)) is not None and Path(run_dir).parent == root))


def verb_of(process: Process) -> str:
    """meta, data or mount: of a process of processes_of."""
    return process.argv[1 + len(_MODULE)]


def run_dir_of(process: Process) -> Path:
    """The directory of a process of processes_of."""
    return Path(_run_dir_in(process.argv) or "")


def stop(server: Server, timeout_s: float) -> bool:
    """SIGTERM and wait: whether it has ended (or did not run)."""
    process = running(server)
    if process is None:
        return True
    with process:
        process.signal(signal.SIGTERM)
        return process.wait(timeout_s)


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
    if not process.wait(_KILL_TIMEOUT_S):
        raise exits.NotClean(f"process {process.pid} does not end after SIGKILL: look at /proc/{process.pid}/stack")


def last_exit(run_dir: Path) -> tuple[int, str] | None:
    """Code and last words of a process's last end, or None if it runs or was killed."""
    code, _, words = _read_text(run_dir / EXIT_NAME).strip().partition(" ")
    return (int(code), words) if code.isdigit() else None


def _spawn(layout: Layout, server: Server) -> _Starting:
    """Start it in a session of its own."""
    server.directory.mkdir(exist_ok=True)
    (server.directory / EXIT_NAME).unlink(missing_ok=True)
    log_start = _turn_log(server.log)
    argv = [
        sys.executable,
        *_MODULE,
        server.verb,
        RUN_DIR_OPTION,
        str(server.directory),
        str(layout.config_path),
        *server.options,
        *server.arguments,
    ]
    pipe, child_end = os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, child_end, 1),
        (os.POSIX_SPAWN_OPEN, 2, str(server.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        *((os.POSIX_SPAWN_CLOSE, number) for number in _inheritable_descriptors()),
    ]
    pid = os.posix_spawn(sys.executable, argv, _environment(), file_actions=actions, setsid=True)
    os.close(child_end)
    (server.directory / "pid").write_text(f"{pid}\n")
    return _Starting(server, pid, pipe, log_start)


def _inheritable_descriptors() -> list[int]:
    """What a caller left open for its children, be it a lock or a pipe: a daemon that kept it would hold it for ever."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return [number for number in numbers if number > 2 and _is_inheritable(number)]


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False  # the one that listed the directory


def _environment() -> dict[str, str]:
    """Ours, with the package that runs here in front: a child started elsewhere finds the same one."""
    home = str(Path(ringfs.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": home + os.pathsep + inherited if inherited else home}


def _wait_ready(starting: Sequence[_Starting], deadline_s: float) -> list[tuple[int, str]]:
    """Exit code and line of each that did not become ready; those that take too long stay as they are."""
    poller = select.poll()
    waiting = {one.pipe: one for one in starting}
    failures: list[tuple[int, str]] = []
    for pipe in waiting:
        poller.register(pipe, select.POLLIN | select.POLLHUP)
    while waiting:
        events = poller.poll(max(0, int((deadline_s - time.monotonic()) * 1000)))
        if not events:
            late = ", ".join(one.server.name for one in waiting.values())
            return [*failures, (exits.NOT_CLEAN, f"{late} did not become ready in time: look at the log in its directory")]
        for pipe, _ in events:
            one = waiting[pipe]
            heard = os.read(pipe, 4096)
            one.said += heard
            if b"\n" in one.said or not heard:
                poller.unregister(pipe)
                del waiting[pipe]
                if not one.said.startswith(READY.encode()):
                    failures.append(_failure(one))
    return failures


def _failure(one: _Starting) -> tuple[int, str]:
    """It closed its end without being ready: why, in its own words."""
    code = os.waitstatus_to_exitcode(os.waitpid(one.pid, 0)[1])
    lines = [line for line in _words_since(one.server.log, one.log_start) if line.strip()]
    own = [line.removeprefix("ringfs: ") for line in lines if line.startswith("ringfs: ")]
    words = (own or lines or ["it said nothing"])[-1]
    return code, f"{one.server.name} did not start: {words} (log: {one.server.log})"


def _words_since(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _LAST_WORDS_BYTES))
        return file.read().decode(errors="replace").splitlines()


def _turn_log(log: Path) -> int:
    """Set a large log aside; the size of what is left."""
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= _LOG_BYTES_MAX:
        return size
    log.replace(log.with_name("log.1"))
    return 0


def _run_dir_in(argv: Sequence[str]) -> str | None:
    """The --run-dir of a command line that _spawn made, or None."""
    head = 1 + len(_MODULE)
    if tuple(argv[1:head]) == _MODULE and len(argv) > head + 2 and argv[head + 1] == RUN_DIR_OPTION:
        return argv[head + 2]
    return None


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
