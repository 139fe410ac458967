"""Starting the processes of a dev cluster, and waiting until each is ready. They are nobody's children once the command ends.

Our verbs say "ready" on their standard output, which is a pipe to whoever starts them; etcd is asked (etcd_health.py).
"""

import os
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ringfs.base.errors import UserError
from ringfs.cli import exits
from ringfs.cli.dev import etcd, etcd_health
from ringfs.cli.dev.command_lines import command_line
from ringfs.cli.dev.layout import Layout, Server
from ringfs.cli.dev.spawning import Spawned, spawn
from ringfs.cli.dev.supervise import is_running
from ringfs.cli.mount_point import prepare_mount_point
from ringfs.cli.run_dir import READY

#: A server replays its journal, or rebuilds its index, before it is ready.
READY_TIMEOUT_S = 120.0
#: A member reads its own log first: a minute on a busy machine.
_MEMBERS_TIMEOUT_S = 120.0


def start(layout: Layout, servers: Sequence[Server], timeout_s: float = READY_TIMEOUT_S) -> None:
    """Start those that do not run, all of one kind at once, and wait until each is ready.

    Members of etcd come before whoever needs them, mounts behind. Raises UserError or NotClean naming what failed.
    """
    start_members(layout, [server for server in servers if server.verb == etcd.ETCD])
    _start_daemons(layout, [server for server in servers if server.verb in ("meta", "data")], timeout_s)
    start_mounts(layout, [server for server in servers if server.verb == "mount"], timeout_s)


def start_members(layout: Layout, servers: Sequence[Server]) -> None:
    """Without a quorum none of them can serve: then nothing is waited for."""
    argvs = [(server, command_line(server, layout.config_path)) for server in servers if not is_running(server)]
    started = [spawn(server, argv) for server, argv in argvs]
    if etcd_health.quorum_trouble(layout):
        return
    names = [server.name for server in servers]
    missing = etcd_health.wait_members(layout.root, names, lambda: any(one.has_ended() for one in started), _MEMBERS_TIMEOUT_S)
    for one in started:
        if one.has_ended():
            raise exits.NotClean(_did_not_start(one.server, etcd.last_words(one.words()) or "it ended without a word"))
    if missing:
        raise exits.NotClean(f"etcd is not healthy after {_MEMBERS_TIMEOUT_S:g} s: {'; '.join(missing)}; look at its log")


def start_mounts(layout: Layout, servers: Sequence[Server], timeout_s: float = READY_TIMEOUT_S) -> None:
    """Mount points are looked at first, and cleaned if their process is dead."""
    down = [server for server in servers if not is_running(server)]
    for server in down:
        prepare_mount_point(Path(server.arguments[0]), make=True)
    _start_daemons(layout, down, timeout_s)


def _start_daemons(layout: Layout, servers: Sequence[Server], timeout_s: float) -> None:
    pipes: dict[int, Spawned] = {}
    try:
        for server in servers:
            if not is_running(server):
                pipe, started = _spawn_daemon(layout, server)
                pipes[pipe] = started
        failures = _wait_ready(pipes, time.monotonic() + timeout_s)
    finally:
        for pipe in pipes:
            os.close(pipe)
    if failures:
        code, line = failures[0]
        raise UserError(line) if code == exits.USAGE else exits.NotClean(line)


def _spawn_daemon(layout: Layout, server: Server) -> tuple[int, Spawned]:
    """The process, and where it will say that it is ready."""
    pipe, child_end = os.pipe()
    try:
        return pipe, spawn(server, command_line(server, layout.config_path), child_end)
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(child_end)


def _wait_ready(pipes: Mapping[int, Spawned], deadline_s: float) -> list[tuple[int, str]]:
    """Exit code and line of each that did not become ready; those that take too long stay as they are."""
    poller = select.poll()
    said = dict.fromkeys(pipes, b"")
    failures: list[tuple[int, str]] = []
    for pipe in pipes:
        poller.register(pipe, select.POLLIN | select.POLLHUP)
    while said:
        events = poller.poll(max(0, int((deadline_s - time.monotonic()) * 1000)))
        if not events:
            late = ", ".join(pipes[pipe].server.name for pipe in said)
            return [*failures, (exits.NOT_CLEAN, f"{late} did not become ready in time: look at the log in its directory")]
        for pipe, _ in events:
            heard = os.read(pipe, 4096)
            said[pipe] += heard
            if b"\n" in said[pipe] or not heard:
                poller.unregister(pipe)
                if not said.pop(pipe).startswith(READY.encode()):
                    failures.append(_failure(pipes[pipe]))
    return failures


def _failure(one: Spawned) -> tuple[int, str]:
    """It closed its end without being ready: why, in its own words."""
    code = one.exit_code()
    lines = [line for line in one.words() if line.strip()]
    own = [line.removeprefix("ringfs: ") for line in lines if line.startswith("ringfs: ")]
    return code, _did_not_start(one.server, (own or lines or ["it said nothing"])[-1])


def _did_not_start(server: Server, words: str) -> str:
    return f"{server.name} did not start: {words} (log: {server.log})"
