"""What a ring does by itself, one thing after the other: rebuild, take back, move, drain, re-form, mend, sweep, compact."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from ringfs.base.errors import Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import KIB, MIB
from ringfs.client.file_system import Caller
from ringfs.meta.nodes import LATE_COMMITS_NS
from ringfs.objects.nodes import DataNodes
from ringfs.objects.objects import Objects
from ringfs.wire.messages.cluster import STANDING_DRAINING, STANDING_IN, STANDING_LOST, STANDING_OUT
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.messages.heal import RemoveNode, SetStanding, SetWeight
from tests.support.meta_doubles import KEY
from tests.support.ring_checks import misplaced, parts_held, rotten, too_few
from tests.support.ring_world import RING, RingWorld, open_ring
from tests.support.world import Mounted, until

CALLER = Caller()
#: Nothing that these tests do takes longer.
SOON_S = 200.0


def body(number: int, size_bytes: int) -> bytes:
    """The content of file `number`."""
    return bytes((number * 31 + block * 7) & 0xFF for block in range(size_bytes // 4096 + 1) for _ in range(4096))[:size_bytes]


async def write(client: Mounted, number: int, size_bytes: int) -> None:
    """A file, durable."""
    handle = await client.fs.create(ROOT_INODE, b"f%d" % number, 0o100644, CALLER, writes=True, exclusive=True)
    await client.fs.write(handle, 0, body(number, size_bytes))
    await client.fs.fsync(handle)
    await client.fs.release(handle)


async def read(client: Mounted, number: int) -> bytes:
    """All of it."""
    inode = await client.fs.lookup(ROOT_INODE, b"f%d" % number)
    handle = await client.fs.open(inode.number, writes=False)
    found = bytes(await client.fs.read(handle, 0, 1 << 27))
    await client.fs.release(handle)
    return found


async def filled(world: RingWorld, count: int = 6, size_bytes: int = 300 * KIB) -> Mounted:
    """A client that has written some files."""
    client = await world.mount()
    for number in range(count):
        await write(client, number, size_bytes)
    return client


async def check_all(world: RingWorld, count: int = 6, size_bytes: int = 300 * KIB) -> None:
    """Another client reads what was written, and all is where it belongs."""
    other = await world.mount("other")
    for number in range(count):
        assert await read(other, number) == body(number, size_bytes)
    assert misplaced(world) == []
    assert rotten(world) == []


async def test_a_lost_disk_is_rebuilt_on_the_others(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(1, node_count=5, stored_class="ec:2+1") as world:
        await filled(world)
        assert misplaced(world) == []
        lost = world.ring[0]
        held_count = len(lost.disk.held)
        world.kill(lost)
        world.lose_disk(lost)
        await world.until_healed(SOON_S)
        assert too_few(world) == {}
        await check_all(world)
        healed = sum(report.healed_parts for report in world.heal_status().reports)
        assert healed == held_count > 0


async def test_a_class_that_nothing_has_any_more_keeps_no_dead_node_in(autojump_clock: trio.testing.MockClock) -> None:
    """It was set once, and is wider than what is left: stewards see that no object has it, and the lost disk is made up for. One
    that an object has does keep it in: fragments of it would find no place."""
    for is_used in (False, True):
        async with open_ring(21, node_count=5, stored_class="ec:2+1") as world:
            client = await filled(world)
            await client.fs.setxattr(ROOT_INODE, CLASS_XATTR, b"ec:3+2", 0)
            if is_used:
                await write(client, 6, 300 * KIB)
            await client.fs.removexattr(ROOT_INODE, CLASS_XATTR)
            world.kill(world.ring[0])
            world.lose_disk(world.ring[0])
            await trio.sleep(SOON_S)
            assert [node.standing for node in world.handler.live.nodes.map.nodes].count(STANDING_LOST) == (not is_used)
            if not is_used:
                await world.until_healed(SOON_S)
                await check_all(world)


async def test_a_node_that_comes_back_is_brought_up_to_date(autojump_clock: trio.testing.MockClock) -> None:
    """What it has counts again at once; what was written meanwhile and belongs on it moves there."""
    async with open_ring(2, node_count=5, stored_class="ec:2+1") as world:
        client = await filled(world, 3)
        node = world.ring[1]
        world.kill(node)
        await trio.sleep(8)
        for number in range(3, 6):
            await write(client, number, 300 * KIB)
        await world.start(node)
        await world.until_healed(SOON_S)
        await check_all(world)
        assert sum(report.healed_parts for report in world.heal_status().reports) == 0, "nothing was ever lost"


async def test_a_lost_node_that_comes_back_gives_up_what_is_elsewhere(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(3, node_count=5, stored_class="ec:2+1") as world:
        await filled(world)
        node = world.ring[2]
        world.kill(node)
        await world.until_healed(SOON_S)
        assert too_few(world) == {}
        await world.start(node)
        await world.until_healed(SOON_S)
        await check_all(world)


async def test_a_new_node_gets_its_share_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(4, node_count=4, stored_class="replica:2") as world:
        await filled(world, 60, 40 * KIB)
        before = {node.name: set(node.disk.held) for node in world.ring}
        added = await world.add_node()
        await world.until_healed(SOON_S)
        await check_all(world, 60, 40 * KIB)
        moved = sum(report.moved_parts for report in world.heal_status().reports)
        assert moved == len(added.disk.held) > 0
        for node in world.ring[:-1]:
            assert set(node.disk.held) <= before[node.name], "nothing moves between the others"


async def test_another_weight_moves_the_difference(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(5, node_count=4, stored_class="replica:2") as world:
        await filled(world, 60, 40 * KIB)
        before = len(world.ring[0].disk.held)
        await world.ask(SetWeight("data1", 300))
        await world.until_healed(SOON_S)
        await check_all(world, 60, 40 * KIB)
        gained = len(world.ring[0].disk.held) - before
        moved = sum(report.moved_parts for report in world.heal_status().reports)
        assert moved == gained > 0


async def test_a_drained_node_can_be_removed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(6, node_count=5, stored_class="ec:2+1") as world:
        await filled(world)
        await world.ask(SetStanding("data5", STANDING_DRAINING, 0))
        await world.until_healed(SOON_S)
        assert world.ring[4].disk.held == {}
        await check_all(world)
        await world.ask(RemoveNode("data5"))
        assert [node.name for node in world.handler.live.nodes.map.nodes] == ["data1", "data2", "data3", "data4"]


async def test_a_drained_node_stays_while_its_parts_have_no_other_place(autojump_clock: trio.testing.MockClock) -> None:
    """A node is down, for a while only: parts that belong on it now are still where they were. Nothing may be lost by that."""
    patient = replace(RING, out_after_s=5000.0)
    async with open_ring(17, node_count=4, stored_class="replica:1", settings=patient) as world:
        await filled(world, 20, 20 * KIB)
        draining = world.ring[3]
        held = set(draining.disk.held)
        world.kill(world.ring[1])
        await trio.sleep(8)
        await world.ask(SetStanding("data4", STANDING_DRAINING, 0))
        await trio.sleep(LATE_COMMITS_NS / 1e9 + 30)
        assert world.heal_status().is_healed
        assert held > set(draining.disk.held) > set(), "some was moved, and some waits"
        with pytest.raises(Refused, match="wait for data2 to come back"):
            await world.ask(RemoveNode("data4"))
        await world.start(world.ring[1])
        await world.until_healed(SOON_S)
        await world.ask(RemoveNode("data4"))
        world.kill(draining)
        world.ring.remove(draining)
        await check_all(world, 20, 20 * KIB)


async def test_an_operator_takes_a_node_out_and_in(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(7, node_count=5, stored_class="ec:2+1") as world:
        await filled(world)
        for standing in (STANDING_OUT, STANDING_IN):
            await world.ask(SetStanding("data2", standing, 0))
            await world.until_healed(SOON_S)
            assert (world.ring[1].disk.held == {}) == (standing == STANDING_OUT)
            await check_all(world)


async def test_what_was_stored_as_copies_is_encoded_once_there_is_place(autojump_clock: trio.testing.MockClock) -> None:
    """Two of three nodes take copies; with the third, fragments take their place, and files read the same."""
    async with open_ring(8, node_count=3, stored_class="ec:2+1") as world:
        client = await filled(world, 2)
        world.kill(world.ring[2])
        await trio.sleep(8)
        for number in range(2, 6):
            await write(client, number, 300 * KIB)
        assert {row.form for row in world.live_objects()} == {"ec:2+1", "replica:2"}
        await world.start(world.ring[2])
        await world.until_healed(SOON_S)
        assert {row.form for row in world.live_objects()} == {"ec:2+1"}
        assert await read(client, 3) == body(3, 300 * KIB)
        await check_all(world)


async def test_with_too_few_domains_for_good_fragments_become_copies(autojump_clock: trio.testing.MockClock) -> None:
    """Two of three nodes turn out to be in the same rack."""
    async with open_ring(9, node_count=3, stored_class="ec:2+1") as world:
        await filled(world)
        node = world.ring[0]
        world.kill(node)
        node.domain = world.ring[1].domain
        await world.start(node)
        await world.until_healed(SOON_S)
        assert {row.form for row in world.live_objects()} == {"replica:2"}
        assert too_few(world) == {}
        await check_all(world)


async def test_bad_parts_are_found_and_mended_where_they_are(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(10, node_count=5, stored_class="ec:2+1") as world:
        client = await filled(world)
        for node, choose in zip(world.ring, (min, max), strict=False):
            node.disk.rot(world.draw, choose(node.disk.held))
        assert len(rotten(world)) == 2
        await trio.sleep(world.settings.scrub_period_s)
        assert rotten(world) == []
        assert [node.audit.events for node in world.ring[:2]] == [["bad part", "mended"]] * 2
        assert sum(report.mended_parts for report in world.heal_status().reports) == 2
        assert await read(client, 0) == body(0, 300 * KIB)
        await check_all(world)


async def test_what_went_with_an_index_is_made_anew_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A node comes back, soon enough to be missed by nobody, with an index that it built anew and that knows less: nothing else
    tells stewards, whose next pass is hours away."""
    rare = replace(RING, scan_s=10_000.0, scrub_period_s=100_000.0)
    async with open_ring(16, node_count=5, stored_class="ec:2+1", settings=rare) as world:
        await filled(world)
        await world.until_healed(SOON_S)
        node = world.ring[0]
        world.kill(node)
        for key in sorted(node.disk.held)[::2]:
            del node.disk.held[key]
        node.disk.index_built_ns = world.clock.wall_ns()
        await world.start(node)
        assert too_few(world)
        await until(lambda: not too_few(world))
        assert node.audit.events == ["index built anew"]
        await world.until_healed(SOON_S)
        built = {report.node: report.index_built_ns for report in world.heal_status().reports if report.index_built_ns}
        assert built == {node.number: node.disk.index_built_ns}
        await check_all(world)


