"""The scrub in virtual time, over parts in memory: pace, rounds, what is bad is mended and written down, also over restarts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import KIB, MIB
from ringfs.data.steward.counts import Counts
from ringfs.data.steward.scrub import LocalPart, Scrubber
from ringfs.ring.parts import COPY, Part
from tests.support.meta_doubles import TrioClock
from tests.support.steward_doubles import MemoryAudit, MemoryKeeper

PERIOD_S = 1000.0
FRAGMENT = Part(4, 2, 5)


class Parts:
    """A LocalParts; `mend` makes a part good, unless mending is refused."""

    def __init__(self, count: int, length_bytes: int = 64 * KIB) -> None:
        self.held = [LocalPart(number.to_bytes(20, "big"), COPY, length_bytes) for number in range(1, count + 1)]
        self.faults: dict[bytes, str] = {}
        self.looked: list[bytes] = []
        self.refusal: Refused | ConnectionLost | None = None
        self.is_needed = True
        self.mended: list[bytes] = []
        self.mend_count = 0

    def parts_after(self, after: bytes, limit: int) -> list[LocalPart]:
        """See LocalParts."""
        return [each for each in self.held if each.key > after][:limit]

    def used_bytes(self) -> int:
        """See LocalParts."""
        return sum(each.length_bytes for each in self.held)

    async def find_fault(self, oid: bytes, part: Part) -> str:
        """See LocalParts."""
        await trio.lowlevel.checkpoint()
        if (oid, part) not in [(each.oid, each.part) for each in self.held]:
            raise Refused(Code.NOT_HELD)
        self.looked.append(oid)
        return self.faults.get(oid, "")

    async def mend(self, oid: bytes, _part: Part) -> bool:
        """See Mend."""
        self.mend_count += 1
        if self.refusal is not None:
            raise self.refusal
        if self.is_needed:
            self.mended.append(oid)
            self.faults.pop(oid, None)
        return self.is_needed


class World:
    """A scrubber and what is around it."""

    def __init__(self, parts: Parts, keeper: MemoryKeeper | None = None) -> None:
        self.parts = parts
        self.keeper = keeper or MemoryKeeper()
        self.audit = MemoryAudit()
        self.counts = Counts()
        self.scrubber = Scrubber(parts, self.keeper, self.audit, parts.mend, self.counts, TrioClock(), PERIOD_S)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """The scrubber at work."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.scrubber.run)
        yield world
        nursery.cancel_scope.cancel()


async def test_a_round_takes_most_of_the_period(autojump_clock: trio.testing.MockClock) -> None:
    parts = Parts(1000, 8 * MIB)
    async with running(World(parts)) as world:
        await trio.sleep(PERIOD_S / 2)
        assert 550 < world.counts.scrubbed_parts < 700
        assert world.counts.scrub_done_ns == 0
        await trio.sleep(PERIOD_S / 2)
        assert world.counts.scrub_done_ns > 0
        assert set(parts.looked) == {each.oid for each in parts.held}


async def test_bad_parts_are_mended_and_written_down(autojump_clock: trio.testing.MockClock) -> None:
    parts = Parts(20)
    bad = [parts.held[3].oid, parts.held[17].oid]
    parts.faults = dict.fromkeys(bad, "bad blocks 5")
    async with running(World(parts)) as world:
        await trio.sleep(60)
    assert (parts.mended, parts.faults) == (bad, {})
    assert (world.counts.bad_parts, world.counts.mended_parts) == (2, 2)
    assert world.audit.events == ["bad part", "mended"] * 2
    assert world.audit.lines[0][1] == {"object": bad[0].hex(), "part": "copy", "fault": "bad blocks 5"}


