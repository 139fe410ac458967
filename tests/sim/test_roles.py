"""Three metadata servers over a model of etcd, in virtual time: one leads, others follow, each failure has its successor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from ringfs.base.errors import Code, ConnectionLost, Refused, UserError
from ringfs.base.ids import ROOT_INODE
from ringfs.meta.etcd.interface import Delete, Get, prefix_end
from ringfs.meta.journal.etcd import journal_prefix
from ringfs.meta.namespace.check import check
from ringfs.meta.origin import Origin, settle_origin
from ringfs.meta.roles import Roles, Self
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, GetServer, Promote, ServerStatus
from ringfs.wire.messages.namespace import Mkdir
from ringfs.wire.messages.session import Mutate, OpenSession, ResumeSession
from ringfs.wire.rpc import open_client
from tests.support.etcd_model import EtcdModel, ModelClient
from tests.support.meta_doubles import CLUSTER, KEY, MemoryStore, TrioClock
from tests.support.streams import Network

PREFIX = b"/ringfs/"
NAMES = ("meta1", "meta2", "meta3")
#: Longer than an etcd lease, its expiry and an election.
FAILOVER_S = 5


class Server:
    """One metadata server, which can be killed, started, and made to stand still as seen by others."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.address = f"{name}:7000"
        self.identity = f"state of {name}"
        self.etcd = ModelClient(world.model)
        self.store: Any = MemoryStore()
        self.clock = TrioClock()
        self.roles: Roles
        self.ended: BaseException | None = None
        self.is_dead = False
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    async def start(self) -> None:
        """Run it, from what its store has durably."""
        self._scope, self._stopped, self.is_dead = trio.CancelScope(), trio.Event(), False
        me = Self(
            self.name, self.address, NAMES, CLUSTER, "replica:2", self._open_store, self._load_snapshot, identity=self.identity
        )
        serve = partial(_serve, self.world.network, self.address)
        self.roles = Roles(me, self.etcd, PREFIX, self.clock, serve, lease_s=2)
        await self.world.nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[str]) -> None:
        try:
            with self._scope:
                await self.roles.run(task_status=task_status)
        except* UserError as group:
            self.ended = _leaf(group)
        self._stopped.set()

    def _open_store(self) -> Any:
        self.store = self.store.restarted()
        return self.store

    async def _load_snapshot(self) -> None:
        raise UserError("there is no snapshot")

    async def kill(self) -> None:
        """As kill -9: nothing more gets out of it, neither to etcd nor to anybody, and what was not durable is gone."""
        self.etcd.is_cut = self.is_dead = True
        self.world.network.cut(self.address)
        self._scope.cancel()
        # What still runs of it for a while is cut off, and has a store of its own.
        self.store = self.store.restarted()
        self.etcd = ModelClient(self.world.model)
        await trio.lowlevel.checkpoint()

    async def stop(self) -> None:
        """As SIGTERM."""
        self._scope.cancel()
        await self._stopped.wait()

    async def tell(self) -> ServerStatus:
        """What it says of itself."""
        answer: ServerStatus = await self.world.ask(self, GetServer())
        return answer


class World:
    """The servers, etcd, and the network between them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.model = EtcdModel()
        self.network = Network()
        self.servers = [Server(self, name) for name in NAMES]

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["World"]:
        """All of them running."""
        async with trio.open_nursery() as nursery:
            world = cls(nursery)
            for server in world.servers:
                await server.start()
            yield world
            nursery.cancel_scope.cancel()

    async def ask(self, server: Server, *requests: Any) -> Any:
        """The answer to the last of some requests, over a connection of their own."""
        async with open_client(server.address, KEY, name="test", dial=self.network.dial) as client:
            for request in requests:
                answer = (await client.call(request, timeout_s=5)).message
            return answer

    async def leader(self) -> Server:
        """Who leads, once somebody does."""
        with trio.fail_after(60):
            while True:
                for server in self.servers:
                    if not server.is_dead and server.roles.term is not None and server.roles.term.leadership.uncertain_ns() < 0:
                        return server
                await trio.sleep(0.1)
        raise AssertionError

    async def make_directory(self, server: Server, name: bytes, session: int, number: int) -> None:
        """At this server, as request `number` of a session."""
        make = Mkdir(ROOT_INODE, name, 0o755, 0, 0, 0)
        await self.ask(server, ResumeSession(session, [], False), Mutate(session, number, number, make))

    async def session(self, server: Server) -> int:
        """A new one."""
        opened: int = (await self.ask(server, OpenSession("test"))).session
        return opened

    def check_same(self) -> None:
        """All servers have the leader's state, and it is right."""
        states = {server.name: dict(server.store.pairs()) for server in self.servers}
        assert len({tuple(sorted(state.items())) for state in states.values()}) == 1
        assert not [str(finding) for finding in check(self.servers[0].store)]


