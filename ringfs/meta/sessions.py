"""Liveness of sessions: who was heard when, whose lease lives, who has not come back since a restart. Pure; times come in.

That a session exists is state of the namespace machine; here is what a restart forgets. Not here: what it caches
(leases.py) and has open (opens.py).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import LEASE_NS, SESSION_TIMEOUT_NS

#: Sessions that may exist at once; Status lists them all.
SESSIONS_MAX = 1024


class Session:
    """A session as this server has met it since it started."""

    __slots__ = ("ahead_from", "behind", "heard_ns", "lease_end_ns", "name", "number", "peer", "resumed", "resuming", "revoked")

    def __init__(self, number: int, name: str, heard_ns: int) -> None:
        self.number = number
        self.name = name
        #: When a request of it last came in; the moment of the start for one that has not resumed.
        self.heard_ns = heard_ns
        #: Until then it may serve from its cache: others wait for its confirmation. Never goes back.
        self.lease_end_ns = heard_ns + LEASE_NS
        #: The connection it opened or resumed on; None while it has none. The shell's own kind of object.
        self.peer: Any = None
        #: False from a restart until its last ResumeSession: it may have anything open.
        self.resumed = False
        #: Its leases are not renewed any more, and it is dead when they have ended. Never becomes false again.
        self.revoked = False
        #: Not 0: there was no space for the transaction of this number, which the client has applied already, nor for any of its
        #: later ones, until it comes again.
        self.ahead_from = 0
        #: What came from it while a MutateAhead of it waits, in order of arrival; None if none does. Its connection's.
        self.behind: deque[Callable[[], None]] | None = None
        #: inode → mode, gathered from ResumeSession messages with `more`.
        self.resuming: dict[int, int] = {}


class SessionTable:
    """All sessions that the machine's state has, by number."""

    def __init__(self, known: Iterable[tuple[int, str]], now_ns: int) -> None:
        """`known` are the sessions in the state at the start: they have SESSION_TIMEOUT_NS to come back."""
        self._sessions = {number: Session(number, name, now_ns) for number, name in known}
        #: Until then, or until nobody is missing, only sessions and nodes are served: see in_grace.
        self._grace_end_ns = now_ns + LEASE_NS
        #: How many have not resumed.
        self.missing_count = len(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def find(self, number: int) -> Session | None:
        """The session, or None if it has ended."""
        return self._sessions.get(number)

    def get(self, number: int) -> Session:
        """The session; refused NO_SESSION if it has ended or is about to."""
        session = self._sessions.get(number)
        if session is None or session.revoked:
            raise Refused(Code.NO_SESSION, f"session {number}")
        return session

    def check_room(self) -> None:
        """Refused TOO_MANY_SESSIONS if no further session can be opened."""
        if len(self._sessions) >= SESSIONS_MAX:
            raise Refused(Code.TOO_MANY_SESSIONS, f"{len(self._sessions)} sessions")

    def add(self, number: int, name: str, now_ns: int) -> Session:
        """A session that was just opened: nothing of it is from before."""
        session = self._sessions[number] = Session(number, name, now_ns)
        session.resumed = True
        return session

    def remove(self, number: int) -> None:
        """The session has ended."""
        session = self._sessions.pop(number)
        self.missing_count -= not session.resumed

    def renew(self, session: Session, now_ns: int) -> None:
        """A request that renews its leases came in; it was sent earlier, so the true end is earlier too."""
        session.heard_ns = now_ns
        session.lease_end_ns = max(session.lease_end_ns, now_ns + LEASE_NS)

    def mark_resumed(self, session: Session) -> None:
        """All that it has open is known again."""
        self.missing_count -= not session.resumed
        session.resumed = True

    def missing(self) -> list[int]:
        """Sessions that have not resumed since the start, ascending: they may have anything open."""
        if not self.missing_count:
            return []
        return sorted(number for number, session in self._sessions.items() if not session.resumed)

    def in_grace(self, now_ns: int) -> bool:
        """Whether somebody unknown may still hold leases that were given before the restart."""
        return self.missing_count > 0 and now_ns < self._grace_end_ns

    def dead(self, now_ns: int) -> list[Session]:
        """Sessions that are to be ended: not heard for SESSION_TIMEOUT_NS, or revoked; the leases of all of them have ended."""
        return [
            session
            for session in self._sessions.values()
            if now_ns >= session.lease_end_ns and (session.revoked or now_ns - session.heard_ns >= SESSION_TIMEOUT_NS)
        ]

    def stood_still(self, duration_ns: int) -> None:
        """This process did not run for so long: silence in that time is nobody's fault. Leases end all the same."""
        for session in self._sessions.values():
            session.heard_ns += duration_ns
