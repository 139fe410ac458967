"""What the services of the metadata server share: the leader and all volatile state, and the few acts that need several of them.

Volatile state is what a restart may forget: liveness, connections, open inodes, leases, who waits for locks, nodes' reports.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.ids import NO_SESSION
from ringfs.base.limits import REQUESTS_IN_FLIGHT_MAX, REQUESTS_URGENT
from ringfs.meta.heals import HealTable
from ringfs.meta.leader import Leader
from ringfs.meta.leases import LeaseTable, Ticket
from ringfs.meta.lock_waits import LockWaits
from ringfs.meta.namespace.facts import counters
from ringfs.meta.namespace.locks import held_on
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.namespace.system import FreeOrphans
from ringfs.meta.namespace.usage import is_limited
from ringfs.meta.nodes import NodeTable
from ringfs.meta.opens import OpenTable
from ringfs.meta.sessions import Session, SessionTable
from ringfs.ring.classes import parse_class
from ringfs.wire.messages.cluster import ClusterMap, MapChanged
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.locks import OWNERS_MAX, LockFreed
from ringfs.wire.messages.session import Recall, RecallItem
from ringfs.wire.rpc import Peer, Request

#: Requests of one peer that may wait for other sessions: all but the urgent ones, so that what others wait for (RecallDone,
#: a Commit, Heartbeat) always gets in.
WAITING_MAX = REQUESTS_IN_FLIGHT_MAX - REQUESTS_URGENT
#: Whether there is space for what a session did ahead is looked at so often.
SPACE_RETRY_NS = 10**9
#: While a quota is about to be set nothing is delegated: for so long, unless it takes longer.
QUOTA_PAUSE_NS = 10**9
#: A session that renews its leases but leaves a recall unconfirmed for so long is ended.
RECALL_TIMEOUT_NS = 60 * 10**9
#: Orphans that one transaction frees.
_FREED_TOGETHER_MAX = 64

log = structlog.get_logger("ringfs.meta")


class PeerState:
    """What the server keeps with a connection (Peer.state)."""

    __slots__ = ("is_connected", "sessions", "waiting_count")

    def __init__(self) -> None:
        self.is_connected = True
        #: Sessions whose peer this is.
        self.sessions: set[int] = set()
        #: Its requests that wait in a task of their own.
        self.waiting_count = 0


class Live:
    """See the module. Fields are public: this is one state, looked at by several services."""

    def __init__(self, leader: Leader, sessions: SessionTable, nodes: NodeTable, clock: Clock, default_class: str) -> None:
        self.leader = leader
        self.default_class = default_class
        self.sessions = sessions
        self.nodes = nodes
        self.heals = HealTable()
        self.clock = clock
        self.opens = OpenTable()
        #: There are quotas, or were since the start: what they limit is not delegated, so that nothing is done that they forbid.
        self.has_quotas = counters(leader.view).quota_count > 0
        #: Until then (monotonic) nothing is delegated: a quota waits for all that is.
        self.no_delegations_until_ns = 0
        self.leases = LeaseTable(self.opens, may_delegate=self._may_delegate)
        self.lock_waits = LockWaits()
        #: Set once no unknown session can hold leases from before the restart.
        self.grace_over = trio.Event()
        #: Set once it is known what space there is: a new leader has that from the nodes' heartbeats.
        self.space_known = trio.Event()
        self.look_at_grace()
        self.look_at_space()

    def _may_delegate(self, inode: int) -> bool:
        if not self.has_quotas:
            return True
        return self.clock.monotonic_ns() >= self.no_delegations_until_ns and not is_limited(self.leader.view, inode)

    def take_back_all(self) -> list[Ticket]:
        """The recalls after which nobody acts ahead on anything, if there are any: what a quota limits is about to change. Until
        it has, little is delegated anew."""
        tickets = self.leases.take_back(NO_SESSION, self.leases.all_delegated())
        if tickets:
            self.no_delegations_until_ns = self.clock.monotonic_ns() + QUOTA_PAUSE_NS
        return tickets

    # --- requests -----------------------------------------------------------------------------------------------------

    def reply(self, request: Request, answer: Any) -> None:
        """Answer once everything applied by now is durable."""
        if isinstance(answer, Refused):
            self.leader.when_durable(request.refuse, answer.code, answer.detail)
        else:
            self.leader.when_durable(request.reply, answer)

    def session_of(self, request: Request, number: int) -> Session:
        """The session that a request names, which must be at home on the request's connection."""
        session = self.sessions.get(number)
        if session.peer is not request.peer:
            raise Refused(Code.BAD_REQUEST, f"session {number} is not resumed on this connection")
        session.heard_ns = self.clock.monotonic_ns()
        return session

    def wait_then(self, request: Request, wait: Callable[[], Awaitable[None]], act: Callable[[], None]) -> None:
        """Await wait() in a task of the request's peer, then call act(); a Refused of it is the answer."""
        state: PeerState = request.peer.state
        assert state.is_connected, "only requests of a session that is at home on its connection wait"
        if request.peer.start_soon(self._wait_then, request, wait, act):
            state.waiting_count += 1

    async def _wait_then(self, request: Request, wait: Callable[[], Awaitable[None]], act: Callable[[], None]) -> None:
        try:
            await wait()
        finally:
            request.peer.state.waiting_count -= 1
        try:
            act()
        except Refused as refused:
            self.reply(request, refused)

    def check_may_wait(self, request: Request) -> None:
        """Refused OVERLOADED if too many requests of the peer wait already."""
        if request.peer.state.waiting_count >= WAITING_MAX:
            raise Refused(Code.OVERLOADED, f"{WAITING_MAX} requests wait for other sessions")

    def capacity(self) -> tuple[int, int]:
        """(total, free) bytes that users can store under the default class."""
        return self.nodes.capacity(parse_class(self.default_class))

    # --- recalls ------------------------------------------------------------------------------------------------------

    def send_recalls(self) -> None:
        """Send what the lease table has to send. A session without connection learns of it when it resumes."""
        for ticket in self.leases.poll_recalls():
            self.send_recall(ticket)

    def send_recall(self, ticket: Ticket) -> None:
        """Send one recall, if its session has a connection."""
        session = self.sessions.find(ticket.session)
        if session is not None and session.peer is not None:
            session.peer.push(Recall(ticket.serial, [RecallItem(inode, ticket.kind) for inode in ticket.inodes]))

    async def settled(self, tickets: list[Ticket]) -> None:
        """Wait until each recall is confirmed or void. It ends: leases end, and a session that only renews them is revoked."""
        deadline_ns = self.clock.monotonic_ns() + RECALL_TIMEOUT_NS
        for ticket in tickets:
            while not ticket.settled:
                await self._wait_for(ticket, deadline_ns)

    async def _wait_for(self, ticket: Ticket, deadline_ns: int) -> None:
        session = self.sessions.find(ticket.session)
        assert session is not None, "recalls to a session that has ended are settled"
        now_ns = self.clock.monotonic_ns()
        if now_ns >= session.lease_end_ns:
            # It has to resume, and to say what it has open, before it is heard again.
            self.detach(session, close=True)
            self.leases.lapse(session.number)
            return
        is_due = now_ns >= deadline_ns
        if is_due and not session.ahead_from:
            self.revoke(session)
        event = trio.Event()
        ticket.waiters.append(event.set)
        until_ns = session.lease_end_ns
        if not session.revoked:
            # It cannot obey while what it did ahead finds no space here.
            until_ns = min(until_ns, now_ns + SPACE_RETRY_NS if is_due else deadline_ns)
        with trio.move_on_after((until_ns - now_ns) / 1e9):
            await event.wait()

    def revoke(self, session: Session) -> None:
        """Renew its leases no more: when they have ended, so does the session."""
        if not session.revoked:
            log.warning("session does not obey recalls; it is ended", session=session.number, name=session.name)
            session.revoked = True
            self.detach(session, close=True)

    # --- locks --------------------------------------------------------------------------------------------------------

    def wake_lock_waiters(self, inodes: Iterable[int]) -> None:
        """Locks of these files were given back, or somebody waits for them no more: tell who may try again."""
        if not self.lock_waits.count:
            return
        told: dict[int, list[int]] = {}
        for inode in inodes:
            for wait in self.lock_waits.wake(inode, list(held_on(self.leader.view, inode))):
                told.setdefault(wait.session, []).append(wait.number)
        for number, waiters in told.items():
            session = self.sessions.find(number)
            assert session is not None and session.peer is not None, "a session without connection has no waiters"  # noqa: PT018
            for start in range(0, len(waiters), OWNERS_MAX):
                session.peer.push(LockFreed(waiters[start : start + OWNERS_MAX]))

    # --- connections --------------------------------------------------------------------------------------------------

    def attach(self, session: Session, peer: Peer) -> None:
        """The session is at home on this connection from now on."""
        if session.peer is not peer:
            self.detach(session, close=True)
            if peer.state.is_connected:
                session.peer = peer
                peer.state.sessions.add(session.number)

    def detach(self, session: Session, *, close: bool) -> None:
        """The session has no connection any more."""
        peer, session.peer = session.peer, None
        session.resuming, session.behind = {}, None
        self.wake_lock_waiters(self.lock_waits.drop(session.number))
        if peer is not None:
            peer.state.sessions.discard(session.number)
            if close and not peer.state.sessions:
                peer.close("its session went elsewhere or ended")

    # --- acts of the leader's own ------------------------------------------------------------------------------------------

    def transact_own(self, operation: Any) -> Any:
        """Apply a transaction of the leader's own; only from work given to Leader.admit. Its answer, or a Refused."""
        return self.leader.transact(Transaction(NO_SESSION, 0, 0, 0, [], operation), frees=True).answer

    def take_map(self, cluster_map: ClusterMap) -> None:
        """The map as a transaction left it; pushed to the sessions once that is durable."""
        if cluster_map.epoch != self.nodes.map.epoch:
            self.nodes.take_map(cluster_map, self.clock.monotonic_ns())
            self.look_at_space()
            self.leader.when_durable(self._push_map, cluster_map)

    def _push_map(self, cluster_map: ClusterMap) -> None:
        for session in self.sessions:
            if session.peer is not None:
                session.peer.push(MapChanged(cluster_map))

    def free_orphans(self, session: int, orphans: list[int]) -> Any:
        """The session keeps these alive no longer; as transact_own. A few at a time: a transaction looks through all that it has
        changed for each of them."""
        answer: Any = Done()
        for start in range(0, len(orphans), _FREED_TOGETHER_MAX):
            answer = self.transact_own(FreeOrphans(session, orphans[start : start + _FREED_TOGETHER_MAX]))
            if isinstance(answer, Refused):
                break
        return answer

    def look_at_space(self) -> None:
        """Let those go who wait to be told what space there is, once the nodes that are up have said what they have."""
        if not self.space_known.is_set() and self.nodes.has_told_space():
            self.space_known.set()

    def look_at_grace(self) -> None:
        """Let waiting requests go if the grace period is over."""
        if not self.sessions.missing_count:
            self.leases.overruns.nobody_missing()
        if not self.grace_over.is_set() and not self.sessions.in_grace(self.clock.monotonic_ns()):
            self.grace_over.set()
