"""Starting one process of a dev cluster in the background. Waiting until it serves: starting.py."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ringfs
from ringfs.cli.dev.layout import Server
from ringfs.cli.run_dir import EXIT_NAME

_LOG_BYTES_MAX = 16 << 20
_LAST_WORDS_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child that was just started. log_start: where in the log its words begin."""

    server: Server
    pid: int
    log_start: int

    def has_ended(self) -> bool:
        """Whether it has ended; it can still be waited for."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def exit_code(self) -> int:
        """Wait for its end."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def words(self) -> list[str]:
        """What it has logged, if that is much the end of it."""
        return last_lines(self.server.log, self.log_start)


def spawn(server: Server, argv: list[str], output: int | None = None) -> Spawned:
    """Start a process in a session of its own. Its standard error is its log, and its standard output if no other is given."""
    server.directory.mkdir(exist_ok=True)
    (server.directory / EXIT_NAME).unlink(missing_ok=True)
    log_start = _turn_log(server.log)
    to_log = (str(server.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, *to_log) if output is None else (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_OPEN, 2, *to_log),
        *((os.POSIX_SPAWN_CLOSE, number) for number in _inheritable_descriptors()),
    ]
    pid = os.posix_spawn(argv[0], argv, _environment(), file_actions=actions, setsid=True)
    (server.directory / "pid").write_text(f"{pid}\n")
    return Spawned(server, pid, log_start)


def last_lines(log: Path, start: int = 0) -> list[str]:
    """The lines of a log behind a position, if they are many the last ones; none if there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _LAST_WORDS_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _inheritable_descriptors() -> list[int]:
    """What a caller left open for its children, be it a lock or a pipe: a daemon that kept it would hold it for ever."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return [number for number in numbers if number > 2 and _is_inheritable(number)]


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False  # the one that listed the directory


def _environment() -> Mapping[str, str]:
    """Ours, with the package that runs here in front: a child elsewhere finds the same one. From ETCD_… etcd takes options."""
    home = str(Path(ringfs.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
    return {**kept, "PYTHONPATH": home + os.pathsep + inherited if inherited else home}


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
