"""Data nodes, capacity, condemned objects, status and snapshots, at the metadata server."""

from typing import cast
from unittest.mock import Mock

import pytest
import trio
import trio.testing

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import DELETE_GRACE_NS
from ringfs.meta import snapshots
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    NODE_UP,
    ROLE_LEADER,
    CloseSnapshot,
    ClusterMap,
    GetMap,
    GetServer,
    GetStatus,
    JoinNode,
    ListCondemned,
    MapChanged,
    NodeHeartbeat,
    OpenSnapshot,
    ReadSnapshot,
    Reaped,
    ServerStatus,
    SnapshotOpened,
)
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.namespace import Commit, Extent, FileCommit, Mkdir, NewObject, Unlink
from ringfs.wire.messages.queries import FsFigures, StatFs
from ringfs.wire.messages.session import Query
from ringfs.wire.rpc import Peer, Request
from tests.support.meta_world import Client, MetaWorld
from tests.support.refusals import refused

GIB = 1 << 30


def beat(node: int, epoch: int, *, free: int = GIB, used: int = 0, filesystem: str = "") -> NodeHeartbeat:
    return NodeHeartbeat(node, epoch, used, free, 7, filesystem or f"fs{node}", free, "")


async def join(client: Client, number: int) -> int:
    joined = await client.ask(JoinNode(f"uuid{number}", f"data{number}", f"host:{number}", f"domain{number}", 100))
    node: int = joined.node
    return node


def maps(client: Client) -> list[ClusterMap]:
    return [push.map for push in client.pushed if isinstance(push, MapChanged)]


async def test_joining(autojump_clock: object) -> None:
    """A new node grows the epoch and is told to the sessions; joining again as it was makes no transaction; names are unique."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        assert await join(alice, 1) == 1
        assert await join(alice, 2) == 2
        assert [each.epoch for each in maps(alice)] == [2, 3]
        position = world.leader.applied
        assert await join(alice, 1) == 1
        assert world.leader.applied == position
        with refused(Code.NODE_NAME_TAKEN):
            await alice.ask(JoinNode("another", "data1", "host:9", "d", 100))
        await alice.ask(JoinNode("uuid1", "data1", "host:99", "domain1", 100))
        assert (await alice.ask(GetMap())).nodes[0].address == "host:99"
        assert maps(alice)[-1].epoch == 4


async def test_a_weight_by_size(autojump_clock: object) -> None:
    """A disk that says none begins with what its size says beside the others. A leader that has not heard from these waits for
    them, or until they are down; nobody's weight changes by coming again, be the disk larger."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")

        async def enter(number: int, size_bytes: int, weight: int = 0) -> list[int]:
            name = f"data{number}"
            joined = await alice.ask(JoinNode(f"uuid{number}", name, f"host:{number}", name, weight, size_bytes=size_bytes))
            return [each.weight for each in joined.map.nodes]

        assert await enter(1, 4 * GIB) == [100]
        assert await enter(2, 8 * GIB) == [100, 200]
        assert await enter(3, 4 * GIB, 150) == [100, 200, 150]
        assert await enter(2, 80 * GIB) == [100, 200, 150]
        assert await enter(2, 8 * GIB) == [100, 200, 150]
        await world.restart()
        await alice.resume()
        with refused(Code.TOO_EARLY):
            await enter(4, 6 * GIB)
        assert await enter(1, 4 * GIB) == [100, 200, 150]
        assert await enter(2, 8 * GIB) == [100, 200, 150]
        with refused(Code.TOO_EARLY):
            await enter(4, 6 * GIB)
        await trio.sleep(4)
        await enter(1, 4 * GIB)
        await enter(2, 8 * GIB)
        await trio.sleep(2)
        assert await enter(4, 6 * GIB) == [100, 200, 150, 150]


