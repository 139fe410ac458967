"""One seed of the simulation of failover: clients at work, faults, and then the laws. The same seed does the same again.

run(seed) raises AssertionError that says what is wrong, and tells the faults up to there as a story.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from ringfs.base.checksums import plain_digest
from ringfs.meta.namespace import facts
from tests.support.failover_checkers import find_broken_laws
from tests.support.failover_client import Client
from tests.support.failover_faults import Faults
from tests.support.failover_server import Server
from tests.support.failover_workloads import KINDS, Workload, workloads
from tests.support.failover_world import FailoverWorld, open_failover_world
from tests.support.virtual_time import run_in_virtual_time

CLIENTS = 3
#: Virtual: how long things go wrong, and how long everybody may take to go on afterwards.
FAULTS_S = 20.0
RECOVERY_S = 90.0
#: After so long without work every server has written its state.
_QUIET_S = 15.0
#: In which the sessions of clients that died end, whoever leads by then.
_SESSIONS_END_S = 120.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    steps: int
    transactions: int
    terms: int
    faults: int
    checkpoints: int
    #: Snapshots that servers began from.
    loads: int
    #: Of all that etcd took and all states that were written: the same for the same seed, in any process.
    digest: str


def run(seed: int, kinds: tuple[str, ...] = KINDS, seconds: float = FAULTS_S) -> Report:
    """See the module."""
    return run_in_virtual_time(Run(seed, kinds, seconds).go)


class Run:
    """One seed."""

    def __init__(self, seed: int, kinds: tuple[str, ...], seconds: float) -> None:
        self._seed = seed
        self._kinds = kinds
        self._seconds = seconds
        self._story: list[str] = []

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
        works = list(workloads(self._kinds, world.draw, CLIENTS).values())
        clients = [await Client.start(world, index, works) for index in range(CLIENTS)]
        for work in works:
            await work.prepare(clients[0].mounted.fs)
        await self._work(world, clients)
        findings = await self._verify(world, clients, works)
        position = await self._become_quiet(world)
        findings += _lagging(world, list(world.servers), position)
        findings += await self._begin_from_nothing(world, position)
        findings += find_broken_laws(world.record, world.origin())
        findings += world.failures()
        assert not findings, "\n".join(findings)
        return Report(
            steps=sum(client.step_count for client in clients),
            transactions=position,
            terms=len({each.leader_revision for each in world.record.appended}),
            faults=len(self._story),
            checkpoints=len(world.record.checkpointed),
            loads=sum(server.loaded_count for server in world.servers.values()),
            digest=plain_digest(repr(world.record).encode(), 8).hex(),
        )

    async def _work(self, world: FailoverWorld, clients: list[Client]) -> None:
        faults = Faults(world, clients)
        self._story = faults.story
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.run)
            with trio.move_on_after(self._seconds + RECOVERY_S) as scope:
                await faults.run(self._seconds)
            assert not scope.cancelled_caught, f"not whole again: {faults.busy}, {world.failures()}"
            for client in clients:
                client.finish()
            nursery.cancel_scope.deadline = trio.current_time() + RECOVERY_S
        steps = [client.step_count for client in clients]
        assert not nursery.cancel_scope.cancelled_caught, f"somebody does not go on: {steps}, {world.failures()}"

    async def _verify(self, world: FailoverWorld, clients: list[Client], works: Sequence[Workload]) -> list[str]:
        """What workloads and clients have to say; then nobody is mounted any more."""
        for client in clients:
            await client.mounted.fs.sync()
        findings = [f"{client.name} was told what is not so" for client in clients if client.mounted.fs.mistake_count]
        reader = await world.mount("reader")
        for work in works:
            findings += await work.verify(reader.fs)
        for mounted in (reader, *(client.mounted for client in clients)):
            await mounted.close()
        return findings

    async def _become_quiet(self, world: FailoverWorld) -> int:
        """Until all sessions have ended and every server had time to write its state: the position that all must have reached."""
        with trio.move_on_after(_SESSIONS_END_S):
            while any(facts.sessions(_leader(world).store)):  # noqa: ASYNC110 -- virtual time
                await trio.sleep(1.0)
        position = _leader(world).roles.tell().position
        await trio.sleep(_QUIET_S)
        return position

    async def _begin_from_nothing(self, world: FailoverWorld, position: int) -> list[str]:
        """etcd and the ring give everything back to a server whose disk is empty."""
        server = world.servers[world.draw.choice(list(world.servers))]
        server.crash()
        await server.wait_gone()
        server.wipe()
        before = len(world.record.checkpointed)
        await server.start()
        await trio.sleep(_QUIET_S)
        return _lagging(world, [server.name], position, since=before)


def _leader(world: FailoverWorld) -> Server:
    leading = world.leading()
    assert leading is not None, "somebody leads when all is quiet"
    return leading


def _lagging(world: FailoverWorld, names: Sequence[str], position: int, since: int = 0) -> list[str]:
    reached = dict.fromkeys(names, 0)
    for each in world.record.checkpointed[since:]:
        if each.server in reached:
            reached[each.server] = max(reached[each.server], each.position)
    return [f"{name} is at {last}, and {position} is long over" for name, last in reached.items() if last < position]
