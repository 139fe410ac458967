"""A real etcd on loopback: so many members as processes of their own, in a directory of their own, to be killed and stopped."""

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ringfs.cli.dev.ports import free_ports
from ringfs.meta.etcd.client import Access, EtcdClient

_HEALTHY_S = 30.0


class RealEtcd:
    """The members, numbered from 0."""

    def __init__(self, directory: Path, count: int, options: Sequence[str] = (), scheme: str = "http") -> None:
        self._directory = directory
        self._scheme = scheme
        ports = free_ports(2 * count)
        self.endpoints = tuple(f"127.0.0.1:{port}" for port in ports[:count])
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[count:]]
        self._options = options
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count

    def start(self, number: int) -> None:
        """Start a member."""
        client_url, peer_url = f"{self._scheme}://{self.endpoints[number]}", self._peers[number]
        cluster = ",".join(f"etcd{each}={peer}" for each, peer in enumerate(self._peers))
        options = {
            "--name": f"etcd{number}",
            "--data-dir": str(self._directory / f"etcd{number}"),
            "--listen-client-urls": client_url,
            "--advertise-client-urls": client_url,
            "--listen-peer-urls": peer_url,
            "--initial-advertise-peer-urls": peer_url,
            "--initial-cluster": cluster,
            "--logger": "zap",
            "--log-outputs": str(self._directory / f"etcd{number}.log"),
        }
        argv = ["etcd", *(word for pair in options.items() for word in pair), *self._options]
        self._processes[number] = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def signal(self, number: int, signal_number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT …"""
        process = self._processes[number]
        assert process is not None
        process.send_signal(signal_number)

    def kill(self, number: int) -> None:
        """kill -9, and wait."""
        process = self._processes[number]
        if process is not None:
            process.kill()
            process.wait()
            self._processes[number] = None

    def close(self) -> None:
        """Kill all, and remove what they wrote."""
        for number in range(len(self._processes)):
            self.kill(number)
        shutil.rmtree(self._directory, ignore_errors=True)

    async def leader(self) -> int:
        """The number of the member that leads."""
        client = EtcdClient(Access(self.endpoints))
        try:
            return [member.is_leader for member in await client.members()].index(True)
        finally:
            client.close()

    async def wait_healthy(self) -> None:
        """Until every member answers and knows a leader."""
        client = EtcdClient(Access(self.endpoints))
        try:
            with trio.fail_after(_HEALTHY_S):
                while any(member.reason for member in await client.members()):  # noqa: ASYNC110 -- another process brings it about
                    await trio.sleep(0.02)
        finally:
            client.close()


@asynccontextmanager
async def running_etcd(directory: Path, count: int = 1, options: Sequence[str] = ()) -> AsyncIterator[RealEtcd]:
    """A healthy etcd with so many members."""
    await trio.Path(directory).mkdir()
    etcd = RealEtcd(directory, count, options)
    try:
        for number in range(count):
            etcd.start(number)
        await etcd.wait_healthy()
        yield etcd
    finally:
        etcd.close()