async def test_what_a_read_found_bad_does_not_wait_for_the_scrub(autojump_clock: trio.testing.MockClock) -> None:
    parts = Parts(1000, 8 * MIB)
    bad = parts.held[900].oid
    async with running(World(parts)) as world:
        await trio.sleep(1)
        parts.faults[bad] = "block 1"
        for _ in range(3):
            world.scrubber.suspect(bad, COPY)
        # This one is well, and this one is not held.
        world.scrubber.suspect(parts.held[901].oid, COPY)
        world.scrubber.suspect(bytes(20), FRAGMENT)
        await trio.sleep(0.1)
        assert parts.mended == [bad]
        assert (world.counts.bad_parts, world.counts.mended_parts) == (1, 1)


async def test_mending_is_tried_until_it_can_be_done(autojump_clock: trio.testing.MockClock) -> None:
    for refusal in (Refused(Code.IO), ConnectionLost("no leader")):
        parts = Parts(3)
        parts.faults[parts.held[0].oid] = "block 1"
        parts.refusal = refusal
        async with running(World(parts)) as world:
            await trio.sleep(200)
            assert (world.counts.bad_parts, world.counts.mended_parts) == (1, 0)
            parts.refusal = None
            await trio.sleep(40)
            assert (world.counts.bad_parts, world.counts.mended_parts) == (1, 1)
        assert world.audit.events == ["bad part", "mended"]


async def test_what_metadata_does_not_need_is_not_counted_as_mended(autojump_clock: trio.testing.MockClock) -> None:
    parts = Parts(3)
    parts.faults[parts.held[0].oid] = "block 1"
    parts.is_needed = False
    async with running(World(parts)) as world:
        await trio.sleep(30)
        world.scrubber.suspect(parts.held[0].oid, COPY)
        await trio.sleep(100)
        assert world.audit.events == ["bad part"]
        del parts.held[0]
        await trio.sleep(100)
    assert (world.counts.bad_parts, world.counts.mended_parts) == (1, 0)


async def test_what_metadata_does_not_know_is_tried_less_and_less_often(autojump_clock: trio.testing.MockClock) -> None:
    """However often reads meet it meanwhile, which each attempt is; a commit that comes late has it mended all the same."""
    parts = Parts(1, KIB)
    (bad,) = (each.oid for each in parts.held)
    parts.faults[bad] = "block 1"
    parts.is_needed = False
    async with running(World(parts)) as world:
        for _ in range(6 * 60):
            await trio.sleep(60)
            world.scrubber.suspect(bad, COPY)
        assert 6 < parts.mend_count < 16
        parts.is_needed = True
        await trio.sleep(3600)
        assert (parts.mended, world.audit.events) == ([bad], ["bad part", "mended"])


async def test_a_round_can_be_begun_at_another_rate(autojump_clock: trio.testing.MockClock) -> None:
    parts = Parts(100, 8 * MIB)
    async with running(World(parts)) as world:
        await trio.sleep(PERIOD_S / 2)
        parts.looked.clear()
        world.scrubber.start_round(80 * MIB)
        await trio.sleep(12)
        assert parts.looked[:100] == [each.oid for each in parts.held]
        assert world.counts.scrub_done_ns > 0


async def test_a_restart_goes_on_where_it_was(autojump_clock: trio.testing.MockClock) -> None:
    parts, keeper = Parts(1000, 8 * MIB), MemoryKeeper()
    async with running(World(parts, keeper)):
        await trio.sleep(PERIOD_S / 2)
    seen = len(parts.looked)
    parts.looked.clear()
    async with running(World(parts, keeper)):
        await trio.sleep(PERIOD_S / 4)
    assert parts.held[seen - 100].oid < parts.looked[0] <= parts.held[seen].oid


async def test_an_empty_disk_is_waited_with(autojump_clock: trio.testing.MockClock) -> None:
    parts = Parts(0)
    async with running(World(parts)) as world:
        await trio.sleep(100)
        assert world.counts.scrub_done_ns == 0
        parts.held = Parts(3).held
        await trio.sleep(20)
        assert world.counts.scrubbed_parts >= 3
