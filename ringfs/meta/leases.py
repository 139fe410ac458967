"""Who may cache what, and the recalls under way: the pure core of the rules in wire/messages/session.py.

The table says which recalls an answer must wait for and which are to be sent; the shell sends them (`poll_recalls`),
waits, and reports what became of them (`confirm`, `lapse`, `resume`, `forget`). It knows no clock and no connection.

Theory of operation. A grant carries the serial that was the latest when it was given, a recall the next one; so a
recall takes away exactly the grants older than itself, however its confirmation and new answers cross on the way.
DROP, FLUSH and RETURN travel in different recalls: a DROP is obeyed at once, a FLUSH only after a Commit was answered, a RETURN
after MutateAheads were; those answers may wait for DROPs of others but never for a FLUSH or a RETURN. So no cycle of waiting can
arise.

A delegation is a grant that nobody else has, of an inode that nobody else has open. It ends with the grant, or with a RETURN, which
leaves the grant. While a RETURN is outstanding it is not given anew, since the session may be about to confirm. What is delegated
is never asked for with a DROP: that may be confirmed before what was done ahead has arrived.
"""

from collections.abc import Callable, Iterable, Iterator

from ringfs.meta.opens import OpenTable
from ringfs.meta.overruns import Overruns
from ringfs.wire.messages.common import DELEGATED, LEASED, NOT_LEASED
from ringfs.wire.messages.session import RECALL_DROP, RECALL_FLUSH, RECALL_RETURN

#: Inodes that one session, and all together, may cache under lease: about 250 bytes each.
LEASES_PER_SESSION_MAX = 100_000
LEASES_MAX = 200_000
#: Items of one Recall, see messages/session.py.
RECALL_ITEMS_MAX = 4096

assert LEASES_PER_SESSION_MAX <= LEASES_MAX, "one session alone stays within what all may have"


class Ticket:
    """One recall to one session, until nobody needs to wait for it any more."""

    __slots__ = ("inodes", "kind", "serial", "session", "settled", "waiters")

    def __init__(self, serial: int, session: int, kind: int, inodes: list[int]) -> None:
        self.serial = serial
        self.session = session
        self.kind = kind
        self.inodes = inodes
        #: Confirmed, or void because the lease or the session has ended. Never becomes false again.
        self.settled = False
        #: Called once when it becomes settled.
        self.waiters: list[Callable[[], None]] = []


