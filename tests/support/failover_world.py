"""Three metadata servers over one etcd in memory, and the real client library on top, in one event loop under virtual time.

async with open_failover_world(seed) as world:
    client = await world.mount("one")
    world.servers["meta2"].crash()
    …

Here is what can go wrong, not when (failover_faults.py), nor what must hold all the same (failover_checkers.py).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from ringfs.base.checksums import plain_digest
from ringfs.base.errors import ConnectionLost
from ringfs.meta import marks
from ringfs.meta.etcd.interface import Change, Changes, EtcdUnavailable
from ringfs.meta.journal.etcd import journal_prefix
from ringfs.meta.roles import Roles, Self
from ringfs.wire.packing import pack
from ringfs.wire.rpc import Handler
from tests.support.etcd_model import EtcdModel, ModelClient
from tests.support.meta_doubles import CLUSTER, KEY, MemoryStore, TrioClock
from tests.support.world import LIMIT_S, World, fix_order

PREFIX = b"/ringfs/"
LEASE_S = 2
NAMES = ("meta1", "meta2", "meta3")


class Died(BaseException):
    """The process has ended: raised wherever it would reach etcd."""


# --- what is recorded ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Appended:
    """A batch that etcd took: who put it, and whose the leader's key was at that moment, since which revision (0: nobody's)."""

    by: str
    key: bytes
    value: bytes
    leader: str
    leader_revision: int


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """A state that a server wrote to its disk: the position it claims, and the digest of all rows."""

    server: str
    position: int
    digest: bytes


@dataclass(slots=True)
class Record:
    """What has happened, for checkers."""

    appended: list[Appended]
    checkpointed: list[Checkpointed]


def digest_of(rows: Mapping[bytes, bytes]) -> bytes:
    """Of a whole state."""
    return plain_digest(pack(sorted(rows.items())))


class RecordedEtcd(EtcdModel):
    """An EtcdModel that remembers every batch that was ever put."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        #: Who asks now.
        self.asked_by = ""
        self._leader = ""

    def _took_effect(self, changes: list[Change], revision: int) -> None:
        for change in changes:
            if change.deleted:
                continue
            if change.pair.key == PREFIX + b"leader":
                self._leader = self.asked_by
            if change.pair.key.startswith(journal_prefix(PREFIX)):
                leader = self.pair(PREFIX + b"leader")
                since = 0 if leader is None else leader.create_revision
                self._record.appended.append(Appended(self.asked_by, change.pair.key, change.pair.value, self._leader, since))
        super()._took_effect(changes, revision)


class RecordedStore(MemoryStore):
    """A server's store, which remembers every checkpoint."""

    def __init__(self, server: str, record: Record) -> None:
        super().__init__()
        self._server = server
        self._record = record

    async def checkpoint(self, marks_written: Mapping[bytes, bytes]) -> None:
        """See Store."""
        digest = digest_of(self.pairs())
        await super().checkpoint(marks_written)
        found = marks.read(self)
        assert found is not None
        self._record.checkpointed.append(Checkpointed(self._server, found.position, digest))

    def restarted(self) -> "RecordedStore":
        """See MemoryStore."""
        again = RecordedStore(self._server, self._record)
        MemoryStore.__init__(again, self._durable, self._marks)
        again.checkpoint_s = self.checkpoint_s
        return again

    def close(self) -> None:
        """See Store."""


# --- a server ------------------------------------------------------------------------------------------------------------


class ServerEtcd(ModelClient):
    """One server's way to etcd, which ends with the server, and stands still with it."""

    def __init__(self, model: RecordedEtcd, server: str) -> None:
        super().__init__(model)
        self._recorded = model
        self._server = server
        self._is_dead = False
        self._awake = trio.Event()
        self._awake.set()
        #: Watches that are there when it changes break.
        self.breaks = 0

    def die(self) -> None:
        """Nothing that this server does reaches etcd from now on."""
        self._is_dead = True
        self._awake.set()

    def hold(self, is_held: bool) -> None:
        """Stand still, or go on."""
        if is_held:
            self._awake = trio.Event()
        else:
            self._awake.set()

    @asynccontextmanager
    async def watch(self, key: bytes, end: bytes, *, from_revision: int) -> AsyncIterator[Changes]:
        """See Etcd."""
        async with super().watch(key, end, from_revision=from_revision) as changes:
            yield _Breakable(self, changes)  # type: ignore[misc]

    async def when_awake(self, timeout_s: float = 1e9) -> None:
        """Go on if the server runs. One that stood still for longer than a call may take has missed its answer."""
        begun_s = trio.current_time()
        await self._awake.wait()
        if self._is_dead:
            raise Died
        if trio.current_time() - begun_s > timeout_s:
            raise EtcdUnavailable("no answer in time")

    async def _reach(self, timeout_s: float) -> None:
        await self.when_awake(timeout_s)
        await super()._reach(timeout_s)
        await self.when_awake(timeout_s)
        self._recorded.asked_by = self._server

    async def _return(self, timeout_s: float) -> None:
        await super()._return(timeout_s)
        await self.when_awake(timeout_s)


