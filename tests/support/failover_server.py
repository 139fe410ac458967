"""A metadata server in the simulation of failover: its process, its disk, its clock, its ways to etcd and into the ring.

Here is what can be done to one. When it is done: failover_faults.py.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import trio

from ringfs.cli.ring_objects import RingObjects, ring_objects
from ringfs.meta.etcd.interface import Change, Changes, EtcdUnavailable
from ringfs.meta.roles import Roles, Self
from ringfs.meta.snapshot_duty import SnapshotDuty
from ringfs.objects.objects import RunInThread
from ringfs.wire.rpc import Handler
from tests.support.directory_store import DirectoryStore
from tests.support.etcd_model import ModelClient
from tests.support.failover_record import PREFIX, Record, RecordedEtcd, RecordedStore
from tests.support.meta_doubles import CLUSTER, KEY, TrioClock
from tests.support.stopped_processes import Processes, become
from tests.support.streams import Network

LEASE_S = 2
NAMES = ("meta1", "meta2", "meta3")


class Died(BaseException):
    """The process has ended: raised wherever it would reach etcd."""


class ServerEtcd(ModelClient):
    """One server's way to etcd, which ends with the server."""

    def __init__(self, model: RecordedEtcd, server: str) -> None:
        super().__init__(model)
        self._recorded = model
        self._server = server
        self._is_dead = False
        #: Watches that are there when it changes break.
        self.breaks = 0

    def die(self) -> None:
        """Nothing that this server does reaches etcd from now on."""
        self._is_dead = True

    def check_alive(self) -> None:
        """Raises Died."""
        if self._is_dead:
            raise Died

    @asynccontextmanager
    async def watch(self, key: bytes, end: bytes, *, from_revision: int) -> AsyncIterator[Changes]:
        """See Etcd."""
        async with super().watch(key, end, from_revision=from_revision) as changes:
            yield _Breakable(self, changes)

    async def _reach(self, timeout_s: float) -> None:
        self.check_alive()
        with self._in_time(timeout_s):
            await super()._reach(timeout_s)
        self._recorded.asked_by = self._server

    async def _return(self, timeout_s: float) -> None:
        with self._in_time(timeout_s):
            await super()._return(timeout_s)

    @contextmanager
    def _in_time(self, timeout_s: float) -> Iterator[None]:
        """A server that stood still for longer than a call may take has missed its answer."""
        begun_s = trio.current_time()
        yield
        self.check_alive()
        if trio.current_time() - begun_s > timeout_s:
            raise EtcdUnavailable("no answer in time")


class _Breakable:
    """The channel of a watch that breaks with its member of etcd."""

    def __init__(self, client: ServerEtcd, changes: Changes) -> None:
        self._client = client
        self._changes = changes
        self._breaks = client.breaks

    async def receive(self) -> list[Change]:
        """The next changes."""
        self._client.check_alive()
        if self._client.breaks != self._breaks:
            raise EtcdUnavailable("the member was lost")
        return await self._changes.receive()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all servers of a world share. directory: for what a server keeps in files for a moment."""

    nursery: trio.Nursery
    network: Network
    etcd: RecordedEtcd
    record: Record
    processes: Processes
    run_in_thread: RunInThread
    directory: Path


class Server:
    """See the module."""

    def __init__(self, around: Surroundings, name: str) -> None:
        self.name = name
        self.address = f"{name}:7000"
        self.clock = TrioClock()
        self.store = RecordedStore(name, around.record, {}, {})
        self.etcd: ServerEtcd
        self.roles: Roles
        #: Why it ended by itself, if it did.
        self.failure: Exception | None = None
        self.is_up = False
        #: Snapshots that it began from.
        self.loaded_count = 0
        self._around = around
        self._disk_number = 1
        self._scope: trio.CancelScope
        self._gone = trio.Event()

    @property
    def leads(self) -> bool:
        """Whether it believes to."""
        return self.is_up and self.roles.term is not None

    async def start(self) -> None:
        """On what its disk has; serving when it returns."""
        self._gone = trio.Event()
        self.etcd = ServerEtcd(self._around.etcd, self.name)
        self.is_up = True
        await self._around.nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[str]) -> None:
        become(self.name)
        gone, etcd = self._gone, self.etcd
        snapshots = SnapshotDuty(etcd, PREFIX, self._open_ring, self._store_directory, CLUSTER)
        me = Self(
            name=self.name,
            address=self.address,
            peers=NAMES,
            cluster=CLUSTER,
            default_class="replica:2",
            open_store=self._open_store,
            load_snapshot=partial(self._load_snapshot, snapshots),
            duties=(snapshots.keep,),
            identity=f"disk {self._disk_number} of {self.name}",
        )
        self.roles = Roles(me, etcd, PREFIX, self.clock, self._serve, lease_s=LEASE_S)
        snapshots.tell = self.roles.note_snapshot
        try:
            with trio.CancelScope() as self._scope:
                await self.roles.run(task_status=task_status)
        except* Died:
            pass
        except* Exception as failures:
            self.failure = failures
        finally:
            gone.set()

    async def _serve(self, handler: Handler, *, task_status: trio.TaskStatus[str]) -> None:
        await self._around.network.serve(handler, KEY, self.address, task_status=task_status)

    # --- its disk ---------------------------------------------------------------------------------------------------------

    def _open_store(self) -> Any:
        self.store = self.store.restarted()
        return self.store

    @property
    def _store_directory(self) -> Path:
        return self._around.directory / self.name

    async def _load_snapshot(self, snapshots: SnapshotDuty) -> None:
        await snapshots.load()
        self.store = self.store.replaced_by(DirectoryStore(self._store_directory))
        rmtree(self._store_directory)
        self.loaded_count += 1

    def _open_ring(self) -> AbstractAsyncContextManager[RingObjects]:
        around = self._around
        return ring_objects(KEY, self.name, dial=around.network.dial, run_in_thread=around.run_in_thread, clock=self.clock)

    def wipe(self) -> None:
        """While it is down: its disk is a new one."""
        assert not self.is_up
        self._disk_number += 1
        self.store = RecordedStore(self.name, self._around.record, {}, {})

    # --- its end ----------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """It ends in this moment; what was not on its disk is gone."""
        self.is_up = False
        self.etcd.die()
        self._around.network.cut(self.address)
        self.store = self.store.restarted()
        self._scope.cancel()

    async def stop(self) -> None:
        """It ends properly: as leader it hands over."""
        self.is_up = False
        self._scope.cancel()
        await self._gone.wait()

    async def wait_gone(self) -> None:
        """Until nothing of it is left."""
        await self._gone.wait()

    def stand_still(self, is_stopped: bool) -> None:
        """It stands still, as after SIGSTOP; or goes on, and finds all that came in meanwhile."""
        if is_stopped:
            self._around.processes.stop(self.name)
        else:
            self._around.processes.go_on(self.name)
