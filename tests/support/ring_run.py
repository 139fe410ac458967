"""One seed of the simulation of the ring: clients at work while nodes, disks, links and the map are not left in peace.

At every moment each live object has the tolerance that its class promises, less what was lost a moment ago and is being made good;
no read is wrong; and once nothing goes wrong any more, everything is exactly where the map says, within bounded time.

run(seed) raises AssertionError that says what is wrong, and tells the story up to there. The same seed does the same again.
"""

import random
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import trio
from trio.testing import MockClock

from ringfs.base.limits import CLOCK_SKEW_MAX_NS
from ringfs.ring.classes import parse_class
from tests.support.ring_checks import misplaced, rotten, too_few
from tests.support.ring_faults import RingFaults
from tests.support.ring_workload import Workload
from tests.support.ring_world import RingWorld, open_ring

#: Virtual: how long things go wrong; how long healing may take then, and for what nobody needs to be gone.
FAULTS_S = 150.0
HEALED_S = 400.0
CLEAN_S = 1200.0
_CLASSES = ("replica:2", "replica:3", "ec:2+1", "ec:3+1", "ec:2+2", "ec:3+2", "ec:4+2")
_NODES = (5, 12)
#: Clients that commit late, at one time.
_LATE = 3
#: Of every message: between what somebody sees and what it does about it others do something, too.
_DELAYS_S = (0.0, 0.002, 0.05)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    stored_class: str
    nodes: int
    faults: int
    writes: int
    reads: int
    healed: int
    moved: int
    reformed: int
    mended: int
    swept: int
    healed_s: float
    clean_s: float


def run(seed: int, seconds: float = FAULTS_S) -> Report:
    """See the module."""
    return trio.run(_Run(seed, seconds).go, clock=MockClock(autojump_threshold=0))


class _Run:
    """One seed."""

    def __init__(self, seed: int, seconds: float) -> None:
        self._seed = seed
        self._seconds = seconds
        self._draw = random.Random(seed)
        self._node_count = self._draw.randint(*_NODES)
        self._domain_count = self._node_count
        self._story: list[str] = []

    async def go(self) -> Report:
        """All of it."""
        node_count = self._node_count
        stored_class = self._draw.choice([each for each in _CLASSES if parse_class(each).width <= node_count])
        try:
            async with self._ring(node_count, stored_class) as world:
                return await self._in(world, stored_class)
        except BaseException as error:
            error.add_note(f"seed {self._seed}, {stored_class} on {node_count} nodes; what went wrong:")
            for line in self._story:
                error.add_note(line)
            raise
        raise AssertionError("a world ends with a report")

    def _ring(self, node_count: int, stored_class: str) -> AbstractAsyncContextManager[RingWorld]:
        """Some rings have fewer racks than nodes."""
        width = parse_class(stored_class).width
        racks = self._draw.randint(width, node_count) if self._draw.random() < 0.4 else node_count
        self._domain_count = racks
        domains = [f"rack{number}" for number in range(racks)] if racks < node_count else []
        clocks_off_s = CLOCK_SKEW_MAX_NS / 2e9 * 0.9
        return open_ring(
            self._seed,
            node_count=node_count,
            stored_class=stored_class,
            domains=domains,
            skew_s=clocks_off_s,
            delay_s=self._draw.choice(_DELAYS_S),
            cache_bytes_max=1 << 20,
        )

    async def _in(self, world: RingWorld, stored_class: str) -> Report:
        promised = parse_class(stored_class)
        possible = [parse_class(each) for each in _CLASSES]
        classes = [str(each) for each in possible if each.width <= self._domain_count and each.tolerance >= promised.tolerance]
        work = Workload(world, self._draw, classes)
        faults = RingFaults(world, self._draw, promised, max(parse_class(each).width for each in classes))
        self._story = faults.story
        writer = await world.mount("writer")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work.write, writer)
            for _ in range(_LATE):
                nursery.start_soon(work.write_late)
            nursery.start_soon(work.read)
            await faults.run(self._seconds)
            work.is_over = True
        await writer.fs.sync()
        healed_s = await world.until_healed(HEALED_S)
        # What rots is found by the scrub, in its time.
        assert not (findings := too_few(world, Counter(stored.object for _, stored in rotten(world)))), findings
        clean_s = await self._until_clean(world)
        await work.read_all()
        world.check()
        return self._report(world, stored_class, work, healed_s, clean_s)

    async def _until_clean(self, world: RingWorld) -> float:
        """Until nothing is anywhere else than it belongs, and nothing is rotten: how long that took."""
        begun_s = trio.current_time()
        while findings := [*misplaced(world), *rotten(world)]:
            assert trio.current_time() - begun_s < CLEAN_S, findings
            await trio.sleep(5)
        return trio.current_time() - begun_s

    def _report(self, world: RingWorld, stored_class: str, work: Workload, healed_s: float, clean_s: float) -> Report:
        reports = world.heal_status().reports
        return Report(
            stored_class,
            len(world.ring),
            len(self._story),
            work.write_count,
            work.read_count,
            healed=sum(each.healed_parts for each in reports),
            moved=sum(each.moved_parts for each in reports),
            reformed=sum(each.reformed_objects for each in reports),
            mended=sum(each.mended_parts for each in reports),
            swept=sum(each.swept_objects for each in reports),
            healed_s=healed_s,
            clean_s=clean_s,
        )
