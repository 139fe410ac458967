"""`ringfs dev down`. Goes by the processes that run, not by the configuration: it must work on what is left of a cluster."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ringfs.base import mountinfo
from ringfs.cli import mounts
from ringfs.cli.dev import supervise
from ringfs.cli.dev.etcd import ETCD, read_members
from ringfs.cli.dev.etcd_health import ask_members
from ringfs.cli.dev.layout import find_root, locked, mounts_in
from ringfs.cli.exits import NotClean
from ringfs.cli.output import progress
from ringfs.cli.processes import Process

_TIMEOUT_S = 60.0
#: For mounts of a cluster without a metadata server: what they have not flushed, they cannot.
_HOPELESS_TIMEOUT_S = 5.0
#: Mounts flush through the servers, metadata servers write to data nodes and etcd: each kind ends while what it needs still runs.
_ORDER = ("mount", "meta", "data", "etcd")


@click.command("down")
@click.argument("directory", metavar="DIR")
@click.option("--timeout", "timeout_s", type=float, default=_TIMEOUT_S, show_default=True, help="Seconds to flush, and to end.")
def command(directory: str, timeout_s: float) -> None:
    """Flush and unmount every mount of the cluster in DIR, and stop all its processes. Its data stays; `up` brings it back.

    What does not end in time is killed, so that nothing is left running; then the exit code is 1 and the line says what.

    \b
    Example:  ringfs dev down ./cluster
    """
    root = find_root(directory)
    problems: list[str] = []
    with progress() as shown, locked(root):
        found = supervise.processes_of(root)
        by_verb = {verb: [process for process in found if supervise.verb_of(process) == verb] for verb in _ORDER}
        for verb, running in by_verb.items():
            shown.step(f"stopping: {verb}", len(found) - len(supervise.processes_of(root)), len(found))
            hopeless = verb == "mount" and not (by_verb["meta"] and 2 * len(by_verb["etcd"]) >= len(read_members(root)))
            patience_s = min(timeout_s, _HOPELESS_TIMEOUT_S) if hopeless else timeout_s
            for group in _followers_first(root, running) if verb == ETCD else [running]:
                problems += _end(group, patience_s)
        _detach_dead(root)
        problems += [f"process {process.pid} still runs" for process in supervise.processes_of(root)]
    if problems:
        raise NotClean(f"{directory} is down, but not cleanly: {'; '.join(problems)}")
    click.echo(f"{directory} is down: {len(found)} processes stopped, nothing left running")


def _followers_first(root: Path, members: Sequence[Process]) -> list[list[Process]]:
    """etcd's leader hands over when it is stopped: in vain for 7 s if those it knows leave too, and to nobody at once."""
    names = {supervise.run_dir_of(process).name for process in members} & {member.name for member in read_members(root)}
    leaders = {name for name, member in ask_members(root, sorted(names)).items() if member.is_leader}
    last = [process for process in members if supervise.run_dir_of(process).name in leaders]
    return [[process for process in members if process not in last], last]


def _end(running: Sequence[Process], timeout_s: float) -> list[str]:
    """SIGTERM all, wait, SIGKILL what is late. One line for each that did not end well."""
    deadline_s = time.monotonic() + timeout_s
    for process in running:
        process.signal(signal.SIGTERM)
    problems = []
    for process in running:
        with process:
            if supervise.wait_end(process, max(0.0, deadline_s - time.monotonic())):
                problems += _unclean_end(supervise.run_dir_of(process))
            else:
                problems.append(_kill_late(process, timeout_s))
    return problems


def _kill_late(process: Process, timeout_s: float) -> str:
    name = supervise.run_dir_of(process).name
    try:
        supervise.kill_process(process)
    except NotClean as error:
        return str(error)
    lost = ": what was written there since the last fsync may be lost" if supervise.verb_of(process) == "mount" else ""
    return f"{name} had not ended after {timeout_s:g} s and was killed{lost}"


def _unclean_end(run_dir: Path) -> list[str]:
    ended = supervise.last_exit(run_dir)
    if ended is not None and ended[0] == 0:
        return []
    words = "it left no word" if ended is None else ended[1] or f"exit code {ended[0]}"
    return [f"{run_dir.name} did not end cleanly: {words} (log: {run_dir / 'log'})"]


def _detach_dead(root: Path) -> None:
    """Take away mount points whose process is gone."""
    for server in mounts_in(root):
        point = Path(server.arguments[0])
        if mounts.is_ringfs(mountinfo.mount_at(point)) and mounts.is_dead(point):
            mounts.clear(point)