async def test_what_nobody_commits_is_swept(autojump_clock: trio.testing.MockClock) -> None:
    """Not before it is old; and a commit that comes after all has it put again."""
    async with open_ring(11, node_count=4, stored_class="ec:2+1") as world:
        await filled(world)
        live = len(parts_held(world))
        await put_without_commit(world, 200 * KIB)
        assert len(parts_held(world)) == live + 1
        await trio.sleep(world.settings.sweep_after_s - 20)
        assert len(parts_held(world)) == live + 1
        await trio.sleep(2 * world.settings.scan_s + 120)
        assert len(parts_held(world)) == live
        assert sum(report.swept_objects for report in world.heal_status().reports) == 1
        await check_all(world)


async def test_mostly_dead_objects_are_compacted(autojump_clock: trio.testing.MockClock) -> None:
    """Their live bytes move; another client that had read the file reads the same all the time."""
    size_bytes = 2 * MIB
    async with open_ring(12, node_count=4, stored_class="ec:2+1") as world:
        client = await world.mount()
        await write(client, 0, size_bytes)
        reader = await world.mount("reader")
        inode = await client.fs.lookup(ROOT_INODE, b"f0")
        handle = await client.fs.open(inode.number, writes=True)
        expected = bytearray(body(0, size_bytes))
        for start in (0, MIB):
            piece = bytes([start >> 20 | 0x40]) * (MIB - 200 * KIB)
            await client.fs.write(handle, start, piece)
            await client.fs.fsync(handle)
            expected[start : start + len(piece)] = piece
        await client.fs.release(handle)
        assert await read(reader, 0) == expected
        old = next(row for row in world.live_objects() if row.size_bytes == size_bytes)
        assert old.live_bytes == 400 * KIB
        await trio.sleep(2 * world.settings.scan_s + 120)
        rows = world.live_objects()
        assert all(row.live_bytes == row.size_bytes for row in rows)
        assert old.object not in parts_held(world)
        assert await read(reader, 0) == expected
        assert await read(await world.mount("late"), 0) == expected
        assert misplaced(world) == []


