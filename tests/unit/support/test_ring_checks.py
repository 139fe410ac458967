"""Each check of the simulation of the ring finds nothing in a ring that is well, and what was done to one behind its back."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
import trio.testing

from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import KIB
from ringfs.ring.classes import parse_class
from ringfs.ring.parts import Part
from tests.support.ring_checks import misplaced, parts_held, rotten, too_few
from tests.support.ring_faults import RingFaults
from tests.support.ring_losses import Losses
from tests.support.ring_store import Held
from tests.support.ring_workload import Workload
from tests.support.ring_world import RingNode, RingWorld, open_ring
from tests.support.world import Mounted

_FILES = 4
_CLASS = "ec:2+1"
_SOON_S = 200.0


async def _filled(world: RingWorld) -> tuple[Workload, Mounted]:
    """Files, which are healed."""
    client = await world.mount("writer")
    work = Workload(world, world.draw, [_CLASS])
    for _ in range(_FILES):
        await work.create(client)
    await world.until_healed(_SOON_S)
    return work, client


def _some_part(world: RingWorld) -> tuple[bytes, RingNode, Held]:
    """Of a live object, with who has it."""
    oid = world.live_objects()[0].object
    return oid, *parts_held(world, oid)[oid][0]


def take(world: RingWorld) -> set[bytes]:
    """A part is gone."""
    oid, node, held = _some_part(world)
    del node.disk.held[held.stored.key]
    return {oid}


def rot(world: RingWorld) -> set[bytes]:
    """A part's bytes are wrong."""
    oid, node, held = _some_part(world)
    node.disk.rot(world.draw, held.stored.key)
    return {oid}


def crowd(world: RingWorld) -> set[bytes]:
    """Two nodes are in one failure domain: all that has parts on both of them is in one."""
    oid, node, _ = _some_part(world)
    other = parts_held(world, oid)[oid][1][0]
    other.domain = node.domain
    holders = {each: [holder for holder, _ in parts] for each, parts in parts_held(world).items()}
    return {each for each, nodes in holders.items() if node in nodes and other in nodes}


def repeat(world: RingWorld) -> set[bytes]:
    """One part is there twice, and another one not at all: as many as there should be."""
    oid, _, held = _some_part(world)
    other, replaced = parts_held(world, oid)[oid][1]
    other.disk.held[held.stored.key] = held
    del other.disk.held[replaced.stored.key]
    return {oid}


@pytest.mark.parametrize("spoil", [take, rot, crowd, repeat])
async def test_what_has_too_few_parts_is_found(
    spoil: Callable[[RingWorld], set[bytes]], autojump_clock: trio.testing.MockClock
) -> None:
    """It, and nothing else, and also while others are being made good."""
    async with open_ring(1, node_count=5, stored_class=_CLASS) as world:
        await _filled(world)
        assert too_few(world) == {}
        spoiled = spoil(world)
        assert too_few(world).keys() == spoiled
        others = Counter(row.object for row in world.live_objects() if row.object not in spoiled)
        assert too_few(world, others).keys() == spoiled
        assert all(too_few(world, others, oid).keys() == {oid} for oid in spoiled)
        assert too_few(world, dict.fromkeys(spoiled, 1)) == {}


async def test_two_parts_of_an_object_that_lost_one(autojump_clock: trio.testing.MockClock) -> None:
    """It cannot be read any more: no loss excuses what was taken beside it."""
    async with open_ring(1, node_count=5, stored_class=_CLASS) as world:
        await _filled(world)
        (oid,) = take(world)
        assert take(world) == {oid}
        assert too_few(world, {oid: 1}).keys() == {oid}


def elsewhere(world: RingWorld) -> None:
    """A part is on a node on which it does not belong."""
    oid, node, held = _some_part(world)
    free = next(other for other in world.ring if other not in [each for each, _ in parts_held(world, oid)[oid]])
    free.disk.held[held.stored.key] = node.disk.held.pop(held.stored.key)


def surplus(world: RingWorld) -> None:
    """A part of another form is left."""
    _, node, held = _some_part(world)
    left = held.stored._replace(part=Part(3, 2, 4))
    node.disk.held[left.key] = Held(left, held.tables, held.content, held.birth_ns)


def dead(world: RingWorld) -> None:
    """Something that no file has is on a disk."""
    _, node, held = _some_part(world)
    gone = held.stored._replace(object=bytes(20))
    node.disk.held[gone.key] = Held(gone, held.tables, held.content, held.birth_ns)


@pytest.mark.parametrize("spoil", [take, elsewhere, surplus, dead])
async def test_what_is_not_where_it_belongs_is_found(
    spoil: Callable[[RingWorld], object], autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever is there beside it."""
    async with open_ring(1, node_count=5, stored_class=_CLASS) as world:
        await _filled(world)
        assert misplaced(world) == []
        spoil(world)
        assert len(misplaced(world)) == 1


async def test_rotten_parts_are_found(autojump_clock: trio.testing.MockClock) -> None:
    """Each once."""
    async with open_ring(1, node_count=5, stored_class=_CLASS) as world:
        await _filled(world)
        (oid,) = rot(world)
        assert [stored.object for _, stored in rotten(world)] == [oid]


async def test_losses_excuse_what_was_lost_until_it_is_made_good(autojump_clock: trio.testing.MockClock) -> None:
    """And nothing that was taken from objects that lost nothing."""
    async with open_ring(1, node_count=5, stored_class=_CLASS) as world:
        await _filled(world)
        losses = Losses(world)
        node = next(node for node in world.ring if node.disk.held)
        world.kill(node)
        hit = {held.stored.object for held in node.disk.held.values()}
        losses.lose_disk(node)
        assert too_few(world).keys() == hit
        assert losses.too_few() == []
        losses.settle()
        assert losses.count == 1
        await world.until_healed(_SOON_S)
        losses.settle()
        assert losses.count == 0
        take(world)
        assert len(losses.too_few()) == 1


async def test_a_part_that_must_not_go_is_missed_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """When a node drops it, not when somebody looks."""
    async with open_ring(1, node_count=5, stored_class=_CLASS) as world:
        await _filled(world)
        RingFaults(world, random.Random(1), parse_class(_CLASS), 3)
        (oid,) = take(world)
        with pytest.raises(AssertionError, match="a part was taken away"):
            world.on_removed(oid)


async def test_bytes_that_nobody_wrote_are_found(autojump_clock: trio.testing.MockClock) -> None:
    """By who reads everything at the end."""
    async with open_ring(1, node_count=5, stored_class=_CLASS) as world:
        work, _ = await _filled(world)
        await work.read_all()
        other = await world.mount("other")
        inode = await other.fs.lookup(ROOT_INODE, b"f1")
        handle = await other.fs.open(inode.number, writes=True)
        await other.fs.write(handle, KIB, b"spoiled")
        await other.fs.release(handle)
        await other.close()
        with pytest.raises(AssertionError, match="b'f1' is not what was written"):
            await work.read_all()


async def test_who_is_never_healed_is_found(autojump_clock: trio.testing.MockClock) -> None:
    """Within the time given."""
    async with open_ring(1, node_count=3, stored_class="replica:3") as world:
        await _filled(world)
        world.kill(world.ring[0])
        world.lose_disk(world.ring[0])
        with pytest.raises(AssertionError, match="not healed within"):
            await world.until_healed(_SOON_S)
