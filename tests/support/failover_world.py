"""Three metadata servers over one etcd in memory, and the real client library on top, in one event loop under virtual time.

async with open_failover_world(seed) as world:
    client = await world.mount("one")
    world.servers["meta2"].crash()
    …

What can be done to a server: failover_server.py, to a client: failover_client.py. When something goes wrong: failover_faults.py.
What must hold all the same: failover_checkers.py.
"""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio

from ringfs.base.errors import ConnectionLost
from ringfs.client.coherence import KernelCache
from ringfs.meta.namespace.system import EndSession
from ringfs.meta.origin import Origin
from ringfs.wire.packing import unpack
from tests.support.failover_checkers import read_history
from tests.support.failover_record import PREFIX, Record, RecordedEtcd
from tests.support.failover_server import NAMES, Server, Surroundings
from tests.support.snapshots import shrink_snapshots
from tests.support.stopped_processes import Processes, become
from tests.support.world import LIMIT_S, Mounted, World, fix_order

#: A seed draws how long the journal becomes before a snapshot is made: from always to never.
_JOURNAL_BYTES = (3_000, 10_000, 40_000, 1 << 26)
_SNAPSHOT_OBJECT_BYTES = 16_384


class FailoverWorld(World):
    """See the module. Its own clock is the clients' and data nodes'."""

    def __init__(self, seed: int, nursery: trio.Nursery, directory: Path, mount: dict[str, Any]) -> None:
        super().__init__(seed, nursery, mount, "replica:2", [f"{name}:7000" for name in NAMES])
        self.record = Record([], [])
        self.etcd = RecordedEtcd(self.record)
        self.processes = Processes()
        around = Surroundings(nursery, self.network, self.etcd, self.record, self.processes, self._run_in_thread, directory)
        self.servers = {name: Server(around, name) for name in NAMES}

    def leading(self) -> Server | None:
        """Who leads by the word of etcd."""
        pair = self.etcd.pair(PREFIX + b"leader")
        if pair is None:
            return None
        return next((server for server in self.servers.values() if server.leads), None)

    def origin(self) -> Origin:
        """Where the journal begins, as etcd has it."""
        pair = self.etcd.pair(PREFIX + b"format")
        assert pair is not None
        return Origin(*unpack(pair.value)[1:])

    def has_ended(self, session: int) -> bool:
        """Whether the journal says so, and with it every leader to come."""
        ends = (entry.operation for entry in read_history(self.record, self.origin()).entries)
        return any(isinstance(end, EndSession) and end.session == session for end in ends)

    async def _dial_leader(self, _address: str) -> trio.abc.Stream:
        """For data nodes in memory, which need not look for the leader."""
        leading = self.leading()
        if leading is None:
            raise ConnectionLost("nobody leads")
        return await self.network.dial(leading.address)

    async def _run_client(self, purpose: str, kernel: KernelCache | None, *, task_status: trio.TaskStatus[Mounted]) -> None:
        become(purpose)
        await super()._run_client(purpose, kernel, task_status=task_status)

    def failures(self) -> Sequence[str]:
        """Servers that ended by themselves, and why."""
        return [f"{server.name} ended: {server.failure!r}" for server in self.servers.values() if server.failure is not None]


@asynccontextmanager
async def open_failover_world(
    seed: int, *, node_count: int = 2, limit_s: float = LIMIT_S, **mount: Any
) -> AsyncIterator[FailoverWorld]:
    """A running cluster; `mount` are tunables of its clients (base/config.py)."""
    fix_order(seed)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as directory, trio.fail_after(limit_s):
        async with trio.open_nursery() as nursery:
            world = FailoverWorld(seed, nursery, Path(directory), mount)
            # They are in clients' names, and so in the journal: a seed does the same in every process.
            patch.setattr(os, "getpid", lambda: 1)
            patch.setattr(socket, "gethostname", lambda: "machine")
            shrink_snapshots(patch, journal_bytes=world.draw.choice(_JOURNAL_BYTES), object_bytes=_SNAPSHOT_OBJECT_BYTES)
            for server in world.servers.values():
                await server.start()
            for _ in range(node_count):
                await world.add_node()
            yield world
            nursery.cancel_scope.cancel()
