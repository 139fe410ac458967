"""One seed of the simulation of failover: clients at work, faults, and then the laws. The same seed does the same again.

run(seed) raises AssertionError that says what is wrong, and tells the faults up to there as a story.
"""

from dataclasses import dataclass

import trio
from trio.testing import MockClock

from ringfs.base.errors import Refused
from ringfs.meta.origin import Origin
from ringfs.wire.packing import unpack
from tests.support.failover_checkers import find_broken_laws
from tests.support.failover_faults import Faults
from tests.support.failover_workloads import KINDS, Workload, workloads
from tests.support.failover_world import PREFIX, FailoverWorld, open_failover_world
from tests.support.world import Mounted

CLIENTS = 3
#: Virtual: how long things go wrong, and how long everybody may take to go on afterwards.
FAULTS_S = 20.0
RECOVERY_S = 60.0
#: Steps that each client does after the last fault.
_STEPS_AFTERWARDS = 5
#: Between two steps of a client: bursts, and times when nothing is asked.
_PAUSES_S = (0.0, 0.0, 0.02, 0.5, 1.5)
#: After so long without work every server has written its state.
_QUIET_S = 15.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    steps: int
    transactions: int
    terms: int
    faults: int
    checkpoints: int


def run(seed: int, kinds: tuple[str, ...] = KINDS, seconds: float = FAULTS_S) -> Report:
    """See the module."""
    return trio.run(Run(seed, kinds, seconds).go, clock=MockClock(autojump_threshold=0))


class Run:
    """One seed."""

    def __init__(self, seed: int, kinds: tuple[str, ...], seconds: float) -> None:
        self._seed = seed
        self._kinds = kinds
        self._seconds = seconds
        self._story: list[str] = []
        self._steps = [0] * CLIENTS
        self._faults_are_over = False

    async def go(self) -> Report:
        """All of it."""
        try:
            async with open_failover_world(self._seed) as world:
                return await self._in(world)
        except BaseException as error:
            error.add_note(f"seed {self._seed}, workloads {' '.join(self._kinds)}; what went wrong:")
            for line in self._story:
                error.add_note(line)
            raise
        raise AssertionError("a world ends with a report")

    async def _in(self, world: FailoverWorld) -> Report:
        clients = [await world.mount(f"client{index}") for index in range(CLIENTS)]
        works = workloads(self._kinds, world.draw, CLIENTS)
        for work in works.values():
            await work.prepare(clients[0].fs)
        await self._work(world, clients, works)
        findings = await self._verify(world, clients, works)
        position = await self._become_quiet(world, clients)
        findings += self._lagging(world, position)
        findings += find_broken_laws(world.record, _origin(world))
        findings += world.failures()
        assert not findings, "\n".join(findings)
        terms = {each.leader_revision for each in world.record.appended}
        steps = sum(self._steps)
        return Report(steps, position, len(terms), len(self._story), len(world.record.checkpointed))

    async def _work(self, world: FailoverWorld, clients: list[Mounted], works: dict[str, Workload]) -> None:
        faults = Faults(world, clients)
        self._story = faults.story
        async with trio.open_nursery() as nursery:
            for index, client in enumerate(clients):
                nursery.start_soon(self._act, world, index, client, list(works.values()))
            with trio.move_on_after(self._seconds + RECOVERY_S) as scope:
                await faults.run(self._seconds)
            assert not scope.cancelled_caught, f"not whole again: {faults.busy}, {world.failures()}"
            self._faults_are_over = True
            nursery.cancel_scope.deadline = trio.current_time() + RECOVERY_S
        assert not nursery.cancel_scope.cancelled_caught, f"somebody does not go on: {self._steps}, {world.failures()}"

    async def _act(self, world: FailoverWorld, index: int, client: Mounted, works: list[Workload]) -> None:
        left, draw = _STEPS_AFTERWARDS, world.draw
        while left:
            try:
                await draw.choice(works).step(index, client.fs)
            except Refused as refused:
                raise AssertionError(f"an application on client {index} sees an error: {refused!r}") from refused
            self._steps[index] += 1
            left -= self._faults_are_over
            await trio.sleep(draw.choice(_PAUSES_S) * draw.random())

    async def _verify(self, world: FailoverWorld, clients: list[Mounted], works: dict[str, Workload]) -> list[str]:
        for client in clients:
            await client.fs.sync()
        findings = [f"client {index} was told what is not so" for index, client in enumerate(clients) if client.fs.mistake_count]
        reader = await world.mount("reader")
        for work in works.values():
            findings += await work.verify(reader.fs)
        await reader.close()
        return findings

    async def _become_quiet(self, world: FailoverWorld, clients: list[Mounted]) -> int:
        """Everybody leaves, and the servers have time to write their states: the position that all must have reached."""
        for client in clients:
            await client.close()
        leading = world.leading()
        assert leading is not None
        assert leading.roles.term is not None
        position = leading.roles.term.leader.applied
        await trio.sleep(_QUIET_S)
        return position

    def _lagging(self, world: FailoverWorld, position: int) -> list[str]:
        reached = dict.fromkeys(world.servers, 0)
        for each in world.record.checkpointed:
            reached[each.server] = max(reached[each.server], each.position)
        return [f"{name} is at {last}, and {position} is long over" for name, last in reached.items() if last < position]


def _origin(world: FailoverWorld) -> Origin:
    """Where the journal begins, as etcd has it."""
    pair = world.etcd.pair(PREFIX + b"format")
    assert pair is not None
    return Origin(*unpack(pair.value)[1:])
