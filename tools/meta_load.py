"""Load on a metadata server over loopback: what one request costs it, with one client and with many.

    python -m tools.meta_load [--clients 32] [--depth 4] [--count 20000] [--cluster FILE|DIR]

Starts a server of its own in a temporary directory, unless it is to load the leader of a cluster that runs. "cpu" is that server's
user and system time per request, if it was started here.
"""

import argparse
import itertools
import os
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from ringfs.base.ids import ROOT_INODE
from ringfs.cli.place import find_cluster
from ringfs.cli.reach import ask_status
from ringfs.wire.messages.namespace import Mkdir, Mknod
from ringfs.wire.messages.queries import GetAttributes, Lookup
from ringfs.wire.messages.session import CloseSession, Mutate, OpenSession, Query, Recall, RecallDone
from ringfs.wire.rpc import RpcClient, open_client

ADDRESS = "127.0.0.1:17499"
CONFIG = """\
cluster = "{cluster}"
key_file = "key"
[log]
level = "warning"
[[meta]]
name = "meta1"
address = "{address}"
state = "meta1"
[[data]]
name = "data1"
address = "127.0.0.1:1"
disk = "data1"
"""

Ask = Callable[[int], Awaitable[Any]]


class Session:
    """One client with a directory of its own and some files in flight."""

    def __init__(self, client: RpcClient, session: int) -> None:
        self._client = client
        self._session = session
        self._number = 0
        self._unanswered: dict[int, None] = {}
        self.directory = 0

    async def mutate(self, operation: Any) -> Any:
        """One transaction."""
        self._number += 1
        number = self._number
        self._unanswered[number] = None
        answer = await self._client.call(Mutate(self._session, number, next(iter(self._unanswered)), operation))
        del self._unanswered[number]
        return answer.message

    async def query(self, question: Any) -> Any:
        """One question."""
        return (await self._client.call(Query(self._session, question))).message

    def confirm(self, recall: Recall) -> None:
        """Nothing is cached here."""
        self._client.call_soon(RecallDone(self._session, recall.serial), lambda _answer: None, urgent=True)

    def kinds(self) -> dict[str, Ask]:
        """What is measured, by name."""
        return {
            "create": lambda number: self.mutate(Mknod(self.directory, b"f%d" % number, 0o100644, 0, 0, 0, 0, 0, True)),
            "lookup": lambda number: self.query(Lookup(self.directory, b"f%d" % number)),
            "getattr": lambda _number: self.query(GetAttributes(self.directory)),
        }


@dataclass(frozen=True, slots=True)
class Target:
    """The server that is loaded. pid: None if it was not started here."""

    address: str
    key: bytes
    pid: int | None = None


async def run_client(target: Target, kind: str, depth: int, numbers: Iterator[int]) -> None:
    """Ask until numbers ends, depth requests at a time."""
    sessions: list[Session] = []

    def obey(message: Any) -> None:
        if isinstance(message, Recall):
            sessions[0].confirm(message)

    async with open_client(target.address, target.key, name="load", on_push=obey) as client:
        session = Session(client, (await client.call(OpenSession("load"))).message.session)
        sessions.append(session)
        made = await session.mutate(Mkdir(ROOT_INODE, secrets.token_hex(8).encode(), 0o755, 0, 0, 0))
        session.directory = made.attributes.inode
        ask = session.kinds()[kind]

        async def work() -> None:
            for number in numbers:
                await ask(number)

        async with trio.open_nursery() as nursery:
            for _ in range(depth):
                nursery.start_soon(work)
        await client.call(CloseSession(session._session))


@contextmanager
def running_server() -> Iterator[Target]:
    """A fresh server."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ringfs-load-") as name:
        directory = Path(name)
        (directory / "cluster.toml").write_text(CONFIG.format(cluster=uuid.uuid4(), address=ADDRESS))
        key = secrets.token_bytes(32)
        (directory / "key").write_text(key.hex())
        (directory / "key").chmod(0o600)
        command = [sys.executable, "-m", "ringfs.cli.main", "meta", str(directory / "cluster.toml")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            try:
                if not server.stdout.readline():
                    raise SystemExit("the server did not start")
                yield Target(ADDRESS, key, server.pid)
            finally:
                server.terminate()


async def leader_of(cluster: str) -> Target:
    """The server that leads a cluster."""
    config = find_cluster(cluster, None)
    leader = (await ask_status(config, "load")).leader
    return Target(config.meta_named(leader).address, config.load_key())


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


async def measure(target: Target, kind: str, clients: int, depth: int, count: int) -> None:
    """One line of the table."""
    numbers = itertools.count()
    limited = itertools.islice(numbers, count)
    start_s, before_s = time.perf_counter(), cpu_s(target.pid) if target.pid else 0
    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(run_client, target, kind, depth, limited)
    took_s = time.perf_counter() - start_s
    line = f"{kind:8} {clients:3} clients, {depth:3} deep: {count / took_s:7.0f}/s"
    if target.pid:
        line += f"  cpu {(cpu_s(target.pid) - before_s) / count * 1e6:5.0f} us  {resident_mib(target.pid)} MiB"
    print(line, flush=True)


async def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Load on a metadata server of its own, over loopback.")
    parser.add_argument("--clients", type=int, default=32, help="the larger number of clients (default 32)")
    parser.add_argument("--depth", type=int, default=4, help="requests in flight of each of them (default 4)")
    parser.add_argument("--count", type=int, default=20_000, help="requests of each measurement (default 20000)")
    parser.add_argument("--cluster", help="load the leader of this cluster, which holds what is created afterwards")
    arguments = parser.parse_args()
    with nullcontext(await leader_of(arguments.cluster)) if arguments.cluster else running_server() as target:
        for kind in ("create", "lookup", "getattr"):
            for clients, depth in ((1, 1), (1, 32), (arguments.clients, 1), (arguments.clients, arguments.depth)):
                count = arguments.count // 8 if clients * depth == 1 else arguments.count
                await measure(target, kind, clients, depth, count)


if __name__ == "__main__":
    trio.run(main)
