"""OpenSession, ResumeSession, Heartbeat, CloseSession, RecallDone: the life of sessions. All are answered in the grace period.

Not here: what a session does in its life (namespace_service.py), the state it leaves in the namespace (namespace/system.py).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from ringfs.base.errors import Code, Refused
from ringfs.meta.live import Live
from ringfs.meta.namespace.facts import orphans_of
from ringfs.meta.namespace.system import BeginSession, EndSession
from ringfs.meta.opens import OPENS_MAX
from ringfs.meta.sessions import Session
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.session import (
    OPEN_DIRTY,
    OPEN_WRITE,
    CloseSession,
    Heartbeat,
    OpenSession,
    RecallDone,
    ResumeSession,
    SessionOpened,
)
from ringfs.wire.rpc import Peer, Request

log = structlog.get_logger("ringfs.meta")


class SessionService:
    """See the module."""

    def __init__(self, live: Live) -> None:
        self._live = live
        #: Sessions whose end waits for admission.
        self._ending: set[int] = set()

    # --- begin --------------------------------------------------------------------------------------------------------

    def open(self, request: Request) -> None:
        """OpenSession: SessionOpened, once the session is durable."""
        self._live.sessions.check_room()
        self._live.leader.admit(partial(self._open, request))

    def _open(self, request: Request) -> None:
        message: OpenSession = request.message
        begun = self._live.transact_own(BeginSession(message.name))
        if isinstance(begun, Refused):
            self._live.reply(request, begun)
            return
        session = self._live.sessions.add(begun.session, message.name, self._live.clock.monotonic_ns())
        self._live.attach(session, request.peer)
        self._live.reply(request, self._opened(session))

    def _opened(self, session: Session) -> SessionOpened:
        return SessionOpened(session.number, self._live.leader.term, self._live.default_class, self._live.nodes.map)

    # --- resume -------------------------------------------------------------------------------------------------------

    def resume(self, request: Request) -> None:
        """ResumeSession: SessionOpened; after the last of a series the session is whole again."""
        message: ResumeSession = request.message
        live = self._live
        session = live.sessions.get(message.session)
        live.attach(session, request.peer)
        now_ns = live.clock.monotonic_ns()
        if now_ns >= session.lease_end_ns:
            # Others go on without it. What it did ahead before may have to wait for what they do now, never for itself.
            live.leases.void(session.number)
        live.sessions.renew(session, now_ns)
        if len(session.resuming) + len(message.opens) > OPENS_MAX:
            raise Refused(Code.TOO_MANY_OPEN, f"session {session.number}")
        session.resuming.update((each.inode, each.mode) for each in message.opens)
        if message.more:
            live.reply(request, self._opened(session))
        else:
            live.leader.admit(partial(self._resumed, request, session))

    def _resumed(self, request: Request, session: Session) -> None:
        live = self._live
        if session.peer is not request.peer:
            # It ended meanwhile, or went on to another connection, and then nobody hears this.
            live.reply(request, Refused(Code.NO_SESSION, f"session {session.number}"))
            return
        dirty = {inode for inode, mode in session.resuming.items() if mode & OPEN_DIRTY}
        try:
            self._take_opens(session)
        except Refused as refused:
            live.reply(request, refused)
            return
        finally:
            session.resuming = {}
        for ticket in live.leases.resume(session.number):
            live.send_recall(ticket)
        live.leases.overruns.resumed(session.number, dirty, was_missing=not session.resumed)
        if not session.resumed:
            live.sessions.mark_resumed(session)
            log.info("session resumed", session=session.number, name=session.name, missing=live.sessions.missing_count)
        live.look_at_grace()
        tickets = live.leases.take_back(session.number, live.opens.of_session(session.number))
        tickets += live.leases.drop(session.number, self._written(session))
        live.send_recalls()
        if tickets:
            live.wait_then(request, partial(live.settled, tickets), partial(live.reply, request, self._opened(session)))
        else:
            live.reply(request, self._opened(session))

    def _take_opens(self, session: Session) -> None:
        """What the session says is what it has open; orphans that it let go meanwhile are freed."""
        live = self._live
        for inode in [inode for inode in live.opens.of_session(session.number) if inode not in session.resuming]:
            live.opens.close(session.number, inode)
        for inode, mode in session.resuming.items():
            live.opens.open(session.number, inode, mode & ~OPEN_DIRTY)
        orphans = [inode for inode in orphans_of(live.leader.view, session.number) if inode not in session.resuming]
        # Where not even these find room, they go with the session.
        live.free_orphans(session.number, orphans)

    def _written(self, session: Session) -> list[int]:
        live = self._live
        return [inode for inode in live.opens.of_session(session.number) if live.opens.mode(session.number, inode) & OPEN_WRITE]

    # --- life ---------------------------------------------------------------------------------------------------------

    def heartbeat(self, request: Request) -> None:
        """Heartbeat: Done, and the leases live on."""
        message: Heartbeat = request.message
        session = self._live.session_of(request, message.session)
        self._live.sessions.renew(session, self._live.clock.monotonic_ns())
        request.reply(Done())

    def recall_done(self, request: Request) -> None:
        """RecallDone: Done; whoever waits for it goes on."""
        message: RecallDone = request.message
        session = self._live.session_of(request, message.session)
        self._live.leases.confirm(session.number, message.serial)
        request.reply(Done())

    def connection_lost(self, peer: Peer) -> None:
        """Its sessions live on until they resume or time out; their leases end in their time."""
        for number in list(peer.state.sessions):
            session = self._live.sessions.find(number)
            assert session is not None, "a session that has ended has no connection"
            self._live.detach(session, close=False)

    # --- end ----------------------------------------------------------------------------------------------------------

    def close(self, request: Request) -> None:
        """CloseSession: Done, also if it has ended already."""
        message: CloseSession = request.message
        session = self._live.sessions.find(message.session)
        if session is None:
            self._live.reply(request, Done())
        else:
            self._live.leader.admit(partial(self._end, session, partial(self._closed, request)))

    def _closed(self, request: Request, answer: Any) -> None:
        if isinstance(answer, Refused):
            request.refuse(answer.code, answer.detail)
        else:
            request.reply(Done())

    def end_dead(self, now_ns: int) -> None:
        """End the sessions whose time is up."""
        for session in self._live.sessions.dead(now_ns):
            if session.number not in self._ending:
                self._ending.add(session.number)
                self._live.leader.admit(partial(self._end_if_dead, session))

    def _end_if_dead(self, session: Session) -> None:
        self._ending.discard(session.number)
        # It may have come back while its end waited for admission.
        if session in self._live.sessions.dead(self._live.clock.monotonic_ns()):
            self._end(session, partial(self._ended, session))

    def _ended(self, session: Session, answer: Any) -> None:
        if not isinstance(answer, Refused):
            log.warning("session ended: it was silent", session=session.number, name=session.name)

    def _end(self, session: Session, done: Callable[[Any], None]) -> None:
        """Only from work given to Leader.admit. done(answer) when that may be known."""
        answer: Any = Done()
        if self._live.sessions.find(session.number) is session:
            answer = self._live.transact_own(EndSession(session.number))
            if not isinstance(answer, Refused):
                self._forget(session)
        self._live.leader.when_durable(done, answer)

    def _forget(self, session: Session) -> None:
        live = self._live
        live.detach(session, close=False)
        live.opens.end(session.number)
        live.leases.forget(session.number)
        live.wake_lock_waiters(live.lock_waits.inodes())
        live.sessions.remove(session.number)
        live.look_at_grace()
