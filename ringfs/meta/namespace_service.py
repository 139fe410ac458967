"""Mutate and Query: the namespace as sessions use it, coherent by leases.

The rules: wire/messages/session.py and docs/decisions/0001-leases.md. A request that need not wait for another session is
answered in a plain call. Not here: what operations mean (namespace/).
"""

from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from ringfs.base.errors import Code, Refused
from ringfs.meta.answers import clear_leases, inodes_of, set_leases
from ringfs.meta.leases import Ticket
from ringfs.meta.live import Live
from ringfs.meta.lock_service import CHANGES_OF_LOCKS, LockService
from ringfs.meta.namespace import keys, machine
from ringfs.meta.namespace.ahead import AHEAD_OPERATIONS
from ringfs.meta.namespace.facts import cluster_map
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.namespace.marks import AheadMark
from ringfs.meta.sessions import Session
from ringfs.meta.targets import (
    brings_under_quota,
    content_targets,
    delegation_targets,
    flush_targets,
    makes_room,
    opened_by,
    removed_by,
)
from ringfs.wire.messages.common import CLASS_XATTR, Done
from ringfs.wire.messages.namespace import Commit, Mkdir, Mknod, SetXattr, Symlink
from ringfs.wire.messages.queries import FsFigures, GetAttributes, ReadExtents, StatFs
from ringfs.wire.messages.quota import GetQuota, ListQuotas, SetQuota
from ringfs.wire.messages.session import OPEN_READ, OPEN_WRITE, AheadDone, AheadItem, Close, Mutate, MutateAhead, Open, Query
from ringfs.wire.messages.sharing import Append
from ringfs.wire.rpc import Request

#: Pairs (session, inode) that a request has had flushed.
Flushed = set[tuple[int, int]]
#: See Session.behind.
Behind = deque[Callable[[], None]]