async def test_parts_go_elsewhere_while_a_node_is_full(autojump_clock: trio.testing.MockClock) -> None:
    async with open_ring(13, node_count=5, stored_class="ec:2+1") as world:
        await filled(world)
        world.ring[4].disk.is_full = True
        world.kill(world.ring[0])
        world.lose_disk(world.ring[0])
        await world.until_healed(SOON_S)
        assert too_few(world) == {}
        world.ring[4].disk.is_full = False
        await trio.sleep(2 * world.settings.scan_s + 60)
        await check_all(world)


async def test_stewards_leave_the_disks_to_clients(autojump_clock: trio.testing.MockClock) -> None:
    """A rebuild is slower while somebody reads."""
    slow = replace(RING, heal_bytes_per_s=1 << 17)
    took_s = []
    for is_busy in (False, True):
        async with open_ring(14, node_count=5, stored_class="ec:2+1", settings=slow, cache_bytes_max=1 << 20) as world:
            client = await filled(world, 6, 512 * KIB)
            world.kill(world.ring[0])
            world.lose_disk(world.ring[0])
            async with trio.open_nursery() as nursery:
                if is_busy:
                    nursery.start_soon(keep_reading, client, 6)
                took_s.append(await world.until_healed(1000))
                nursery.cancel_scope.cancel()
    assert took_s[1] > 1.5 * took_s[0]


