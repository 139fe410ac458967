"""A node's place in the cluster: joining, heartbeats, the map, dead objects, lost connections, and being unwanted."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from ringfs.base.config import DataConfig
from ringfs.base.errors import Code, UserError
from ringfs.data import membership as membership_module
from ringfs.data import reaper
from ringfs.data.membership import Membership
from ringfs.data.store import ObjectStore
from ringfs.wire import leaders, scouting
from ringfs.wire.messages.cluster import ROLE_STANDBY, ClusterMap, Condemned, MapChanged
from ringfs.wire.rpc import OnPush, RpcClient, open_client
from tests.support.fake_meta import FakeMeta
from tests.support.stores import EIO, Faults, TickingClock, made, put, running
from tests.support.streams import Network
from tests.support.waiting import until

KEY = bytes(32)
META, OTHER = "meta1:1", "meta2:1"


class Cluster:
    """A fake metadata server, a network, a store and its membership."""

    def __init__(self, store: ObjectStore, disk: Path, weight: int | None = 150) -> None:
        self.meta = FakeMeta()
        #: Listens only if a test has it do so.
        self.other = FakeMeta()
        self.network = Network()
        self.store = store
        self.joined: list[int] = []
        config = DataConfig("data1", "d:1", disk, "rack1", weight, None)
        self.membership = Membership(config, store, "d:17", [OTHER, META], self._connect, self._on_joined)

    def _connect(self, address: str, on_push: OnPush) -> AbstractAsyncContextManager[RpcClient]:
        return open_client(address, KEY, name="data1", on_push=on_push, dial=self.network.dial)

    async def _on_joined(self, node: int) -> None:
        await trio.lowlevel.checkpoint()
        self.joined.append(node)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are seconds in life; threads at work forbid the virtual clock."""
    monkeypatch.setattr(membership_module, "HEARTBEAT_S", 0.001)
    monkeypatch.setattr(membership_module, "_PAUSES_S", (0.001,))
    monkeypatch.setattr(reaper, "PAUSE_S", 0.001)
    monkeypatch.setattr(leaders, "_SILENCE_S", 0.02)
    monkeypatch.setattr(leaders, "_LOOK_S", 0.001)
    monkeypatch.setattr(scouting, "_PAUSE_S", 0.001)


@asynccontextmanager
async def cluster(
    disk: Path, clock: TickingClock | None = None, faults: Faults | None = None, *, weight: int | None = 150
) -> AsyncIterator[Cluster]:
    """All of it running."""
    with trio.fail_after(120):
        async with running(disk, clock=clock, faults=faults) as store, trio.open_nursery() as nursery:
            made_cluster = Cluster(store, disk, weight)
            await nursery.start(made_cluster.network.serve, made_cluster.meta, KEY, META)
            nursery.start_soon(made_cluster.membership.run)
            yield made_cluster
            nursery.cancel_scope.cancel()


async def test_a_node_joins_and_beats(tmp_path: Path) -> None:
    """It says who it is, goes on to the server that answers, and reports its figures each time."""
    async with cluster(tmp_path) as running_cluster:
        meta, store = running_cluster.meta, running_cluster.store
        await put(store, made(1))
        await until(lambda: meta.heartbeats and meta.heartbeats[-1].object_count == 1)
        (node,) = meta.nodes
        assert (node.name, node.address, node.domain, node.weight) == ("data1", "d:17", "rack1", 150)
        assert node.uuid == str(store.identity.disk)
        beat = meta.heartbeats[-1]
        assert (beat.node, beat.trouble) == (1, "")
        assert beat.used_bytes == store.figures().used_bytes
        assert beat.free_bytes > 0
        assert beat.filesystem == store.disk.file_system() != ""
        assert meta.joins[-1].size_bytes == beat.size_bytes == store.figures().size_bytes > beat.free_bytes
        assert running_cluster.joined == [1]


async def test_a_node_that_has_no_weight_of_its_own_says_none(tmp_path: Path) -> None:
    """Its size says it."""
    async with cluster(tmp_path, weight=None) as running_cluster:
        await until(lambda: running_cluster.meta.joins)
        assert running_cluster.meta.joins[0].weight == 0


