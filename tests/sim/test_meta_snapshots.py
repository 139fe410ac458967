"""Three metadata servers on etcd that keep snapshots in a ring: whatever disk is lost, the state comes back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import trio

from ringfs.base.errors import UserError
from ringfs.meta import marks
from ringfs.meta.journal.etcd import journal_prefix
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import machine
from ringfs.meta.namespace.check import check
from ringfs.meta.origin import Origin, settle_origin
from ringfs.meta.restoring import restore
from ringfs.meta.roles import Roles, Self
from ringfs.meta.snapshot_duty import SnapshotDuty
from ringfs.meta.snapshot_pointer import look_at_pointer
from ringfs.wire.messages.cluster import ROLE_STANDBY
from tests.sim.test_roles import NAMES, PREFIX, Server, World, _serve
from tests.support.directory_store import DirectoryStore
from tests.support.meta_doubles import CLUSTER, TrioClock
from tests.support.ring_model import RingModel
from tests.support.snapshots import shrink_snapshots


class KeptServer(Server):
    """A server with a store in a directory, whose duty are snapshots."""

    world: "KeptWorld"

    async def start(self) -> None:
        """See Server."""
        self._scope, self._stopped, self.is_dead = trio.CancelScope(), trio.Event(), False
        duty = SnapshotDuty(self.etcd, PREFIX, self.world.ring_opened, self.directory, CLUSTER)
        me = Self(self.name, self.address, NAMES, CLUSTER, "replica:2", self._open_store, duty.load, (duty.keep,))
        self.roles = Roles(me, self.etcd, PREFIX, TrioClock(), partial(_serve, self.world.network, self.address), lease_s=2)
        duty.tell = self.roles.note_snapshot
        await self.world.nursery.start(self._run)

    @property
    def directory(self) -> Path:
        """Of its store."""
        return self.world.directory / self.name

    def _open_store(self) -> Any:
        self.store = DirectoryStore(self.directory)
        return self.store

    async def stop(self) -> None:
        """See Server."""
        await super().stop()
        self.is_dead = True

    def wipe(self) -> None:
        """Its disk is a new one."""
        rmtree(self.directory)


class KeptWorld(World):
    """See the module."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.ring = RingModel(TrioClock().wall_ns)
        self.servers: list[Server] = [KeptServer(self, name) for name in NAMES]

    directory: Path
    session_number = 0
    made_count = 0

    @asynccontextmanager
    async def ring_opened(self) -> AsyncIterator[RingModel]:
        """See OpenObjectStore."""
        yield self.ring

    async def make_directories(self, count: int) -> None:
        """At whoever leads, all in one session."""
        leader = await self.leader()
        self.session_number = self.session_number or await self.session(leader)
        for _ in range(count):
            self.made_count += 1
            await self.make_directory(leader, b"d%d" % self.made_count, self.session_number, self.made_count)

    async def snapshot_after(self, position: int) -> int:
        """Position of the first snapshot after that, once the journal is trimmed behind it."""
        leader = await self.leader()
        with trio.fail_after(300):
            while leader.roles.snapshot_position <= position or self.journal_position() is None:  # noqa: ASYNC110 -- virtual time
                await trio.sleep(0.1)
            # The rest of what belongs to it.
            await trio.sleep(2)
        return leader.roles.snapshot_position

    def journal_position(self) -> int | None:
        """Of the first batch that etcd has."""
        keys = sorted(self.model.pairs(journal_prefix(PREFIX)))
        return int(keys[0].split(b"-")[1], 16) if keys else None

    async def check_all(self) -> None:
        """After a while all servers have one state, which is right, and one snapshot is kept."""
        await trio.sleep(3)
        leader = await self.leader()
        rows = [dict(server.store.scan(b"", b"\xff")) for server in self.servers]
        assert rows[0] == rows[1] == rows[2]
        assert [str(finding) for finding in check(leader.store)] == []
        seen = await look_at_pointer(leader.etcd, PREFIX)
        assert seen is not None
        assert [key for key in rows[0] if key[:9] == b"H" + bytes(8)] == [b"H" + bytes(8) + seen.read().inode.to_bytes(8, "big")]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Snapshots are made often, of several objects."""
    shrink_snapshots(monkeypatch)
    KeptWorld.directory = tmp_path


async def test_journal_stays_short(autojump_clock: object) -> None:
    """However much is done, etcd holds what came after the last snapshot or two, and the ring one snapshot."""
    async with KeptWorld.open() as world:
        assert isinstance(world, KeptWorld)
        for _ in range(6):
            await world.make_directories(40)
            await trio.sleep(3)
        assert sum(map(len, world.model.pairs(journal_prefix(PREFIX)).values())) < 10_000
        await world.check_all()


async def test_empty_and_lagging_servers(autojump_clock: object) -> None:
    """One that lost its disk, and one that was away while the journal was trimmed, begin from the snapshot."""
    async with KeptWorld.open() as world:
        assert isinstance(world, KeptWorld)
        await world.make_directories(20)
        leader = await world.leader()
        wiped, lagging = (server for server in world.servers if server is not leader)
        assert isinstance(wiped, KeptServer)
        await trio.sleep(6)
        await wiped.stop()
        await lagging.stop()
        wiped.wipe()
        await world.make_directories(60)
        await world.snapshot_after(0)
        assert (world.journal_position() or 0) > 30
        world.ring.get_count = 0
        await wiped.start()
        await lagging.start()
        await trio.sleep(5)
        assert world.ring.get_count > 4
        assert [(await server.tell()).role for server in (wiped, lagging)] == [ROLE_STANDBY] * 2
        await world.make_directories(5)
        await world.check_all()


async def test_all_disks_are_lost(autojump_clock: object) -> None:
    """Ring and etcd give everything back, more than once."""
    async with KeptWorld.open() as world:
        assert isinstance(world, KeptWorld)
        for _ in range(3):
            await world.make_directories(50)
            await world.snapshot_after(0)
            await world.make_directories(7)
            leader = await world.leader()
            before = dict(leader.store.scan(b"D", b"E"))
            for server in world.servers:
                await server.stop()
            for server in world.servers:
                assert isinstance(server, KeptServer)
                server.wipe()
                await server.start()
            leader = await world.leader()
            assert dict(leader.store.scan(b"D", b"E")) == before
            await world.check_all()


async def test_waits_for_the_ring(autojump_clock: object) -> None:
    """A server without a disk waits for the data nodes, says so to who asks, and goes on when they are there."""
    async with KeptWorld.open() as world:
        assert isinstance(world, KeptWorld)
        await world.make_directories(60)
        await world.snapshot_after(0)
        leader = await world.leader()
        wiped = next(server for server in world.servers if server is not leader)
        assert isinstance(wiped, KeptServer)
        await wiped.stop()
        wiped.wipe()
        world.ring.is_down = True
        await wiped.start()
        await trio.sleep(30)
        assert "no snapshot can be loaded" in (await wiped.tell()).trouble
        world.ring.is_down = False
        await trio.sleep(10)
        assert (await wiped.tell()).trouble == ""
        await world.check_all()


# --- ringfs meta run --restore ----------------------------------------------------------------------------------------


async def restored(world: KeptWorld, server: KeptServer) -> int:
    """What the command does for a server that is stopped."""
    return await restore(server.etcd, PREFIX, world.ring, server.directory, CLUSTER, lambda _done, _total: None)


async def one_stopped(world: KeptWorld) -> KeptServer:
    """A standby that has most, and is stopped."""
    leader = await world.leader()
    server = next(server for server in world.servers if server is not leader)
    assert isinstance(server, KeptServer)
    await trio.sleep(6)
    await server.stop()
    return server


async def test_restore(autojump_clock: object) -> None:
    """The state is thrown away, and comes back: from the journal alone while that has everything, later from the snapshot."""
    async with KeptWorld.open() as world:
        assert isinstance(world, KeptWorld)
        await world.make_directories(5)
        server = await one_stopped(world)
        assert await restored(world, server) == 6
        assert not server.directory.exists()
        await server.start()
        await world.make_directories(60)
        await world.snapshot_after(0)
        server = await one_stopped(world)
        store = DirectoryStore(server.directory)
        store.put(b"D" + bytes(8) + b"never", b"was there")
        await store.checkpoint({})
        await restored(world, server)
        found = marks.read(DirectoryStore(server.directory))
        assert found is not None
        assert found.position == (await world.leader()).roles.snapshot_position
        await server.start()
        await world.check_all()


async def test_restore_refuses_what_would_lose_something(autojump_clock: object) -> None:
    """A journal with a gap or without an end, a ring that does not answer, a state ahead of all: it stays as it is."""
    async with KeptWorld.open() as world:
        assert isinstance(world, KeptWorld)
        await world.make_directories(60)
        await world.snapshot_after(0)
        await world.make_directories(6)
        server = await one_stopped(world)
        before = (server.directory / "rows").read_bytes()
        whole = {key: value for key, value in world.model.pairs(PREFIX).items() if key != PREFIX + b"leader"}
        for other in world.servers:
            if other is not server:
                await other.stop()
        batches = sorted(key for key in whole if key.startswith(journal_prefix(PREFIX)))
        for gone, words in (
            (batches[3:4], "is missing"),
            (batches, "there is no journal"),
            (batches[2:], "etcd has lost"),
            ([PREFIX + b"format"], "nothing to restore from"),
            ([PREFIX + b"snapshot"], "is missing"),
        ):
            world.model.restore({key: value for key, value in whole.items() if key not in gone})
            with pytest.raises(UserError, match=words):
                await restored(world, server)
        world.model.restore(whole)
        world.ring.is_down = True
        with pytest.raises(UserError, match="cannot be read"):
            await restored(world, server)
        assert (server.directory / "rows").read_bytes() == before
        world.ring.is_down = False
        await restored(world, server)


async def test_migrated_state_is_not_thrown_away(autojump_clock: object) -> None:
    """Before the first snapshot it is all there is. Others wait for that; it leads first."""
    async with trio.open_nursery() as nursery:
        world = KeptWorld(nursery)
        first, other = world.servers = world.servers[:2]
        assert isinstance(first, KeptServer)
        store = DirectoryStore(first.directory)
        machine.format_namespace(store, CLUSTER, "replica:2", 1)
        await store.checkpoint(marks.write(Marks(40, 7, 1)))
        await settle_origin(first.etcd, PREFIX, Origin(CLUSTER, "replica:2", 1, 1 << 20, 40))
        with pytest.raises(UserError, match="which has to lead first"):
            await restored(world, first)
        await other.start()
        await trio.sleep(20)
        assert "no snapshot yet" in (await other.tell()).trouble
        await first.start()
        assert await world.leader() is first
        await world.make_directories(3)
        await world.snapshot_after(0)
        await trio.sleep(5)
        assert (await other.tell()).role == ROLE_STANDBY
        assert dict(other.store.scan(b"", b"\xff")) == dict(first.store.scan(b"", b"\xff"))
        nursery.cancel_scope.cancel()
