"""A real etcd on loopback: so many members as processes of their own, in a directory of their own, to be killed and stopped."""

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from ringfs.cli.dev.ports import free_ports
from ringfs.meta.etcd.client import Access, EtcdClient
from ringfs.meta.etcd.interface import EtcdUnavailable
from tests.support.waiting import PATIENCE_S

Found = TypeVar("Found")


class PatientEtcd(EtcdClient):
    """Of one member, so that no other would answer sooner: it waits also for one that stands still for seconds."""

    async def _call_once(
        self, endpoint: str, name: str, request: Any, answer: Any, timeout_s: float, metadata: list[tuple[str, str]]
    ) -> Any:
        return await super()._call_once(endpoint, name, request, answer, max(timeout_s, PATIENCE_S), metadata)

    async def keep_alive(self, lease: int, *, timeout_s: float = PATIENCE_S) -> int:
        """See Etcd."""
        return await super().keep_alive(lease, timeout_s=timeout_s)


async def patiently(call: Callable[[], Awaitable[Found]]) -> Found:
    """What a call gives that may be made twice: etcd chooses a leader, or answers later than is waited for."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return await call()
            except EtcdUnavailable:
                await trio.sleep(0.05)
    raise AssertionError("fail_after raises")


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
            with trio.fail_after(PATIENCE_S):
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
