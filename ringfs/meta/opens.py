"""Which session has which inode open, and how. Volatile, pure; rebuilt by ResumeSession after a restart.

Not here: what an open costs others (leases.py), and what becomes of an orphan at its last close (server.py).
"""

from collections.abc import Iterable

from ringfs.base.errors import Code, Refused
from ringfs.wire.messages.session import OPEN_WRITE

#: Inodes that all sessions together may have open: about 300 bytes each.
OPENS_MAX = 100_000


class OpenTable:
    """Open inodes by session and by inode: two views of one relation, always changed together."""

    def __init__(self, opens_max: int = OPENS_MAX) -> None:
        self._opens_max = opens_max
        #: session → inode → mode.
        self._by_session: dict[int, dict[int, int]] = {}
        #: inode → session → mode; no inode without a session.
        self._by_inode: dict[int, dict[int, int]] = {}
        #: session → how many inodes it has open for writing; no zeros.
        self._writes: dict[int, int] = {}
        #: Number of pairs (session, inode).
        self.count = 0

    def open(self, session: int, inode: int, mode: int) -> None:
        """Remember an open; a second one adds its mode. Refused TOO_MANY_OPEN past the bound."""
        before = self._by_session.get(session, {}).get(inode, 0)
        if before == 0:
            self.check_room()
            self.count += 1
        inodes = self._by_session.setdefault(session, {})
        inodes[inode] = self._by_inode.setdefault(inode, {})[session] = before | mode
        if mode & OPEN_WRITE and not before & OPEN_WRITE:
            self._writes[session] = self._writes.get(session, 0) + 1

    def check_room(self) -> None:
        """Refused TOO_MANY_OPEN if no further inode can be opened."""
        if self.count >= self._opens_max:
            raise Refused(Code.TOO_MANY_OPEN, f"{self.count} open inodes")

    def close(self, session: int, inode: int) -> bool:
        """The session has the inode open no more, in no mode. False if it had not."""
        mode = self._by_session.get(session, {}).pop(inode, 0)
        if mode == 0:
            return False
        self.count -= 1
        sessions = self._by_inode[inode]
        del sessions[session]
        if not sessions:
            del self._by_inode[inode]
        if mode & OPEN_WRITE:
            self._writes[session] -= 1
            if self._writes[session] == 0:
                del self._writes[session]
        return True

    def end(self, session: int) -> list[int]:
        """Close everything of a session; the inodes it had open."""
        inodes = list(self._by_session.get(session, ()))
        for inode in inodes:
            self.close(session, inode)
        self._by_session.pop(session, None)
        return inodes

    def of_session(self, session: int) -> Iterable[int]:
        """The inodes that a session has open."""
        return self._by_session.get(session, {}).keys()

    def count_of(self, session: int) -> int:
        """How many inodes a session has open."""
        return len(self._by_session.get(session, ()))

    def holders(self, inode: int) -> list[int]:
        """The sessions that have an inode open, ascending."""
        return sorted(self._by_inode.get(inode, ()))

    def has(self, session: int, inode: int) -> bool:
        """Whether the session has the inode open."""
        return session in self._by_inode.get(inode, ())

    def mode(self, session: int, inode: int) -> int:
        """How the session has the inode open; 0 if it has not."""
        return self._by_session.get(session, {}).get(inode, 0)

    def others_write(self, session: int) -> bool:
        """Whether any other session has anything open for writing: without that, no FLUSH is ever needed."""
        return len(self._writes) > (session in self._writes)

    def others_have(self, session: int, inode: int) -> bool:
        """Whether any other session has an inode open."""
        sessions = self._by_inode.get(inode)
        return sessions is not None and len(sessions) > (session in sessions)

    def other_writers(self, session: int, inode: int) -> list[int]:
        """The other sessions that have an inode open for writing, ascending."""
        sessions = self._by_inode.get(inode)
        if sessions is None:
            return []
        return sorted(other for other, mode in sessions.items() if mode & OPEN_WRITE and other != session)

    def check_invariants(self) -> None:
        """Both views agree, and so do the counts."""
        pairs = {(session, inode, mode) for session, inodes in self._by_session.items() for inode, mode in inodes.items()}
        assert pairs == {(session, inode, mode) for inode, modes in self._by_inode.items() for session, mode in modes.items()}
        assert len(pairs) == self.count, "count is the number of pairs"
        writes: dict[int, int] = {}
        for session, _, mode in pairs:
            if mode & OPEN_WRITE:
                writes[session] = writes.get(session, 0) + 1
        assert writes == self._writes, "writes counts the inodes open for writing"
        assert all(self._by_inode.values()), "no inode without a session"
