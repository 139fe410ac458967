"""The command lines of a dev cluster's processes: how one is run, and which process of which directory a running one is. Pure.

Each names its own directory DIR/NAME: our verbs by --run-dir, etcd by --data-dir DIR/NAME/state.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ringfs.cli.dev.etcd import ETCD, find_program
from ringfs.cli.dev.layout import Server
from ringfs.cli.run_dir import RUN_DIR_OPTION

_MODULE = ("-P", "-m", "ringfs.cli.main")
_DATA_DIR = "--data-dir="
_STATE = "state"


def command_line(server: Server, config_path: Path) -> list[str]:
    """What to execute for a process. Raises UserError if etcd is not installed."""
    if server.verb == ETCD:
        # A daemon holds no directory that somebody may want to unmount; ours see to that themselves.
        return ["/usr/bin/env", "--chdir=/", find_program(), f"{_DATA_DIR}{server.directory / _STATE}", *server.arguments]
    run_dir = (RUN_DIR_OPTION, str(server.directory))
    return [sys.executable, *_MODULE, server.verb, *run_dir, str(config_path), *server.options, *server.arguments]


def identify(argv: Sequence[str]) -> tuple[str, Path] | None:
    """Verb and directory of a process with such a command line, or None if it is none of a dev cluster's."""
    head = 1 + len(_MODULE)
    if tuple(argv[1:head]) == _MODULE and len(argv) > head + 2 and argv[head + 1] == RUN_DIR_OPTION:
        return argv[head], Path(argv[head + 2])
    if len(argv) > 1 and Path(argv[0]).name == ETCD and argv[1].startswith(_DATA_DIR):
        state = Path(argv[1].removeprefix(_DATA_DIR))
        return (ETCD, state.parent) if state.name == _STATE else None
    return None