async def test_silence_takes_a_node_down_and_a_heartbeat_brings_it_back(autojump_clock: object) -> None:
    """Five seconds of silence: down; the next heartbeat: up, and its answer is the new map. Also over a restart."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        node = await join(alice, 1)
        for _ in range(8):
            await trio.sleep(1)
            assert await alice.ask(beat(node, 2)) == Done()
        await trio.sleep(4)
        assert (await alice.ask(GetMap())).nodes[0].state == NODE_UP
        await trio.sleep(2)
        assert (await alice.ask(GetMap())).nodes[0].state == NODE_DOWN
        assert [each.nodes[0].state for each in maps(alice)] == [NODE_UP, NODE_DOWN]
        await world.restart()
        await alice.resume()
        await trio.sleep(1)
        assert (await alice.ask(GetMap())).nodes[0].state == NODE_DOWN, "a restart alone brings nobody up"
        assert (await alice.ask(beat(node, 3))).nodes[0].state == NODE_UP
        assert maps(alice)[-1].nodes[0].state == NODE_UP
        with refused(Code.NOT_FOUND):
            await alice.ask(beat(77, 1))


async def test_a_process_that_stood_still_takes_no_node_down(autojump_clock: trio.testing.MockClock) -> None:
    """What came in meanwhile is heard first: the words of one node say nothing of another's silence."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        first, second = [await join(alice, number) for number in (1, 2)]
        await trio.sleep(1)
        epoch = (await alice.ask(GetMap())).epoch
        autojump_clock.jump(60)
        for node in (first, second):
            world.server.handle(Request(beat(node, epoch), memoryview(b""), cast(Peer, Mock()), 1))
        await trio.sleep(1)
        found = await alice.ask(GetMap())
        assert [node.state for node in found.nodes] == [NODE_UP, NODE_UP]
        assert found.epoch == epoch


async def test_capacity_counts_shared_space_once(autojump_clock: object) -> None:
    """Two nodes on one file system and one on its own under replica:2: free space of each file system once, halved."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in range(3)]
        for node, filesystem in zip(nodes, ("shared", "shared", "own"), strict=True):
            await alice.ask(beat(node, 1, free=10 * GIB, used=GIB, filesystem=filesystem))
        figures = await alice.query(StatFs(1))
        assert figures.free_bytes == 20 * GIB // 2
        assert figures.total_bytes == 23 * GIB // 2
        assert figures.inode_count == 1
        await trio.sleep(4)
        for node in nodes[:2]:
            await alice.ask(beat(node, 1, free=10 * GIB, used=GIB, filesystem="shared"))
        await trio.sleep(2)
        figures = await alice.query(StatFs(1))
        assert (figures.free_bytes, figures.total_bytes) == (5 * GIB, 13 * GIB // 2), "nodes that are down have no room"


async def test_space_is_told_once_it_is_known(autojump_clock: object) -> None:
    """After a restart statfs waits for the nodes that are up, or until one is known to be down: half of them is no answer."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in range(2)]
        for is_silent in (False, True):
            await world.restart()
            await alice.resume()
            told: list[FsFigures] = []
            async with trio.open_nursery() as nursery:

                async def ask(told: list[FsFigures] = told) -> None:
                    told.append(await alice.query(StatFs(1)))

                nursery.start_soon(ask)
                await alice.ask(beat(nodes[0], 1, free=10 * GIB, used=GIB, filesystem="a"))
                await trio.sleep(1)
                assert not told
                if not is_silent:
                    await alice.ask(beat(nodes[1], 1, free=10 * GIB, used=GIB, filesystem="b"))
            assert told[0].free_bytes == (0 if is_silent else 10 * GIB)


async def test_condemned_objects(autojump_clock: object) -> None:
    """A dead object is told to the nodes after its grace, and forgotten when all of them have reaped it."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        nodes = [await join(alice, number) for number in range(2)]
        file = await alice.make_file(b"f")
        oid = bytes(range(20))
        new = NewObject(oid, 1000, "replica:2", world.clock.wall_ns(), "replica:2")
        await alice.mutate(Commit([new], [FileCommit(file, [Extent(0, 1000, 0, oid)], -1, -1, -1, 0, False)]))
        assert (await alice.ask(GetStatus())).live_bytes == 1000
        await alice.mutate(Unlink(ROOT_INODE, b"f"))
        assert not (await alice.ask(ListCondemned(nodes[0], 0, 100))).entries
        assert (await alice.ask(GetStatus())).dead_bytes == 1000
        await trio.sleep(DELETE_GRACE_NS / 1e9 + 1)
        page = await alice.ask(ListCondemned(nodes[0], 0, 100))
        assert [each.object for each in page.entries] == [oid]
        for node in nodes:
            assert (await alice.ask(GetStatus())).dead_bytes == 1000
            await alice.ask(Reaped(node, page.through))
        assert (await alice.ask(GetStatus())).dead_bytes == 0
        with refused(Code.NOT_FOUND):
            await alice.ask(Reaped(99, page.through))


async def test_status(autojump_clock: object) -> None:
    """Status tells who is there and how it is."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        node = await join(alice, 1)
        silent = (await alice.ask(GetStatus())).nodes[0]
        assert silent.trouble
        await alice.ask(NodeHeartbeat(node, 2, 5, 6, 7, "fs", 6, "disk full"))
        await alice.make_file(b"f", open_mode=1)
        await trio.sleep(1)
        status = await alice.ask(GetStatus())
        assert (status.leader, status.term, status.default_class, status.trouble) == ("meta1", 1, "replica:2", "")
        assert [(each.used_bytes, each.free_bytes, each.object_count, each.trouble) for each in status.nodes] == [
            (5, 6, 7, "disk full")
        ]
        assert [(each.session, each.name, each.open_count) for each in status.sessions] == [(alice.session, "alice", 1)]
        assert status.nodes[0].silent_ms == 1000
        assert status.position == world.leader.applied