def _leaf(error: BaseException) -> BaseException:
    return _leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _serve(network: Network, address: str, handler: Any, *, task_status: trio.TaskStatus[str]) -> None:
    await network.serve(handler, KEY, address, task_status=task_status)


async def test_one_leads_and_the_others_follow(autojump_clock: object) -> None:
    """What the leader acknowledges is soon in every store; standbys say who leads, and refuse the rest."""
    async with World.open() as world:
        leader = await world.leader()
        session = await world.session(leader)
        for number in range(1, 20):
            await world.make_directory(leader, b"d%d" % number, session, number)
        await trio.sleep(1)
        world.check_same()
        for server in world.servers:
            told = await server.tell()
            assert told.role == (ROLE_LEADER if server is leader else ROLE_STANDBY)
            assert (told.leader, told.leader_address) == (leader.name, leader.address)
            if server is not leader:
                with pytest.raises(Refused) as refused:
                    await world.session(server)
                assert (refused.value.code, refused.value.detail) == (Code.NOT_LEADER, leader.address)


async def test_a_killed_leader_is_succeeded(autojump_clock: object) -> None:
    """By a standby that has all that was acknowledged, in a newer term; the dead one comes back as a standby."""
    async with World.open() as world:
        first = await world.leader()
        assert first.roles.term is not None
        term = first.roles.term.leadership.term
        session = await world.session(first)
        await world.make_directory(first, b"kept", session, 1)
        await first.kill()
        with trio.fail_after(FAILOVER_S):
            second = await world.leader()
        assert second is not first
        assert second.roles.term is not None
        assert second.roles.term.leadership.term > term
        await world.make_directory(second, b"kept", session, 1)
        await first.start()
        await trio.sleep(1)
        assert (await first.tell()).role == ROLE_STANDBY
        world.check_same()


async def test_standbys_know_the_term_of_a_leader_that_has_done_nothing(autojump_clock: object) -> None:
    """Who asks them learns at once that whoever led before does so no more."""
    async with World.open() as world:
        first = await world.leader()
        session = await world.session(first)
        await world.make_directory(first, b"kept", session, 1)
        await first.kill()
        second = await world.leader()
        await trio.sleep(0.1)
        terms = [(await server.tell()).term for server in world.servers if server is not first]
        assert second.roles.term is not None
        assert terms == [second.roles.term.leadership.term] * 2


async def test_a_stopped_leader_hands_over_at_once(autojump_clock: object) -> None:
    """SIGTERM does not wait for a lease to end."""
    async with World.open() as world:
        first = await world.leader()
        with trio.fail_after(1):
            await first.stop()
            first.is_dead = True
            assert await world.leader() is not first


async def test_promotion(autojump_clock: object) -> None:
    """The server that was named leads within a second; one that does not exist is refused."""
    async with World.open() as world:
        first = await world.leader()
        wanted = next(server for server in world.servers if server is not first)
        with pytest.raises(Refused, match="meta9"):
            await world.ask(first, Promote("meta9"))
        with suppress(ConnectionLost):
            await world.ask(first, Promote(wanted.name))
        with trio.fail_after(1):
            while await world.leader() is not wanted:  # noqa: ASYNC110 -- virtual time
                await trio.sleep(0.05)


async def test_a_leader_that_is_cut_off_answers_nothing(autojump_clock: object) -> None:
    """It cannot know whether somebody else leads; when it can, it stands by and has the new leader's state."""
    async with World.open() as world:
        first = await world.leader()
        session = await world.session(first)
        await world.make_directory(first, b"a", session, 1)
        first.etcd.is_cut = True
        await trio.sleep(3)
        with pytest.raises(ConnectionLost):
            await world.make_directory(first, b"lost", session, 2)
        second = await world.leader()
        assert second is not first
        await world.make_directory(second, b"b", session, 2)
        first.etcd.is_cut = False
        await trio.sleep(3)
        assert (await first.tell()).role == ROLE_STANDBY
        world.check_same()


async def test_a_leader_that_learns_it_by_an_append_stands_by(autojump_clock: object) -> None:
    """Its lease lives, but its key is gone: what it had applied and etcd refused is dropped, and nothing waits for it."""
    async with World.open() as world:
        first = await world.leader()
        session = await world.session(first)
        world.model.transact([], [Delete(PREFIX + b"leader")], [])
        with pytest.raises(ConnectionLost):
            await world.make_directory(first, b"lost", session, 1)
        await trio.sleep(FAILOVER_S)
        second = await world.leader()
        await world.make_directory(second, b"kept", session, 1)
        await trio.sleep(3)
        assert {(await server.tell()).role for server in world.servers if server is not second} == {ROLE_STANDBY}
        world.check_same()