class LeaseTable:
    """Grants by session and by inode, outstanding recalls by session and by inode."""

    def __init__(
        self,
        opens: OpenTable,
        per_session_max: int = LEASES_PER_SESSION_MAX,
        total_max: int = LEASES_MAX,
        may_delegate: Callable[[int], bool] = lambda _inode: True,
    ) -> None:
        self._opens = opens
        self._may_delegate = may_delegate
        #: What becomes of files whose writers could not be asked.
        self.overruns = Overruns()
        self._per_session_max = per_session_max
        self._total_max = total_max
        #: Serial of the latest recall to anybody.
        self.serial = 0
        #: Number of grants.
        self.count = 0
        #: session → inode → serial when it was (last) granted, the longest held first.
        self._grants: dict[int, dict[int, int]] = {}
        #: inode → the sessions that it is granted to; a bare number if it is one. Agrees with _grants.
        self._cachers: dict[int, int | frozenset[int]] = {}
        #: inode → the session that it is delegated to: its only cacher.
        self._delegated: dict[int, int] = {}
        #: session → how many inodes are delegated to it; no zeros.
        self._delegations: dict[int, int] = {}
        #: inode → its outstanding RETURN. Agrees with _tickets.
        self._returning: dict[int, Ticket] = {}
        #: session → serial → its outstanding recalls.
        self._tickets: dict[int, dict[int, Ticket]] = {}
        #: inode → session → the latest outstanding DROP of it. Agrees with _tickets.
        self._dropping: dict[int, dict[int, Ticket]] = {}
        #: session → serial of the latest recall to it.
        self._latest: dict[int, int] = {}
        #: session → the recall that makes room for it; one at a time.
        self._evictions: dict[int, Ticket] = {}
        self._unsent: list[Ticket] = []

    # --- grants -----------------------------------------------------------------------------------------------------

    def grant(self, session: int, inode: int) -> int:
        """Let a session cache an inode: LEASED, or DELEGATED if it is alone with it; NOT_LEASED if another one writes it, or may
        act ahead on it, or if there is no room now."""
        if self._opens.others_write(session) and self._opens.other_writers(session, inode):
            return NOT_LEASED
        if self._delegated.get(inode, session) != session:
            return NOT_LEASED
        grants = self._grants.setdefault(session, {})
        if inode not in grants:
            if not self._has_room(session, grants):
                return NOT_LEASED
            self.count += 1
            self._add_cacher(inode, session)
        grants[inode] = self.serial
        return DELEGATED if self._delegate(session, inode) else LEASED

    def grant_made(self, session: int, inode: int) -> None:
        """A session made this inode ahead, and takes it for delegated already: so it is, even past the bound for a while."""
        grants = self._grants.setdefault(session, {})
        if inode not in grants:
            self._has_room(session, grants)
            self.count += 1
            self._add_cacher(inode, session)
        grants[inode] = self.serial
        if self._is_alone(session, inode):
            self._note_delegated(session, inode)

    def _delegate(self, session: int, inode: int) -> bool:
        """Delegate a granted inode, if nobody else has anything to do with it."""
        if inode in self._returning or not self._may_delegate(inode):
            return False
        if inode not in self._delegated:
            if not self._is_alone(session, inode):
                return False
            self._note_delegated(session, inode)
        return True

    def _is_alone(self, session: int, inode: int) -> bool:
        if inode in self._dropping or self._cachers[inode] != session:
            return False
        return not self._opens.others_have(session, inode)

    def _note_delegated(self, session: int, inode: int) -> None:
        if inode in self._delegated:
            return
        self._delegated[inode] = session
        self._delegations[session] = self._delegations.get(session, 0) + 1

    def _undelegate(self, inode: int) -> None:
        session = self._delegated.pop(inode, None)
        if session is not None:
            self._delegations[session] -= 1
            if not self._delegations[session]:
                del self._delegations[session]

    def is_delegated(self, session: int, inode: int) -> bool:
        """Whether a session may act ahead on an inode."""
        return self._delegated.get(inode) == session

    def others_delegated(self, session: int) -> bool:
        """Whether anything at all is, or is just being taken back from, another session's delegation."""
        return bool(self._returning) or len(self._delegations) > (session in self._delegations)

    def is_granted(self, session: int, inode: int) -> bool:
        """Whether a session may cache an inode, as far as it has not confirmed otherwise."""
        return inode in self._grants.get(session, ())

    def was_recalled(self, session: int, since_serial: int) -> bool:
        """Whether anything was recalled from the session after since_serial: what it was granted then may be void."""
        return self._latest.get(session, 0) > since_serial

    def _has_room(self, session: int, grants: dict[int, int]) -> bool:
        if len(grants) >= self._per_session_max:
            self._evict(session)
            return False
        if self.count >= self._total_max:
            self._evict(max(self._grants, key=lambda each: len(self._grants[each])))
            return False
        return True

    def _evict(self, session: int) -> None:
        """Recall the longest held sixteenth of a session's grants, unless that is under way. What of it is delegated is taken back
        first; the next time it is like the others."""
        if session not in self._evictions:
            grants = self._grants[session]
            count = min(max(1, len(grants) // 16), RECALL_ITEMS_MAX)
            oldest = [inode for inode, _ in zip(grants, range(count), strict=False)]
            delegated = [inode for inode in oldest if inode in self._delegated and inode not in self._returning]
            plain = [inode for inode in oldest if inode not in self._delegated]
            if delegated:
                self._evictions[session] = self._issue(session, RECALL_RETURN, delegated)
            if plain:
                self._evictions[session] = self._issue(session, RECALL_DROP, plain)

    # --- recalls ----------------------------------------------------------------------------------------------------

    def flush(
        self, asking: int, inodes: Iterable[int], flushed: set[tuple[int, int]], *, may_be_part_of_flush: bool = True
    ) -> list[Ticket]:
        """The recalls to wait for before a session gets an answer about inodes: one FLUSH for each other writer of each.

        `flushed` is the request's own memory: pairs (session, inode) that it had flushed already; what was dirtied
        later is concurrent with the request. A session that is itself asked to flush an inode is not made to wait for
        that inode's other writers by a request that its flush may be waiting for.
        """
        if not self._opens.others_write(asking):
            return []
        wanted: dict[int, list[int]] = {}
        for inode in inodes:
            for writer in self._opens.other_writers(asking, inode):
                exempt = may_be_part_of_flush and self._is_flushing(asking, inode)
                if (writer, inode) not in flushed and not exempt:
                    flushed.add((writer, inode))
                    wanted.setdefault(writer, []).append(inode)
        return list(self._issue_all(RECALL_FLUSH, wanted))

    def all_delegated(self) -> list[int]:
        """Every inode that is delegated to anybody."""
        return list(self._delegated)

    def take_back(self, asking: int, inodes: Iterable[int]) -> list[Ticket]:
        """The recalls to wait for before a session gets an answer about inodes, or changes them: a RETURN of each that is delegated
        to another. To be asked again after that: it may have been delegated anew."""
        waits: dict[int, Ticket] = {}
        wanted: dict[int, list[int]] = {}
        for inode in inodes:
            returning = self._returning.get(inode)
            if returning is not None and returning.session != asking:
                # Also after the grant has ended, with a FLUSH: what was done ahead may still be on its way.
                waits[returning.serial] = returning
                continue
            holder = self._delegated.get(inode, asking)
            if holder != asking and inode not in wanted.get(holder, ()):
                wanted.setdefault(holder, []).append(inode)
        return [*waits.values(), *self._issue_all(RECALL_RETURN, wanted)]

    def drop(self, asking: int, inodes: Iterable[int]) -> list[Ticket]:
        """The recalls to wait for after a session changed inodes: a DROP for every other session that caches one."""
        waits: dict[int, Ticket] = {}
        wanted: dict[int, list[int]] = {}
        for inode in inodes:
            if self._cachers.get(inode, asking) == asking and inode not in self._dropping:
                continue
            outstanding = self._dropping.get(inode, {})
            waits.update((ticket.serial, ticket) for session, ticket in outstanding.items() if session != asking)
            for session in self._cachers_of(inode):
                dropping = outstanding.get(session)
                if session != asking and (dropping is None or self._grants[session][inode] >= dropping.serial):
                    wanted.setdefault(session, []).append(inode)
        return [*waits.values(), *self._issue_all(RECALL_DROP, wanted)]

    @property
    def is_dropping(self) -> bool:
        """Whether any DROP is outstanding at all."""
        return bool(self._dropping)

    def outstanding_drops(self, asking: int, inodes: Iterable[int]) -> list[Ticket]:
        """DROPs of inodes that other sessions have not confirmed: until then they may show older state than the asker gets."""
        waits = {
            ticket.serial: ticket
            for inode in inodes
            for session, ticket in self._dropping.get(inode, {}).items()
            if session != asking
        }
        return list(waits.values())

    def poll_recalls(self) -> list[Ticket]:
        """The recalls that are to be sent now, in this order."""
        unsent = self._unsent
        if unsent:
            self._unsent = []
        return unsent

    def _is_flushing(self, session: int, inode: int) -> bool:
        return any(each.kind == RECALL_FLUSH and inode in each.inodes for each in self._tickets.get(session, {}).values())

    def _issue_all(self, kind: int, wanted: dict[int, list[int]]) -> Iterator[Ticket]:
        for session, inodes in wanted.items():
            for start in range(0, len(inodes), RECALL_ITEMS_MAX):
                yield self._issue(session, kind, inodes[start : start + RECALL_ITEMS_MAX])

    def _issue(self, session: int, kind: int, inodes: list[int]) -> Ticket:
        self.serial += 1
        ticket = Ticket(self.serial, session, kind, inodes)
        self._tickets.setdefault(session, {})[self.serial] = ticket
        self._latest[session] = self.serial
        if kind == RECALL_DROP:
            for inode in inodes:
                self._dropping.setdefault(inode, {})[session] = ticket
        elif kind == RECALL_RETURN:
            self._returning.update(dict.fromkeys(inodes, ticket))
        self._unsent.append(ticket)
        return ticket

    # --- what becomes of them ---------------------------------------------------------------------------------------

    def confirm(self, session: int, serial: int) -> None:
        """The session obeyed a recall. Unknown serials are late or repeated confirmations."""
        ticket = self._tickets.get(session, {}).get(serial)
        if ticket is not None:
            if ticket.kind != RECALL_DROP:
                self.overruns.obeyed(session, ticket.inodes)
            self._settle(ticket)

    def lapse(self, session: int) -> None:
        """The session's lease has ended: nobody waits for its recalls. Its other grants stay known, so that a session
        whose lease revives has been sent every recall."""
        for ticket in list(self._tickets.get(session, {}).values()):
            if ticket.kind != RECALL_DROP:
                self.overruns.missed(session, ticket.inodes)
            self._settle(ticket)

    def resume(self, session: int) -> list[Ticket]:
        """The session came back on a new connection, so it caches nothing; the FLUSHes that are to be sent again."""
        tickets = list(self._tickets.get(session, {}).values())
        for ticket in tickets:
            if ticket.kind != RECALL_FLUSH:
                self._settle(ticket)
        for inode in list(self._grants.get(session, ())):
            self._revoke(session, inode)
        return [ticket for ticket in tickets if not ticket.settled]

    def void(self, session: int) -> None:
        """The session's lease has ended, and it caches nothing under it any more."""
        self.lapse(session)
        self.resume(session)

    def forget(self, session: int) -> None:
        """The session has ended, and its lease with it."""
        self.void(session)
        self._grants.pop(session, None)
        self._tickets.pop(session, None)
        self._latest.pop(session, None)
        self.overruns.forget(session)

    def has_outstanding(self, session: int) -> bool:
        """Whether a recall to the session is neither confirmed nor void."""
        return bool(self._tickets.get(session))

    def _settle(self, ticket: Ticket) -> None:
        session = ticket.session
        del self._tickets[session][ticket.serial]
        for inode in ticket.inodes:
            if ticket.kind == RECALL_RETURN:
                del self._returning[inode]
                self._undelegate(inode)
                continue
            if self._grants.get(session, {}).get(inode, ticket.serial) < ticket.serial:
                self._revoke(session, inode)
            if self._dropping.get(inode, {}).get(session) is ticket:
                del self._dropping[inode][session]
                if not self._dropping[inode]:
                    del self._dropping[inode]
        if self._evictions.get(session) is ticket:
            del self._evictions[session]
        ticket.settled = True
        waiters, ticket.waiters = ticket.waiters, []
        for waiter in waiters:
            waiter()

    # --- the two views of the grants ----------------------------------------------------------------------------------

    def _cachers_of(self, inode: int) -> Iterable[int]:
        cachers = self._cachers.get(inode)
        if cachers is None:
            return ()
        return (cachers,) if type(cachers) is int else sorted(cachers)  # type: ignore[arg-type]

    def _add_cacher(self, inode: int, session: int) -> None:
        before = self._cachers.get(inode)
        self._cachers[inode] = session if before is None else frozenset({*self._cachers_of(inode), session})

    def _revoke(self, session: int, inode: int) -> None:
        del self._grants[session][inode]
        self.count -= 1
        if self._delegated.get(inode) == session:
            self._undelegate(inode)
        left = [each for each in self._cachers_of(inode) if each != session]
        if not left:
            del self._cachers[inode]
        else:
            self._cachers[inode] = left[0] if len(left) == 1 else frozenset(left)

    def check_invariants(self) -> None:
        """The views agree; every outstanding recall can be settled; none is forgotten."""
        pairs = {(session, inode) for session, inodes in self._grants.items() for inode in inodes}
        assert pairs == {(session, inode) for inode in self._cachers for session in self._cachers_of(inode)}
        assert len(pairs) == self.count, "count is the number of grants"
        tickets = [ticket for tickets in self._tickets.values() for ticket in tickets.values()]
        assert not any(ticket.settled for ticket in tickets), "an outstanding recall is not settled"
        for inode, dropping in self._dropping.items():
            for session, ticket in dropping.items():
                assert self._tickets[session][ticket.serial] is ticket, "what is dropping is outstanding"
                assert ticket.kind == RECALL_DROP
                assert inode in ticket.inodes
        for inode, session in self._delegated.items():
            assert self._cachers.get(inode) == session, "what is delegated nobody else caches"
            assert inode in self._returning or not self._opens.others_have(session, inode), "nor has open, when it has resumed"
        counts = {session: list(self._delegated.values()).count(session) for session in self._delegated.values()}
        assert counts == self._delegations, "_delegations counts what is delegated"
        for inode, ticket in self._returning.items():
            assert self._tickets[ticket.session][ticket.serial] is ticket, "what is returning is outstanding"
            assert ticket.kind == RECALL_RETURN
            assert inode in ticket.inodes
        assert all(not ticket.settled for ticket in self._evictions.values()), "an eviction is under way"