class NamespaceService:
    """See the module."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._leader = live.leader
        self._leases = live.leases
        self._opens = live.opens
        self._locks = LockService(live)

    # --- transactions -------------------------------------------------------------------------------------------------

    def mutate(self, request: Request) -> None:
        """Mutate: the operation's answer, durable, once no other session shows what was before."""
        if self._comes_behind(request, self.mutate):
            return
        if not self._live.grace_over.is_set():
            self._after_grace(request, self.mutate)
            return
        self._mutate_when_admitted(request, set())

    def _mutate_when_admitted(self, request: Request, flushed: Flushed) -> None:
        self._leader.admit(partial(self._admitted, request, flushed))

    def _admitted(self, request: Request, flushed: Flushed) -> None:
        try:
            self._mutate(request, flushed)
        except Refused as refused:
            self._live.reply(request, refused)

    def _mutate(self, request: Request, flushed: Flushed) -> None:
        message: Mutate = request.message
        operation: Any = message.operation
        session = self._session_of(request, message.session)
        tickets = self._before_change(session.number, operation, flushed)
        if tickets:
            self._flush_then(request, tickets, partial(self._mutate_when_admitted, request, flushed))
            return
        open_mode = opened_by(operation)
        if open_mode:
            self._opens.check_room()
        overruns = self._leases.overruns
        if type(operation) is Commit:
            overruns.guard(session.number, message.number, operation)
        outcome = self._leader.transact(self._transaction(message), frees=makes_room(self._leader.view, operation))
        if isinstance(outcome.answer, Refused):
            raise outcome.answer
        if type(operation) is Commit:
            overruns.answered(session.number, message.number, operation, outcome.answer)
        if type(operation) is SetXattr and operation.name == CLASS_XATTR:
            # Whoever is told of a class that is new knows its name by then.
            self._live.take_map(cluster_map(self._leader.view))
        if outcome.changed:
            changed_files = outcome.touched.intersection(content_targets(operation))
            overruns.changed(session.number, changed_files, somebody_missing=bool(self._live.sessions.missing_count))
        if type(operation) in CHANGES_OF_LOCKS:
            self._locks.changed(operation)
        changed = outcome.touched
        if open_mode:
            changed = changed | self._opened(session, outcome.answer.attributes.inode, open_mode)
        self._answer_when_dropped(request, session, operation, outcome.answer, changed)

    def _session_of(self, request: Request, number: int) -> Session:
        """As Live.session_of; refused OVERLOADED while what the session did ahead waits for space: this may build upon it."""
        session = self._live.session_of(request, number)
        if session.ahead_from:
            raise Refused(Code.OVERLOADED, "what was done ahead waits for space")
        return session

    def _before_change(self, session: int, operation: Any, flushed: Flushed) -> list[Ticket]:
        """The recalls that are to be obeyed before the operation may be applied."""
        tickets: list[Ticket] = []
        self._live.has_quotas |= type(operation) is SetQuota
        if self._live.has_quotas and brings_under_quota(self._leader.view, operation):
            # Nobody, the asker included, does anything ahead that a quota may forbid.
            tickets += self._live.take_back_all()
        elif self._leases.others_delegated(session):
            tickets += self._leases.take_back(session, delegation_targets(self._leader.view, operation))
        if self._opens.others_write(session):
            # No flush waits for an append, and one that did not wait for others' would go where theirs belong.
            part = type(operation) is not Append
            tickets += self._leases.flush(session, flush_targets(self._leader.view, operation), flushed, may_be_part_of_flush=part)
        return tickets

    def _transaction(self, message: Mutate) -> Transaction:
        holders = self._holders(message.operation)
        return Transaction(message.session, message.number, message.acknowledged, 0, holders, message.operation)

    def _holders(self, operation: Any, session: int = 0, resuming: Collection[int] = ()) -> list[int]:
        """The sessions that have open what the operation removes, ascending. resuming: what the one that asks is about to say that
        it has open."""
        missing = self._live.sessions.missing()
        if not missing and not self._opens.count and not resuming:
            return []
        removed = removed_by(self._leader.view, operation)
        if removed is None:
            return []
        holders = {*missing, *self._opens.holders(removed)}
        if removed in resuming:
            holders.add(session)
        return sorted(holders)

    # --- transactions applied ahead -------------------------------------------------------------------------------------

    def mutate_ahead(self, request: Request) -> None:
        """MutateAhead: AheadDone, durable. Also in the grace period: nobody else can know anything of what is delegated.

        What else comes from the session waits until this was applied: it may build upon it."""
        if self._comes_behind(request, self.mutate_ahead):
            return
        for item in request.message.items:
            if type(item.operation) not in AHEAD_OPERATIONS:
                raise Refused(Code.BAD_REQUEST, f"{type(item.operation).__name__} ahead")
        session = self._live.session_of(request, request.message.session)
        session.behind = deque()
        self._leader.admit(partial(self._ahead_admitted, request, session, session.behind, set()))

    def _ahead_admitted(self, request: Request, session: Session, behind: Behind, flushed: Flushed) -> None:
        try:
            tickets = self._mutate_ahead(request, flushed)
            if tickets:
                again = partial(self._ahead_admitted, request, session, behind, flushed)
                self._flush_then(request, tickets, partial(self._leader.admit, again))
                return
        except Refused as refused:
            if refused.code is Code.OVERLOADED:
                # It will come again; nothing may overtake it.
                session.ahead_from = session.ahead_from or request.message.number
            self._live.reply(request, refused)
        if session.behind is behind:
            self._let_go_on(session)

    def _comes_behind(self, request: Request, action: Callable[[Request], None]) -> bool:
        """Whether the request has to wait for what the session did ahead; then `action` is called with it after that."""
        session = self._live.session_of(request, request.message.session)
        if session.behind is None:
            return False
        session.behind.append(partial(self._act, request, action))
        return True

    def _act(self, request: Request, action: Callable[[Request], None]) -> None:
        try:
            action(request)
        except Refused as refused:
            self._live.reply(request, refused)

    def _let_go_on(self, session: Session) -> None:
        """Do what came while a MutateAhead waited, up to the next one that has to."""
        behind, session.behind = session.behind, None
        while behind:
            if session.behind is not None:
                session.behind.extend(behind)
                return
            behind.popleft()()

    def _mutate_ahead(self, request: Request, flushed: Flushed) -> list[Ticket]:
        """Apply the items and answer; or the recalls to wait for before that."""
        message: MutateAhead = request.message
        session = self._live.session_of(request, message.session)
        if session.ahead_from and message.number > session.ahead_from:
            self._live.reply(request, AheadDone([], [], True))
            return []
        # None, unless its delegations ended before this came: then as for anybody else.
        tickets = [ticket for item in message.items for ticket in self._before_change(session.number, item.operation, flushed)]
        if tickets:
            return tickets
        with self._leader.together():
            done, changed = self._apply_ahead(session, message)
        tickets = self._leases.drop(session.number, changed)
        self._live.send_recalls()
        answer = partial(self._leader.when_durable, request.reply, done)
        if tickets:
            self._live.wait_then(request, partial(self._live.settled, tickets), answer)
        else:
            answer()
        return []

    def _apply_ahead(self, session: Session, message: MutateAhead) -> tuple[AheadDone, set[int]]:
        """Apply the items in order, up to the first one that there is no space for; and the inodes that they changed."""
        done, changed = AheadDone([], [], self._leader.is_short), set()
        session.ahead_from = 0
        for number, item in enumerate(message.items, message.number):
            answer, touched = self._apply_item(session, number, message.acknowledged, item)
            if isinstance(answer, Refused) and answer.code is Code.NO_SPACE:
                session.ahead_from = number
                break
            changed |= touched
            done.codes.append(answer.code.number if isinstance(answer, Refused) else 0)
            done.marks.append(answer.mark if isinstance(answer, AheadMark) else 0)
        return done, changed

    def _apply_item(self, session: Session, number: int, acknowledged: int, item: AheadItem) -> tuple[Any, set[int]]:
        operation: Any = item.operation
        holders = self._holders(operation, session.number, session.resuming)
        transaction = Transaction(session.number, number, acknowledged, 0, holders, operation, item.client_ns)
        # It has happened for the application: the reserve is for this too.
        outcome = self._leader.transact(transaction, frees=True)
        if isinstance(outcome.answer, Refused):
            return outcome.answer, set()
        # Not there: somebody else has made that name first. Also if it comes again, and was applied before.
        is_made = isinstance(operation, Mknod | Mkdir | Symlink) and self._leader.view.get(keys.inode(operation.inode)) is not None
        try:
            if is_made and type(operation) is Mknod and operation.open_mode:
                self._opened(session, operation.inode, operation.open_mode)
        except Refused as refused:
            return refused, outcome.touched
        if is_made:
            self._leases.grant_made(session.number, operation.inode)
        return outcome.answer, outcome.touched

    # --- questions ----------------------------------------------------------------------------------------------------

    def query(self, request: Request) -> None:
        """Query: the answer, shown only once it is durable, with leases on what it shows."""
        if self._comes_behind(request, self.query):
            return
        about_locks = self._locks.questions.get(type(request.message.operation))
        if about_locks is not None:
            about_locks(request)
            return
        if not self._live.grace_over.is_set():
            self._after_grace(request, self.query)
            return
        operation = request.message.operation
        if type(operation) is Close:
            self._close(request, operation)
        elif type(operation) is StatFs:
            self._statfs(request, operation)
        else:
            self._ask(request, set())

    def _ask(self, request: Request, flushed: Flushed) -> None:
        message: Query = request.message
        question: Any = message.operation
        session = self._session_of(request, message.session)
        is_open = type(question) is Open
        answer = machine.query(self._leader.view, GetAttributes(question.inode) if is_open else question)
        tickets = self._before_answer(session.number, question, answer, flushed)
        if tickets:
            self._flush_then(request, tickets, partial(self._ask, request, flushed))
            return
        changed: set[int] = set()
        if is_open:
            self._check_openable(session, answer.attributes.inode, answer.attributes.links, question.mode)
            changed = self._opened(session, answer.attributes.inode, question.mode)
        self._answer_when_dropped(request, session, question, answer, changed)

    def _before_answer(self, session: int, question: Any, answer: Any, flushed: Flushed) -> list[Ticket]:
        """The recalls that are to be obeyed before a question is answered (anew, after them)."""
        tickets: list[Ticket] = []
        if self._leases.others_delegated(session):
            # What a directory holds in all its depth may be changed ahead anywhere.
            shown = self._leases.all_delegated() if type(question) in (GetQuota, ListQuotas) else inodes_of(question, answer)
            tickets += self._leases.take_back(session, shown)
        if self._opens.others_write(session):
            part = type(question) is ReadExtents
            tickets += self._leases.flush(session, inodes_of(question, answer), flushed, may_be_part_of_flush=part)
        return tickets

    def _check_openable(self, session: Session, inode: int, links: int, mode: int) -> None:
        if mode not in (OPEN_READ, OPEN_WRITE, OPEN_READ | OPEN_WRITE):
            raise Refused(Code.INVALID, f"mode {mode}")
        # An orphan is kept for those that had it open when its last name went, and for nobody else.
        if links == 0 and not self._opens.has(session.number, inode):
            raise Refused(Code.STALE, f"inode {inode}")

    def _opened(self, session: Session, inode: int, mode: int) -> set[int]:
        """Remember an open; the inodes that others must drop because of it: a writer changes them without a word."""
        self._opens.open(session.number, inode, mode)
        return {inode} if mode & OPEN_WRITE else set()

    def _close(self, request: Request, operation: Close) -> None:
        session = self._live.session_of(request, request.message.session)
        closed = [each.inode for each in operation.opens if self._opens.close(session.number, each.inode)]
        for inode in closed:
            self._leases.overruns.closed(session.number, inode)
        orphans = [inode for inode in closed if self._leader.view.get(keys.orphan(inode, session.number)) is not None]
        if orphans:
            self._leader.admit(partial(self._free, request, session.number, orphans))
        else:
            self._live.reply(request, Done())

    def _free(self, request: Request, session: int, orphans: list[int]) -> None:
        self._live.reply(request, self._live.free_orphans(session, orphans))

    def _statfs(self, request: Request, question: StatFs) -> None:
        """Figures of a part of the nodes would be ENOSPC to whoever asks before it allocates: wait for all that are up."""
        self._live.session_of(request, request.message.session)
        if not self._live.space_known.is_set():
            self._live.check_may_wait(request)
            self._live.wait_then(request, self._live.space_known.wait, partial(self._statfs, request, question))
            return
        counted: FsFigures = machine.query(self._leader.view, question)
        total_bytes, free_bytes = self._live.capacity()
        if counted.total_bytes:
            total_bytes, free_bytes = min(counted.total_bytes, total_bytes), min(counted.free_bytes, free_bytes)
        counted.total_bytes, counted.free_bytes = total_bytes, free_bytes
        self._live.reply(request, counted)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _answer_when_dropped(self, request: Request, session: Session, question: Any, answer: Any, changed: set[int]) -> None:
        """Answer once no other session shows older state of what the answer changed or shows."""
        number, leases = session.number, self._leases
        tickets = leases.drop(number, changed) if changed else []
        tickets += leases.outstanding_drops(number, inodes_of(question, answer)) if leases.is_dropping else ()
        # Taken before the grants: making room for one may recall another.
        serial = leases.serial
        granted_serial = serial if set_leases(question, answer, partial(leases.grant, number)) else None
        self._live.send_recalls()
        if tickets:
            act = partial(self._answer, request, number, question, answer, granted_serial)
            self._live.wait_then(request, partial(self._live.settled, tickets), act)
        else:
            self._answer(request, number, question, answer, granted_serial)

    def _answer(self, request: Request, session: int, question: Any, answer: Any, granted_serial: int | None) -> None:
        if granted_serial is None:
            self._leader.when_durable(request.reply, answer)
        else:
            self._leader.when_durable(self._reply_leased, request, session, question, answer, granted_serial)

    def _reply_leased(self, request: Request, session: int, question: Any, answer: Any, granted_serial: int) -> None:
        # What was recalled since the grant was recalled on the wire before this answer: the answer must not grant it again.
        if self._leases.was_recalled(session, granted_serial):
            clear_leases(question, answer)
        request.reply(answer)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _flush_then(self, request: Request, tickets: list[Ticket], act: Any) -> None:
        self._live.send_recalls()
        self._live.check_may_wait(request)
        self._live.wait_then(request, partial(self._live.settled, tickets), act)

    def _after_grace(self, request: Request, act: Any) -> None:
        self._live.check_may_wait(request)
        self._live.wait_then(request, self._live.grace_over.wait, partial(act, request))