class _Breakable:
    """The channel of a watch that breaks with its member of etcd."""

    def __init__(self, client: ServerEtcd, changes: Changes) -> None:
        self._client = client
        self._changes = changes
        self._breaks = client.breaks

    async def receive(self) -> list[Change]:
        """The next changes."""
        await self._client.when_awake()
        if self._client.breaks != self._breaks:
            raise EtcdUnavailable("the member was lost")
        return await self._changes.receive()


class Server:
    """A metadata server: its process, its disk, its clocks."""

    def __init__(self, world: "FailoverWorld", name: str) -> None:
        self.name = name
        self.address = f"{name}:7000"
        self.clock = TrioClock()
        self.store = RecordedStore(name, world.record)
        self.etcd: ServerEtcd
        self.roles: Roles
        #: Why it ended by itself, if it did.
        self.failure: Exception | None = None
        self.is_up = False
        self._world = world
        self._scope: trio.CancelScope
        self._gone = trio.Event()

    @property
    def leads(self) -> bool:
        """Whether it believes to."""
        return self.is_up and self.roles.term is not None

    async def start(self) -> None:
        """On what its disk has; serving when it returns."""
        self._gone = trio.Event()
        self.etcd = ServerEtcd(self._world.etcd, self.name)
        self.is_up = True
        self._world.network.thaw(self.address)
        await self._world.nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[str]) -> None:
        gone, etcd = self._gone, self.etcd
        me = Self(self.name, self.address, NAMES, CLUSTER, "replica:2", self._open_store, self._load_snapshot)
        self.roles = Roles(me, etcd, PREFIX, self.clock, self._serve, lease_s=LEASE_S)
        try:
            with trio.CancelScope() as self._scope:
                await self.roles.run(task_status=task_status)
        except* Died:
            pass
        except* Exception as failures:
            self.failure = failures
        finally:
            gone.set()

    def _open_store(self) -> Any:
        self.store = self.store.restarted()
        return self.store

    async def _load_snapshot(self) -> None:
        raise AssertionError("nothing is trimmed here that a server may need")

    async def _serve(self, handler: Handler, *, task_status: trio.TaskStatus[str]) -> None:
        await self._world.network.serve(handler, KEY, self.address, task_status=task_status)

    def crash(self) -> None:
        """It ends in this moment; what was not on its disk is gone."""
        self.is_up = False
        self.etcd.die()
        self._world.network.thaw(self.address)
        self._world.network.cut(self.address)
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

    def hold(self, is_held: bool) -> None:
        """It stands still, as after SIGSTOP; or goes on with all that came in meanwhile."""
        self.etcd.hold(is_held)
        if is_held:
            self._world.network.freeze(self.address)
        else:
            self._world.network.thaw(self.address)


# --- the world -----------------------------------------------------------------------------------------------------------


class FailoverWorld(World):
    """See the module. Its own clock is the clients' and data nodes'."""

    def __init__(self, seed: int, nursery: trio.Nursery, mount: dict[str, Any]) -> None:
        super().__init__(seed, nursery, mount, "replica:2", [f"{name}:7000" for name in NAMES])
        self.nursery = nursery
        self.record = Record([], [])
        self.etcd = RecordedEtcd(self.record)
        self.servers = {name: Server(self, name) for name in NAMES}

    def leading(self) -> Server | None:
        """Who leads by the word of etcd."""
        pair = self.etcd.pair(PREFIX + b"leader")
        if pair is None:
            return None
        return next((server for server in self.servers.values() if server.leads), None)

    async def _dial_leader(self, _address: str) -> trio.abc.Stream:
        """For data nodes in memory, which need not look for the leader."""
        leading = self.leading()
        if leading is None:
            raise ConnectionLost("nobody leads")
        return await self.network.dial(leading.address)

    def failures(self) -> Sequence[str]:
        """Servers that ended by themselves, and why."""
        return [f"{server.name} ended: {server.failure!r}" for server in self.servers.values() if server.failure is not None]


@asynccontextmanager
async def open_failover_world(
    seed: int, *, node_count: int = 2, limit_s: float = LIMIT_S, **mount: Any
) -> AsyncIterator[FailoverWorld]:
    """A running cluster; `mount` are tunables of its clients (base/config.py)."""
    fix_order(seed)
    with trio.fail_after(limit_s):
        async with trio.open_nursery() as nursery:
            world = FailoverWorld(seed, nursery, mount)
            for server in world.servers.values():
                await server.start()
            for _ in range(node_count):
                await world.add_node()
            yield world
            nursery.cancel_scope.cancel()
