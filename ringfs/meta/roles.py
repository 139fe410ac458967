"""A metadata server on etcd through its life: standby, leader, standby again. One process, one store, one role at a time.

Whoever stops leading drops its live table, which may be ahead of the journal, and opens its store anew. Not here: following the
journal (standby.py), elections (election.py), what a leader does (leader.py, server.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.config import RingConfig
from ringfs.base.errors import Code
from ringfs.base.kv.store import Store, StoreFull
from ringfs.meta.election import Election, LeaderName, Leadership
from ringfs.meta.etcd.interface import Etcd, EtcdFull, EtcdUnavailable, LeaseEnded, Member
from ringfs.meta.journal.etcd import EtcdJournal, open_journal
from ringfs.meta.journal.interface import JournalFailed
from ringfs.meta.leader import Leader
from ringfs.meta.live import Live
from ringfs.meta.namespace import facts
from ringfs.meta.nodes import NodeTable
from ringfs.meta.origin import Origin, settle_origin
from ringfs.meta.registration import Registration
from ringfs.meta.server import MetaServer
from ringfs.meta.sessions import SessionTable
from ringfs.meta.standby import BehindJournal, Standby, check_not_ahead
from ringfs.meta.standby_service import StandbyService
from ringfs.wire.messages.cluster import (
    ROLE_LEADER,
    ROLE_STANDBY,
    ROLE_STARTING,
    EtcdMember,
    GetServer,
    Promote,
    ServerStatus,
)
from ringfs.wire.messages.common import Done
from ringfs.wire.rpc import Handler, Peer, Request

log = structlog.get_logger("ringfs.meta")

Result = TypeVar("Result")

_RETRY_S = 0.25
#: How often etcd's members are asked how they are.
_MEMBERS_S = 5.0


class Serve(Protocol):
    """Serves a handler at this server's address until cancelled; started with the actual address."""

    async def __call__(self, handler: Handler, *, task_status: trio.TaskStatus[str]) -> None:
        """See the class."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """A leadership with what belongs to it, for what runs beside it."""

    leadership: Leadership
    leader: Leader
    journal: EtcdJournal
    live: Live


#: Runs as long as a term; ends by being cancelled.
Duty = Callable[[Term], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Self:
    """What a server is and has. peers: the names of all metadata servers. open_store opens the one store there is; load_snapshot
    fills it anew, while it is closed, from the newest snapshot, and raises UserError if there is none."""

    name: str
    address: str
    peers: tuple[str, ...]
    cluster: str
    default_class: str
    open_store: Callable[[], Store]
    load_snapshot: Callable[[], Awaitable[None]]
    duties: Sequence[Duty] = ()
    #: Of the state directory: what tells two servers of one name apart.
    identity: str = ""
    #: A data node that was down for so long is lost.
    out_after_s: float = RingConfig().out_after_s


class Roles:
    """See the module. prefix: the cluster's in etcd."""

    def __init__(self, me: Self, etcd: Etcd, prefix: bytes, clock: Clock, serve: Serve, *, lease_s: int) -> None:
        self._me = me
        self._etcd = etcd
        self._prefix = prefix
        self._clock = clock
        self._serve = serve
        self._election = Election(etcd, prefix, LeaderName(me.name, me.address), clock, lease_s=lease_s)
        self._registration = Registration(etcd, prefix, me.name, me.identity, me.address)
        self._members: list[Member] = []
        self._standby: Standby | None = None
        #: Of the present term, if we lead.
        self.term: Term | None = None
        #: Position of the newest snapshot that this server knows of, and what is wrong, told in ServerStatus.
        self.snapshot_position = 0
        self.trouble = ""
        #: What the duties of a term have to complain about, by what it is about.
        self.troubles: dict[str, str] = {}
        self._started: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; then the leadership is handed over, and the store has everything. Started when anything is served.

        Raises UserError: what is wrong with the state, with etcd, or with how they fit; StoreFailed.
        """
        self._started = task_status
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_at_members)
            nursery.start_soon(self._registration.keep)
            while True:
                store = self._me.open_store()
                try:
                    is_behind = not await self._live_once(store)
                finally:
                    self.term = self._standby = None
                    store.close()
                if is_behind:
                    await self._load_snapshot()

    async def _load_snapshot(self) -> None:
        """Begin anew from the newest snapshot; who asks meanwhile is told that we do not lead."""
        log.warning("the journal does not reach back to this server's state; loading the newest snapshot")
        async with trio.open_nursery() as nursery:
            await nursery.start(self._serve, StandbyService(self.tell))
            await self._me.load_snapshot()
            nursery.cancel_scope.cancel()

    # --- one life ---------------------------------------------------------------------------------------------------------

    async def _live_once(self, store: Store) -> bool:
        """Stand by, lead, and stop leading. False: the journal does not reach back to the store's state."""
        elected: tuple[Leadership, Standby] | None = None
        async with trio.open_nursery() as nursery:
            address = await nursery.start(self._serve, StandbyService(self.tell))
            self._started.started(address)
            self._started = trio.TASK_STATUS_IGNORED
            with suppress(BehindJournal):
                elected = await self._stand_by(store)
            nursery.cancel_scope.cancel()
        return elected is not None and await self._lead(*elected, store)

    async def _stand_by(self, store: Store) -> tuple[Leadership, Standby]:
        """Until elected. Raises BehindJournal, UserError."""
        origin = await self._until_served(self._settle_origin)
        standby = Standby(store, self._etcd, self._prefix, origin, self._election, self._clock)
        await self._until_served(standby.prepare)
        self._standby = standby
        return await standby.follow(), standby

    def _settle_origin(self) -> Awaitable[Origin]:
        me = self._me
        return settle_origin(self._etcd, self._prefix, Origin(me.cluster, me.default_class, self._clock.wall_ns()))

    async def _until_served(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask etcd until it answers."""
        while True:
            try:
                result = await ask()
            except (EtcdUnavailable, EtcdFull) as error:
                if not self.trouble:
                    log.warning("etcd does not answer; waiting for it", reason=str(error))
                self.trouble = f"etcd does not answer: {error}"
                await trio.sleep(_RETRY_S)
                continue
            if self.trouble:
                log.info("etcd answers")
                self.trouble = ""
            return result

    # --- leading ----------------------------------------------------------------------------------------------------------

    async def _lead(self, leadership: Leadership, standby: Standby, store: Store) -> bool:
        """Until the leadership is lost or handed over. Cancelled: handed over. False: the journal was trimmed past our state."""
        reaches_back = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._election.keep, leadership)
                nursery.start_soon(_cancel_when_lost, leadership, nursery.cancel_scope)
                await self._lead_until_over(leadership, standby, store)
                nursery.cancel_scope.cancel()
        except* (JournalFailed, EtcdUnavailable, EtcdFull, LeaseEnded) as failures:
            log.warning("this server stops leading", term=leadership.term, reason=str(failures.exceptions[0]))
        except* BehindJournal:
            reaches_back = False
        finally:
            await self._election.resign(leadership)
        return reaches_back

    async def _lead_until_over(self, leadership: Leadership, standby: Standby, store: Store) -> None:
        await standby.catch_up()
        term = await self._begin(leadership, standby, store)
        gate = Gate(MetaServer(term.live, self._me.name, self.tell), leadership, self._me.peers)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(term.leader.run)
                nursery.start_soon(gate.server.run)
                for duty in self._me.duties:
                    nursery.start_soon(duty, term)
                await nursery.start(self._serve, gate)
                self.term = term
                log.info("leading", term=leadership.term, position=term.leader.applied, sessions=len(term.live.sessions))
                await gate.handed_over.wait()
                nursery.cancel_scope.cancel()
        finally:
            gate.server.snapshots.close_all()
            if not leadership.is_lost:
                with trio.CancelScope(shield=True):
                    await self._hand_over(term, gate.successor)

    async def _begin(self, leadership: Leadership, standby: Standby, store: Store) -> Term:
        journal = await open_journal(self._etcd, self._prefix, leadership)
        reached = standby.reached
        check_not_ahead(reached.position, journal.last)
        assert journal.last == reached.position, "everything in the journal was applied before its next entry is made"
        leader = Leader(
            store,
            journal,
            self._clock,
            term=leadership.term,
            position=reached.position,
            checkpointed=reached.checkpointed,
            now_ns=reached.now_ns,
            when_certain=leadership.when_certain,
            gathers=True,
        )
        now_ns = self._clock.monotonic_ns()
        sessions = SessionTable(((each.session, each.name) for each in facts.sessions(store)), now_ns)
        nodes = NodeTable(facts.cluster_map(store), now_ns, int(self._me.out_after_s * 1e9))
        live = Live(leader, sessions, nodes, self._clock, facts.default_class(store))
        return Term(leadership, leader, journal, live)

    async def _hand_over(self, term: Term, successor: str) -> None:
        """What was applied is made durable, then others may lead, then the store gets it too."""
        try:
            await term.leader.flush()
            await self._election.resign(term.leadership, successor)
            await term.leader.checkpoint()
        except (JournalFailed, StoreFull) as error:
            log.warning("no clean end of the leadership; the journal has all that was acknowledged", reason=str(error))

    # --- what others are told ----------------------------------------------------------------------------------------------

    def tell(self) -> ServerStatus:
        """The answer to GetServer."""
        term, leader = self.term, self._election.leader
        members = [
            EtcdMember(each.endpoint, each.reason, each.is_leader, each.database_bytes, each.used_bytes, list(each.alarms))
            for each in self._members
        ]
        if term is not None:
            role, number, position = ROLE_LEADER, term.leadership.term, term.leader.applied
        elif self._standby is not None:
            role, number, position = ROLE_STANDBY, self._standby.term, self._standby.reached.position
        else:
            role, number, position = ROLE_STARTING, 0, 0
        return ServerStatus(
            self._me.name,
            role,
            number,
            position,
            leader.name,
            leader.address,
            members,
            self.snapshot_position,
            self._said_trouble(term),
        )

    def note_etcd(self, trouble: str) -> None:
        """What is wrong with etcd."""
        self.troubles["etcd"] = trouble

    def note_snapshot(self, position: int, trouble: str) -> None:
        """Which snapshot is the newest, and what is wrong with snapshots."""
        self.snapshot_position = position
        self.troubles["snapshot"] = trouble

    def _said_trouble(self, term: Term | None) -> str:
        if term is not None and term.journal.is_full:
            return "etcd's database is full"
        of_term = "" if term is None else term.leader.trouble
        return "; ".join(filter(None, (self.trouble, of_term, *self.troubles.values())))

    async def _look_at_members(self) -> None:
        while True:
            self._members = await self._etcd.members()
            await trio.sleep(_MEMBERS_S)


async def _cancel_when_lost(leadership: Leadership, scope: trio.CancelScope) -> None:
    await leadership.lost.wait()
    scope.cancel()


class Gate:
    """The handler of a leader: whatever shows or changes its state waits while it is not certain that nobody else leads."""

    def __init__(self, server: MetaServer, leadership: Leadership, peers: Sequence[str]) -> None:
        self.server = server
        self._leadership = leadership
        self._peers = peers
        #: Who is to lead next, "" for anybody; and that it is time.
        self.successor = ""
        self.handed_over = trio.Event()

    def connected(self, peer: Peer) -> None:
        """See rpc.Handler."""
        self.server.connected(peer)

    def handle(self, request: Request) -> None:
        """See rpc.Handler."""
        message = request.message
        if isinstance(message, Promote):
            self._promote(request, message.name)
        elif isinstance(message, GetServer):
            self.server.handle(request)
        else:
            self._leadership.when_certain(partial(self._handle, request))

    def _handle(self, request: Request) -> None:
        """Whoever asked may have gone meanwhile; it asks again elsewhere."""
        if request.peer.state.is_connected:
            self.server.handle(request)

    def disconnected(self, peer: Peer) -> None:
        """See rpc.Handler."""
        self.server.disconnected(peer)

    def _promote(self, request: Request, name: str) -> None:
        if name not in self._peers:
            request.refuse(Code.NOT_FOUND, f"metadata server {name!r}; there are {', '.join(self._peers)}")
            return
        request.reply(Done())
        self.successor = name
        self.handed_over.set()