async def test_without_a_quorum_everybody_waits(autojump_clock: object) -> None:
    """For a while the leader holds its requests, and goes on in its term; nothing was acknowledged meanwhile."""
    async with World.open() as world:
        leader = await world.leader()
        session = await world.session(leader)
        world.model.has_quorum = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.make_directory, leader, b"a", session, 1)
            await trio.sleep(4)
            world.model.regain_quorum()
        assert await world.leader() is leader
        await trio.sleep(1)
        world.check_same()


async def test_a_server_that_joins_with_an_empty_disk(autojump_clock: object) -> None:
    """It makes the whole state from the journal."""
    async with World.open() as world:
        leader = await world.leader()
        late = next(server for server in world.servers if server is not leader)
        await late.kill()
        session = await world.session(leader)
        for number in range(1, 200):
            await world.make_directory(leader, b"d%d" % number, session, number)
        late.store = MemoryStore()
        await late.start()
        await trio.sleep(1)
        world.check_same()


async def test_a_state_ahead_of_etcd_is_refused(autojump_clock: object) -> None:
    """etcd was restored from an older backup: nobody guesses."""
    async with World.open() as world:
        leader = await world.leader()
        session = await world.session(leader)
        await world.make_directory(leader, b"a", session, 1)
        backup = world.model.pairs()
        await world.make_directory(leader, b"b", session, 2)
        await leader.roles.term.leader.checkpoint()  # type: ignore[union-attr]
        await leader.kill()
        world.model.restore({key: value for key, value in backup.items() if key != PREFIX + b"leader"})
        world.nursery.start_soon(_ignoring_its_end, leader)
        await trio.sleep(1)
        assert "etcd has lost transactions" in str(leader.ended)


async def _ignoring_its_end(server: Server) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.start)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()


async def test_another_clusters_etcd_is_refused(autojump_clock: object) -> None:
    """Whatever is in it."""
    async with World.open() as world:
        leader = await world.leader()
        await leader.kill()
        await leader.etcd.transact([], [Delete(PREFIX, prefix_end(PREFIX))])
        await settle_origin(leader.etcd, PREFIX, Origin("another", "replica:2", 1))
        world.nursery.start_soon(_ignoring_its_end, leader)
        await trio.sleep(1)
        assert "etcd has cluster another" in str(leader.ended)


async def test_the_journal_is_trimmed_behind_a_standby(autojump_clock: object) -> None:
    """It has to load a snapshot, and says that there is none."""
    async with World.open() as world:
        leader = await world.leader()
        late = next(server for server in world.servers if server is not leader)
        await late.kill()
        session = await world.session(leader)
        for number in range(1, 5):
            await world.make_directory(leader, b"d%d" % number, session, number)
        assert leader.roles.term is not None
        leader.roles.term.journal.snapshot_position = 4
        await leader.roles.term.journal.trim(4)
        journal = journal_prefix(PREFIX)
        assert len((await leader.etcd.transact([], [Get(journal, prefix_end(journal))])).found[0]) < 5
        late.store = MemoryStore()
        await late.start()
        await trio.sleep(1)
        assert "no snapshot" in str(late.ended)


async def test_two_servers_with_one_name(autojump_clock: object) -> None:
    """The second one says so and ends; one that was killed, and one on a new disk, get their name when the old lease has ended."""
    async with World.open() as world:
        await world.leader()
        await trio.sleep(1)
        twin = Server(world, "meta2")
        twin.address, twin.identity = "elsewhere:7000", "another state"
        await twin.start()
        await trio.sleep(30)
        assert "another metadata server is named meta2 (at meta2:7000" in str(twin.ended)
        second = world.servers[1]
        await second.kill()
        await second.start()
        await trio.sleep(30)
        assert second.ended is None
        await second.kill()
        second.identity, second.store = "a new disk", MemoryStore()
        await second.start()
        await trio.sleep(30)
        assert second.ended is None
        world.check_same()


async def on_a_new_disk(world: World) -> Server:
    """The second server was killed and has just been started on another disk: its old lease still has its name."""
    await world.leader()
    await trio.sleep(1)
    second = world.servers[1]
    await second.kill()
    second.identity, second.store = "a new disk", MemoryStore()
    await second.start()
    return second


async def test_an_outage_of_etcd_is_not_counted_against_a_new_disk(autojump_clock: object) -> None:
    """etcd's new leader gives the lease of the server that was there before its whole time again."""
    async with World.open() as world:
        second = await on_a_new_disk(world)
        await trio.sleep(3)
        world.model.has_quorum = False
        await trio.sleep(22)
        world.model.regain_quorum()
        await trio.sleep(30)
        assert second.ended is None
        world.check_same()


