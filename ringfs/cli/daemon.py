"""The shell around a daemon's async main: log, readiness, exit record. What the daemons do is in meta, data and fuse.

A daemon logs to standard error and says one line on standard output when it is ready. For systemd it says so to
NOTIFY_SOCKET too. Under `ringfs dev` (--run-dir) standard output is a pipe to whoever starts it, standard error is its log,
and it leaves in the directory how it ended.
"""

import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import trio

from ringfs.base.config import ClusterConfig
from ringfs.base.log import set_up_log
from ringfs.base.memory import collect_seldom
from ringfs.cli import exits
from ringfs.cli.run_dir import EXIT_NAME, READY, RUN_DIR_OPTION

run_dir_option = click.option(RUN_DIR_OPTION, type=click.Path(path_type=Path), hidden=True)

#: Told what is served, and where, when it is.
Started = Callable[[str], None]


def run_daemon(config: ClusterConfig, run_dir: Path | None, main: Callable[[Started], Awaitable[None]]) -> None:
    """Run main(started) until it returns; it calls started(what) when it serves. What it raises is recorded and goes on."""
    set_up_log(config.log_level)
    collect_seldom()
    if run_dir is not None:
        os.chdir("/")  # a daemon holds no directory that somebody may want to unmount
    with recorded(lambda code, words: _record(run_dir, f"{code} {words}")):
        trio.run(main, lambda what: _announce(what, run_dir))


@contextmanager
def recorded(record: Callable[[int, str], None]) -> Iterator[None]:
    """Call record(exit code, words) however the block ends."""
    try:
        yield
    except BaseException as error:
        record(*(exits.explain(error) or (exits.NOT_CLEAN, f"a bug stopped it: {error!r}")))
        raise
    record(exits.OK, "")


async def until_told(main: Callable[[], Awaitable[None]]) -> None:
    """Run main until it returns, or SIGTERM or SIGINT ask for the end: then it is cancelled, and that is a clean end."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as told:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                await anext(aiter(told))
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            await main()
            nursery.cancel_scope.cancel()


def _announce(what: str, run_dir: Path | None) -> None:
    """Say that it is ready to whoever wants to know."""
    print(f"{READY}: {what}", flush=True)
    _tell_systemd()
    if run_dir is not None:
        os.dup2(2, 1)  # the pipe's reader leaves: whatever else is said belongs in the log


def _tell_systemd() -> None:
    """sd_notify(3), for services of Type=notify."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")


def _record(run_dir: Path | None, text: str) -> None:
    if run_dir is not None:
        (run_dir / EXIT_NAME).write_text(" ".join(text.split()) + "\n")
