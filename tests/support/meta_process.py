"""A metadata server as a real process on real disks, to be killed."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import trio

from ringfs.cli.dev.ports import free_ports

CLUSTER_TOML = """\
cluster = "{cluster}"
key_file = "key"
[[meta]]
name = "meta1"
address = "127.0.0.1:{port}"
state = "meta1"
[[data]]
name = "data1"
address = "127.0.0.1:1"
disk = "data1"
"""

_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def _command(config: Path) -> list[str]:
    return [sys.executable, "-m", "ringfs.cli.main", "meta", str(config)]


def free_port(neighbours: int = 0) -> int:
    """A port that nobody listens on now, nor on so many that follow it (a node's other disks); no outgoing connection gets it."""
    while True:
        (port,) = free_ports(1)
        with ExitStack() as probes, suppress(OSError):
            for neighbour in range(port, port + neighbours + 1):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", neighbour))
            return port


class MetaProcess:
    """`ringfs meta` over a directory. `address` is known while it runs."""

    def __init__(self, directory: Path, cluster: str = "12345678-1234-5678-1234-567812345678") -> None:
        self.config = directory / "cluster.toml"
        self.config.write_text(CLUSTER_TOML.format(cluster=cluster, port=free_port()))
        key = directory / "key"
        key.write_text("5a" * 32)
        key.chmod(0o600)
        self.key = b"\x5a" * 32
        self.address = ""
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What all processes so far have logged."""
        return self._log.read_text()

    async def start(self) -> None:
        """Start, and wait until it serves; AssertionError with its log if it does not."""
        with self._log.open("ab") as log:
            self._process = self._spawn(log)
        assert self._process.stdout is not None
        line = (await trio.to_thread.run_sync(self._process.stdout.readline)).decode()
        assert line.startswith("ready: meta1 serves "), (line, self.log())
        self.address = line.split()[-1]

    def _spawn(self, log: BinaryIO) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(_command(self.config), stdout=subprocess.PIPE, stderr=log, env=_ENVIRONMENT)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = await trio.to_thread.run_sync(self._process.wait)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def kill(self) -> None:
        """Whatever state it is in, it ends."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def run_refused(self) -> tuple[int, str]:
        """Start one that is expected to refuse: exit code, and what it said."""
        done = await trio.run_process(
            _command(self.config), capture_stdout=True, capture_stderr=True, check=False, env=_ENVIRONMENT
        )
        return done.returncode, done.stderr.decode().splitlines()[-1]
