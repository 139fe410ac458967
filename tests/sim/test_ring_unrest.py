"""Stewards while the map changes faster than they can go through their share, as it does in the rolling restart of a large ring."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import KIB, MIB
from ringfs.data.steward import seeing
from ringfs.data.steward.share import share_of
from ringfs.wire.messages.cluster import STANDING_LOST
from ringfs.wire.messages.heal import StartHeal
from tests.sim.test_ring_healing import SOON_S, check_all, filled, write
from tests.support.ring_checks import parts_held, too_few
from tests.support.ring_world import RING, RingNode, RingWorld, open_ring
from tests.support.world import Mounted, until

COUNT = 80
#: What is smaller needs no object.
SIZE_BYTES = 20 * KIB


async def change_maps(world: RingWorld, every_s: float) -> None:
    """For ever."""
    while True:
        await world.ask(StartHeal())
        await trio.sleep(every_s)


async def until_lost(world: RingWorld, node: RingNode) -> None:
    """Until the metadata server has given up a node that was killed."""
    await until(lambda: world.handler.live.nodes.map.nodes[node.number - 1].standing == STANDING_LOST)


@pytest.mark.parametrize("every_s", [0.5, 3.0])
async def test_a_lost_disk_is_rebuilt_however_often_the_map_changes(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    """A pass takes a hundred times as long as a map lasts, and still everything has its turn."""
    async with open_ring(31, node_count=5, stored_class="replica:2") as world:
        await filled(world, COUNT, SIZE_BYTES)
        monkeypatch.setattr(seeing, "_PAGE_ROWS", 2)
        monkeypatch.setattr(seeing, "_LEADER_PAUSE_S", 10.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_maps, world, every_s)
            world.kill(world.ring[0])
            world.lose_disk(world.ring[0])
            await until_lost(world, world.ring[0])
            assert len(too_few(world)) > COUNT / 5
            await until(lambda: not too_few(world), 10 * SOON_S, step_s=1)
            nursery.cancel_scope.cancel()
        monkeypatch.undo()
        await world.until_healed(SOON_S)
        await check_all(world, COUNT, SIZE_BYTES)


async def make_sparse(client: Mounted, number: int) -> None:
    """A file of 1 MiB; then most of its object is dead."""
    await write(client, number, MIB)
    inode = await client.fs.lookup(ROOT_INODE, b"f%d" % number)
    handle = await client.fs.open(inode.number, writes=True)
    await client.fs.write(handle, 0, bytes([number]) * (700 * KIB))
    await client.fs.fsync(handle)
    await client.fs.release(handle)


def sparse_in_shares(world: RingWorld) -> dict[int, int]:
    """How many objects to compact each steward has."""
    cluster_map = world.handler.live.nodes.map
    shares = {node.number: share_of(cluster_map, node.number) for node in world.ring}
    sparse = [row.object for row in world.live_objects() if 2 * row.live_bytes < row.size_bytes]
    return {number: sum(share is not None and share.has(oid) for oid in sparse) for number, share in shares.items()}


async def test_compaction_puts_nothing_off(autojump_clock: trio.testing.MockClock) -> None:
    """However much of it there is to do: what a disk lost meanwhile is made anew by the next pass, which comes in its time."""
    slow = replace(RING, heal_bytes_per_s=32 * KIB)
    async with open_ring(32, node_count=3, stored_class="replica:2", settings=slow, limit_s=20_000) as world:
        client = await filled(world, 20, SIZE_BYTES)
        for number in range(20, 60):
            await make_sparse(client, number)
        before = sparse_in_shares(world)
        busiest = max(before, key=lambda number: before[number])
        await until(lambda: sparse_in_shares(world)[busiest] < before[busiest], 1000, step_s=1)
        share = share_of(world.handler.live.nodes.map, busiest)
        assert share is not None
        oid = next(row.object for row in world.live_objects() if row.size_bytes < MIB // 4 and share.has(row.object))
        node, held = parts_held(world, oid)[oid][0]
        del node.disk.held[oid + held.stored.part.pack()]
        assert too_few(world, oid=oid)
        await until(lambda: not too_few(world, oid=oid), 4 * slow.scan_s, step_s=1)
        assert sparse_in_shares(world)[busiest] > 2