async def test_the_map_is_kept(tmp_path: Path) -> None:
    """By the answers to heartbeats, and by pushes."""
    async with cluster(tmp_path) as running_cluster:
        meta, membership = running_cluster.meta, running_cluster.membership
        await until(lambda: meta.heartbeats)
        meta.epoch = 7
        await until(lambda: membership.map is not None and membership.map.epoch == 7)
        await until(lambda: meta.heartbeats[-1].epoch == 7)
        meta.epoch = 9
        meta.peers[0].push(MapChanged(ClusterMap(9, "cluster", meta.nodes)))
        await until(lambda: meta.heartbeats[-1].epoch == 9)


def joined_and_beating(meta: FakeMeta, join_count: int) -> bool:
    """Whether a node has joined so many times and beats."""
    return meta.join_count >= join_count and len(meta.heartbeats) > 0


async def test_a_lost_connection_is_made_again(tmp_path: Path) -> None:
    """For ever; the node joins again each time."""
    async with cluster(tmp_path) as running_cluster:
        meta = running_cluster.meta
        for count in (1, 2, 3):
            await until(partial(joined_and_beating, meta, count))
            meta.heartbeats.clear()
            running_cluster.network.cut(META)


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.NOT_LEADER])
async def test_a_server_that_does_not_know_the_node(tmp_path: Path, code: Code) -> None:
    """A refused heartbeat makes it join anew."""
    async with cluster(tmp_path) as running_cluster:
        meta = running_cluster.meta
        await until(lambda: meta.heartbeats)
        meta.refuse_heartbeat = code
        await until(lambda: meta.join_count >= 3)
        meta.refuse_heartbeat = None
        seen = len(meta.heartbeats)
        await until(lambda: len(meta.heartbeats) > seen + 3)


async def test_a_join_that_is_refused_is_tried_again(tmp_path: Path) -> None:
    """A server that does not lead today may lead tomorrow."""
    async with cluster(tmp_path) as running_cluster:
        meta = running_cluster.meta
        meta.refuse_join = Code.NOT_LEADER
        await until(lambda: meta.join_count >= 3)
        assert not meta.heartbeats
        meta.refuse_join = None
        await until(lambda: meta.heartbeats)


async def test_losses_are_told_once(tmp_path: Path) -> None:
    """What the disk lost is said with the next join that is taken, and what it lost since with the one after."""
    async with cluster(tmp_path) as running_cluster:
        meta, health = running_cluster.meta, running_cluster.store.health
        await until(partial(joined_and_beating, meta, 1))
        told: list[bool] = []
        for lost_count in (0, 2, 2, 3):
            health.lost_count = lost_count
            meta.joins.clear()
            meta.heartbeats.clear()
            running_cluster.network.cut(META)
            await until(partial(joined_and_beating, meta, 1))
            told.append(meta.joins[-1].has_losses)
        health.index_built_ns = 5
        running_cluster.network.cut(META)
        await until(lambda: meta.joins[-1].has_losses)
        assert told == [False, True, False, True], "an index that was built anew is a loss that nobody has counted"


async def test_another_cluster(tmp_path: Path) -> None:
    """That has the same key, and an address that is written here by mistake: the node is not let in there."""
    async with running(tmp_path) as store, trio.open_nursery() as nursery:
        lost = Cluster(store, tmp_path)
        lost.meta.cluster = "another"
        await nursery.start(lost.network.serve, lost.meta, KEY, META)
        with trio.fail_after(120), pytest.raises(UserError, match=r"is of another cluster \(another, not "):
            await lost.membership.run()
        assert lost.meta.join_count == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("code", "advice"), [(Code.NODE_NAME_TAKEN, "is the right disk mounted"), (Code.NODE_REMOVED, "empty the directory")]
)
async def test_who_is_not_wanted_ends(tmp_path: Path, code: Code, advice: str) -> None:
    """Another disk has the name, or this one was removed: a person has to say what is meant."""
    async with running(tmp_path) as store, trio.open_nursery() as nursery:
        unwanted = Cluster(store, tmp_path)
        unwanted.meta.refuse_join = code
        await nursery.start(unwanted.network.serve, unwanted.meta, KEY, META)
        with trio.fail_after(120), pytest.raises(UserError, match=advice):
            await unwanted.membership.run()
        nursery.cancel_scope.cancel()