async def read_all(client: Client, snapshot: int) -> dict[bytes, bytes]:
    pairs: dict[bytes, bytes] = {}
    more = True
    while more:
        page = await client.ask(ReadSnapshot(snapshot, max(pairs, default=b""), 4))
        pairs.update((pair.key, pair.value) for pair in page.pairs)
        more = page.more
    return pairs


async def test_a_snapshot_is_one_moment(autojump_clock: object) -> None:
    """A snapshot shows every transaction up to its position and none after it, page by page, while others go on."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        await alice.mutate(Mkdir(ROOT_INODE, b"before", 0o755, 0, 0, 0))
        opened = await alice.ask(OpenSnapshot())
        assert opened.position == world.leader.applied
        expected = world.leader.view.pairs()
        await alice.mutate(Mkdir(ROOT_INODE, b"after", 0o755, 0, 0, 0))
        await trio.sleep(20)
        assert await read_all(alice, opened.snapshot) == expected
        assert await alice.ask(CloseSnapshot(opened.snapshot)) == Done()
        with refused(Code.INVALID):
            await alice.ask(ReadSnapshot(opened.snapshot, b"", 4))


async def test_snapshots_are_few_and_do_not_stay(autojump_clock: object) -> None:
    """They are bounded in number, end with their connection, grow old, and are nobody else's."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        opened = [await bob.ask(OpenSnapshot()) for _ in range(snapshots.SNAPSHOTS_MAX)]
        with refused(Code.OVERLOADED):
            await alice.ask(OpenSnapshot())
        with refused(Code.INVALID):
            await alice.ask(ReadSnapshot(opened[0].snapshot, b"", 4))
        bob.cut()
        await trio.sleep(1)
        mine = await alice.ask(OpenSnapshot())
        await trio.sleep(snapshots.SNAPSHOT_LIFE_NS / 1e9 + 1)
        with refused(Code.INVALID):
            await alice.ask(ReadSnapshot(mine.snapshot, b"", 4))


async def test_no_snapshot_without_room_for_a_checkpoint(autojump_clock: object) -> None:
    """A full disk refuses the snapshot with NO_SPACE; the next attempt may succeed."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.store.is_full = True
        with refused(Code.NO_SPACE):
            await alice.ask(OpenSnapshot())
        world.store.is_full = False
        await alice.ask(OpenSnapshot())


@pytest.mark.parametrize("gone_after_s", [0.01, 0.05, 0.15])
async def test_a_connection_lost_while_its_snapshot_is_made(autojump_clock: object, gone_after_s: float) -> None:
    """The snapshot that nobody waits for any more does not stay open, and further ones can be made."""
    async with MetaWorld.open() as world:
        alice, bob = [await world.client(name) for name in ("alice", "bob")]
        world.store.checkpoint_s = 0.1
        for _ in range(snapshots.SNAPSHOTS_MAX + 1):
            bob.later(OpenSnapshot())
            await trio.sleep(gone_after_s)
            bob.cut()
            await bob.resume()
            await trio.sleep(0.2)
        assert isinstance(await alice.later(OpenSnapshot()).wait(), SnapshotOpened)
        await alice.later(Query(alice.session, StatFs(1))).wait()


async def test_what_the_server_says_of_itself(autojump_clock: object) -> None:
    """On the file journal it leads, alone; it says so while the journal is slow, too."""
    async with MetaWorld.open() as world:
        alice = await world.client("alice")
        world.journal.append_s = 5.0
        made = alice.later(alice.mutation(Mkdir(ROOT_INODE, b"d", 0o755, 0, 0, 0)))
        await trio.sleep(0.1)
        term, position = world.leader.term, world.leader.applied
        told = ServerStatus("meta1", ROLE_LEADER, term, position, "meta1", "meta1:7000", [], 0, "")
        assert await alice.ask(GetServer()) == told
        assert not made.is_done
        await made.wait()