async def test_elections_in_etcd_that_nobody_noticed_are_not_counted_either(autojump_clock: object) -> None:
    """Each of them does the same."""
    async with World.open() as world:
        second = await on_a_new_disk(world)
        for seconds in (3, 5):
            await trio.sleep(seconds)
            world.model.regain_quorum()
        await trio.sleep(30)
        assert second.ended is None


async def test_wall_clocks_that_jump(autojump_clock: object) -> None:
    """A leader whose clock is hours behind gives out times that never go back."""
    async with World.open() as world:
        first = await world.leader()
        session = await world.session(first)
        assert first.roles.term is not None
        before_ns = first.roles.term.leader.tell_now_ns()
        await world.make_directory(first, b"before", session, 1)
        for server in world.servers:
            server.clock.wall_offset_ns -= 5 * 3600 * 10**9
        await first.kill()
        second = await world.leader()
        await world.make_directory(second, b"after", session, 2)
        assert second.roles.term is not None
        assert second.roles.term.leader.tell_now_ns() >= before_ns
        assert second.roles.term.leadership.uncertain_ns() < 0


async def test_a_slow_standby(autojump_clock: trio.testing.MockClock) -> None:
    """To apply a batch takes it longer than it ever waits for news: what it was told is applied all the same."""
    async with World.open() as world:
        leader = await world.leader()
        slow = next(server for server in world.servers if server is not leader)
        apply = slow.store.apply

        def apply_slowly(changes: Any) -> None:
            autojump_clock.jump(0.01)
            apply(changes)

        slow.store.apply = apply_slowly
        session = await world.session(leader)
        async with open_client(leader.address, KEY, name="test", dial=world.network.dial) as client, trio.open_nursery() as nursery:
            await client.call(ResumeSession(session, [], False))
            for number in range(1, 151):
                make = Mkdir(ROOT_INODE, b"d%d" % number, 0o755, 0, 0, 0)
                nursery.start_soon(client.call, Mutate(session, number, 1, make))
        await trio.sleep(5)
        assert slow.ended is None
        world.check_same()


async def test_an_answer_that_waited_is_not_given_by_a_deposed_leader(autojump_clock: object) -> None:
    """A question waits for another session until somebody else leads: what the old leader would say then is not said."""
    async with World.open() as world:
        first = await world.leader()
        assert first.roles.term is not None
        answered: list[str] = []
        leader, leadership = first.roles.term.leader, first.roles.term.leadership
        first.etcd.is_cut = True
        await trio.sleep(2)
        assert not leadership.is_certain()
        leader.when_durable(answered.append, "stale")
        first.etcd.is_cut = False
        with trio.fail_after(FAILOVER_S):
            await leadership.lost.wait()
        await trio.sleep(1)
        assert answered == []


async def test_an_answer_waits_while_etcd_has_no_leader(autojump_clock: object) -> None:
    """And is given in the same term, once that has one again."""
    async with World.open() as world:
        first = await world.leader()
        assert first.roles.term is not None
        leader, leadership = first.roles.term.leader, first.roles.term.leadership
        answered: list[str] = []
        world.model.has_quorum = False
        await trio.sleep(3)
        leader.when_durable(answered.append, "right")
        assert answered == []
        world.model.regain_quorum()
        await trio.sleep(2)
        assert not leadership.is_lost
        assert answered == ["right"]


async def test_etcd_away_for_long(autojump_clock: object) -> None:
    """The leader gives up rather than let requests pile up; when etcd is back somebody leads, with all that was acknowledged."""
    async with World.open() as world:
        first = await world.leader()
        session = await world.session(first)
        await world.make_directory(first, b"kept", session, 1)
        world.model.has_quorum = False
        await trio.sleep(15)
        told = await first.tell()
        assert told.role != ROLE_LEADER
        world.model.regain_quorum()
        await trio.sleep(5)
        leader = await world.leader()
        await world.make_directory(leader, b"kept", session, 1)
        await trio.sleep(1)
        world.check_same()


async def test_elected_behind_the_journal(autojump_clock: object) -> None:
    """A server that fell behind what was trimmed, and is elected before it has noticed, gives way and loads a snapshot."""
    async with World.open() as world:
        first = await world.leader()
        others = [server for server in world.servers if server is not first]
        session = await world.session(first)
        world.model.silence_watches()
        for number in range(1, 5):
            await world.make_directory(first, b"d%d" % number, session, number)
        assert first.roles.term is not None
        first.roles.term.journal.snapshot_position = 4
        await first.roles.term.journal.trim(4)
        await first.kill()
        await trio.sleep(10)
        assert {str(server.ended) for server in others} == {"there is no snapshot"}
        assert not world.model.pairs(PREFIX + b"leader")