async def test_dead_objects_are_deleted(tmp_path: Path) -> None:
    """Page after page; a copy newer than its verdict stays; what the node never held is reaped too."""
    clock = TickingClock()
    things = [made(seed, 5000) for seed in range(6)]
    async with cluster(tmp_path, clock) as running_cluster:
        meta, store = running_cluster.meta, running_cluster.store
        for thing in things[:5]:
            await put(store, thing)
        verdict_ns = clock.wall_ns()
        await put(store, things[1])
        meta.condemned = [Condemned(number, thing.oid, verdict_ns) for number, thing in enumerate(things[1:4] + things[5:], 11)]
        await until(lambda: meta.reaped)
        assert (meta.reaped[0].node, meta.reaped[0].through) == (1, 14)
        assert [store.holds(thing.oid) for thing in things] == [True, True, False, False, True, False]
        await until(lambda: meta.listed[-1].after == 14)
        meta.condemned.append(Condemned(15, things[0].oid, verdict_ns))
        await until(lambda: meta.reaped[-1].through == 15)
        assert not store.holds(things[0].oid)


async def test_nothing_is_reaped_that_could_not_be_deleted(tmp_path: Path) -> None:
    """A failed disk: no Reaped; the heartbeats say what is wrong, and reaping starts from the beginning after the next join."""
    faults = Faults()
    async with cluster(tmp_path, faults=faults) as running_cluster:
        meta, store = running_cluster.meta, running_cluster.store
        await put(store, made(1))
        store.health.fail("for the test")
        meta.condemned = [Condemned(3, made(1).oid, 1 << 61)]
        await until(lambda: len(meta.listed) > 3 and meta.heartbeats[-1].trouble)
        assert meta.heartbeats[-1].trouble == "disk failed: for the test"
        assert meta.reaped == []
        assert {asked.after for asked in meta.listed} == {0}
        assert faults.on_write != EIO


async def test_a_silent_leader_is_left_when_it_is_replaced(tmp_path: Path) -> None:
    """Not before another one says so, however long it is asked; the node joins there, beats and reaps."""
    async with cluster(tmp_path) as at, trio.open_nursery() as nursery:
        at.other.status = replace(at.other.status, name="meta2", role=ROLE_STANDBY, leader_address=META)
        await nursery.start(at.network.serve, at.other, KEY, OTHER)
        await until(lambda: at.meta.heartbeats)
        asked = at.other.asked_count
        at.network.freeze(META)
        await until(lambda: at.other.asked_count > asked + 10)
        assert at.other.join_count == 0
        at.other.status = replace(at.meta.status, term=2)
        at.other.condemned = [Condemned(3, made(1).oid, 1 << 61)]
        await until(lambda: at.other.heartbeats and at.other.reaped)
        at.network.thaw(META)
        for _ in range(5):
            at.other.heartbeats.clear()
            at.network.cut(OTHER)
            await until(lambda: at.other.heartbeats)
        assert at.meta.join_count == 1, "it leads in an older term"
        nursery.cancel_scope.cancel()


async def test_a_hint_is_taken(tmp_path: Path) -> None:
    """A server that does not lead says where the leader is; the node need not know the address."""
    async with cluster(tmp_path) as at, trio.open_nursery() as nursery:
        await until(lambda: at.meta.heartbeats)
        third = FakeMeta()
        third.status = replace(third.status, term=2)
        await nursery.start(at.network.serve, third, KEY, "meta3:1")
        at.meta.status = replace(at.meta.status, role=ROLE_STANDBY, term=2, leader_address="meta3:1")
        at.meta.refuse_heartbeat = Code.NOT_LEADER
        await until(lambda: third.heartbeats)
        assert at.meta.join_count == 1
        nursery.cancel_scope.cancel()
