"""What a ring does by itself, one thing after the other: rebuild, take back, move, drain, re-form, mend, sweep, compact."""

import trio
import trio.testing

from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import KIB
from ringfs.client.file_system import Caller
from tests.support.ring_checks import misplaced, rotten, too_few
from tests.support.ring_world import RingWorld, open_ring
from tests.support.world import Mounted

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
        assert too_few(world, 0) == []
        await check_all(world)
        healed = sum(report.healed_parts for report in world.heal_status().reports)
        assert healed == held_count > 0