async def keep_reading(client: Mounted, count: int) -> None:
    """For ever."""
    while True:
        for number in range(count):
            await read(client, number)
            await trio.sleep(0.1)


async def put_without_commit(world: RingWorld, size_bytes: int) -> None:
    """A client that dies between put and commit."""
    async with trio.open_nursery() as nursery:
        nodes = DataNodes(KEY, "doomed", nursery, world.network.dial)
        objects = Objects(nodes, at_once, world.clock)
        objects.follow(world.handler.live.nodes.map)
        await objects.put([memoryview(body(99, size_bytes))], "ec:2+1")
        nursery.cancel_scope.cancel()


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """A RunInThread without threads."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


@pytest.mark.parametrize("stopped_s", [20.0, 400.0])
async def test_a_client_that_stood_still_between_put_and_commit(autojump_clock: trio.testing.MockClock, stopped_s: float) -> None:
    """What it put is swept only if it stood still for very long; then it puts it again, or says that it could not."""
    async with open_ring(15, node_count=4, stored_class="ec:2+1") as world:
        await filled(world)
        world.network.delay_s = 0.05
        slow = await world.mount("slow")
        handle = await slow.fs.create(ROOT_INODE, b"f6", 0o100644, CALLER, writes=True, exclusive=True)
        await slow.fs.fsync(handle)
        await slow.fs.write(handle, 0, body(6, 300 * KIB))
        live = {row.object for row in world.live_objects()}
        await until(lambda: bool(parts_held(world).keys() - live))
        slow.port.blacken()
        (put,) = parts_held(world).keys() - live
        await trio.sleep(stopped_s)
        assert (put in parts_held(world)) == (stopped_s < world.settings.sweep_after_s)
        slow.port.whiten()
        is_there = True
        try:
            await slow.fs.fsync(handle)
        except Refused:
            is_there = False
        assert is_there or stopped_s > world.settings.sweep_after_s
        await world.until_healed(SOON_S)
        await check_all(world, 7 if is_there else 6)
