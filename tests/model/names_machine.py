"""The namespace machine beside the plain model: delivering requests, and the steps on sessions, names, quotas and attributes.

Classes of service, content, and what is compared after each step: test_namespace.py.
"""

from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.memory import MemoryView
from ringfs.base.limits import CHUNK_BYTES, RELEASED_EXTENTS_MAX
from ringfs.meta.namespace import facts, machine, system
from ringfs.meta.namespace.ahead import AHEAD_OPERATIONS
from ringfs.meta.namespace.machine import Outcome, Transaction
from ringfs.meta.namespace.marks import AheadMark, mark_of
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import quota
from ringfs.wire.messages.files import Tmpfile
from ringfs.wire.messages.session import OPEN_WRITE
from tests.model.plain_namespace import DIRECTORY, FIFO, FILE, ROOT, SYMLINK, PlainNamespace, Refusal
from tests.support.namespace import SECOND, START_NS

NAMES = st.sampled_from([b"a", b"b", b"c"])
PICK = st.integers(0, 1000)
DELIVERIES = st.sampled_from([1, 1, 1, 2, 3])
#: Around the beginning of a file, and around the boundary of its first two chunks.
OFFSETS = st.one_of(st.integers(0, 30), st.integers(CHUNK_BYTES - 12, CHUNK_BYTES + 6))
HELD = st.booleans()

KINDS = {"file": FILE | 0o644, "fifo": FIFO | 0o600}


class NamesMachine(RuleBasedStateMachine):
    """Requests of sessions, or of the leader, on sessions, names, quotas and attributes; a step is one of them."""

    #: Extents that a transaction may let go of by itself; 0: all whole chunks are doomed first.
    releases_max = RELEASED_EXTENTS_MAX

    def __init__(self) -> None:
        super().__init__()
        self._patch = patch("ringfs.meta.namespace.work.RELEASED_EXTENTS_MAX", self.releases_max)
        self._patch.start()
        self.view = MemoryView()
        self.twin = MemoryView()
        for view in (self.view, self.twin):
            machine.format_namespace(view, "cluster", "replica:2", START_NS)
        self.model = PlainNamespace(dooms=self.releases_max == 0)
        self.now_ns = START_NS
        self.numbers: dict[int, int] = {}
        #: Transactions that changed something and are not acknowledged, with their answers, by session.
        self.kept: dict[int, list[tuple[Transaction, Any]]] = {}
        self.made: list[int] = [ROOT]
        #: By session, first and stop of the inode numbers that are set apart for it.
        self.reserved: dict[int, tuple[int, int]] = {}

    # --- delivering -----------------------------------------------------------------------------------------------

    def apply(self, transaction: Transaction) -> Outcome:
        """On the view, and from the journal on its twin."""
        outcome = machine.apply(self.view, transaction)
        again = machine.apply(self.twin, Transaction.decode(transaction.encode()))
        assert repr(outcome.answer) == repr(again.answer)
        return outcome

    def system(self, operation: Any) -> Any:
        self.now_ns += SECOND
        outcome = self.apply(Transaction(0, 0, 0, self.now_ns, [], operation))
        assert not isinstance(outcome.answer, Refused)
        return outcome.answer

    def request(self, pick: int, deliveries: int, operation: Any, expected: Code | None, holders: set[int] | None = None) -> Any:
        """Deliver a request one to three times: one effect, one answer, the refusal that the model expects. Every other one, if it
        may be, was done ahead: then a mark of the answer that a copy gives is all that is answered and kept."""
        session = self.pick(pick, sorted(self.model.sessions))
        number = self.numbers[session] = self.numbers[session] + 1
        # Acknowledge with some lag, so that late duplicates find a window.
        acknowledged = max(1, number - 4)
        transaction = Transaction(session, number, acknowledged, self.now_ns, sorted(holders or []), operation)
        foreseen = None
        if number % 2 and type(operation) in AHEAD_OPERATIONS:
            foreseen = machine.apply(MemoryView(dict(self.view.pairs())), transaction).answer
            transaction.client_ns = self.now_ns
        first = self.apply(transaction)
        for _ in range(deliveries - 1):
            again = self.apply(transaction)
            assert repr(again.answer) == repr(first.answer)
            assert not again.changed
            assert not again.touched
        code = first.answer.code if isinstance(first.answer, Refused) else None
        assert code is expected, f"{operation}: {first.answer!r}, not {expected}"
        if first.changed:
            self.kept[session].append((transaction, first.answer))
        self.kept[session] = [(old, answer) for old, answer in self.kept[session] if old.number >= acknowledged]
        if code is None and foreseen is not None:
            assert first.answer == AheadMark(mark_of(foreseen))
            return foreseen
        return None if code else first.answer

    @staticmethod
    def pick(pick: int, among: list[Any]) -> Any:
        return among[pick % len(among)]

    def inode(self, pick: int) -> int:
        """Any inode that ever was, living ones more often."""
        living = sorted(self.model.inodes)
        return int(self.pick(pick, living * 3 + self.made[-3:]))

    def directory(self, pick: int) -> int:
        """Mostly a directory that takes entries."""
        directories = [n for n, inode in sorted(self.model.inodes.items()) if inode.kind == DIRECTORY and not inode.removed]
        return int(self.pick(pick, directories * 4 + self.made[-2:]))

    def tick(self) -> int:
        self.now_ns += SECOND
        return self.now_ns

    def holders(self, held: bool) -> set[int]:
        """All sessions but the first, and one that does not exist; or none."""
        return {*sorted(self.model.sessions)[1:], 999} if held else set()

    # --- sessions and time ----------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.sessions) < 3)
    @rule()
    def begin_session(self) -> None:
        session = self.system(system.BeginSession("model")).session
        assert session not in self.numbers
        self.model.sessions.add(session)
        self.numbers[session] = 0
        self.kept[session] = []

    @precondition(lambda self: len(self.model.sessions) > 1)
    @rule(pick=PICK)
    def end_session(self, pick: int) -> None:
        session = self.pick(pick, sorted(self.model.sessions))
        self.system(system.EndSession(session))
        self.model.end_session(session, self.now_ns)
        outcome = self.apply(Transaction(session, 1, 1, self.now_ns, [], m.Mkdir(ROOT, b"z", 0, 0, 0, 0)))
        assert outcome.answer.code is Code.NO_SESSION

    @rule(pick=PICK, inode=PICK)
    def free_orphans(self, pick: int, inode: int) -> None:
        session = self.pick(pick, sorted(self.model.sessions))
        numbers = [self.inode(inode), *list(facts.orphans_of(self.view, session))[:1]]
        self.system(system.FreeOrphans(session, numbers))
        self.model.free(session, set(numbers), self.now_ns)

    @rule(seconds=st.integers(1, 40))
    def pass_time(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND

    @rule()
    def reap(self) -> None:
        """The nodes have deleted all that was condemned."""
        for node in (1, 2, 3):
            self.system(system.MarkReaped(node, facts.counters(self.view).next_condemned - 1))
        self.model.dead.clear()
        self.model.hollow.clear()

    @precondition(lambda self: any(self.kept.values()))
    @rule(pick=PICK)
    def deliver_late(self, pick: int) -> None:
        """A duplicate from long ago gets its first answer; one that was acknowledged is FORGOTTEN."""
        session = self.pick(pick, sorted(session for session in self.model.sessions if self.kept[session]) or [0])
        if session == 0:
            return
        transaction, answer = self.pick(pick, self.kept[session])
        outcome = self.apply(transaction)
        assert (repr(outcome.answer), outcome.changed) == (repr(answer), False)
        if transaction.acknowledged > 1:
            forgotten = self.apply(Transaction(session, transaction.acknowledged - 1, 1, self.now_ns, [], transaction.operation))
            assert forgotten.answer.code is Code.FORGOTTEN

    # --- names ----------------------------------------------------------------------------------------------------

    def make(self, pick: int, deliveries: int, operation: Any, kind: int, permissions: int, size: int = 0) -> None:
        session = self.pick(pick, sorted(self.model.sessions))
        first, stop = self.reserved.get(session, (0, 0))
        next_number = self.model.next_number
        if first < stop and deliveries != 2:
            operation.inode = self.model.next_number = first
        try:
            with self.model.limited():
                number = self.model.make(operation.parent, operation.name, kind, permissions, operation.gid, size)
        except Refusal as refusal:
            self.request(pick, deliveries, operation, refusal.code)
            return
        finally:
            if operation.inode:
                self.model.next_number = next_number
        answer = self.request(pick, deliveries, operation, None)
        assert answer.attributes.inode == number
        self.made.append(number)
        if operation.inode:
            self.reserved[session] = (first + 1, stop)

    @rule(pick=PICK, times=DELIVERIES, count=st.integers(1, 9))
    def reserve_inodes(self, pick: int, times: int, count: int) -> None:
        session = self.pick(pick, sorted(self.model.sessions))
        first = self.model.next_number
        self.model.next_number += count
        answer = self.request(pick, times, m.ReserveInodes(count), None)
        self.reserved[session] = (answer.first, answer.stop)
        assert self.reserved[session] == (first, first + count)

    @rule(pick=PICK, times=DELIVERIES, parent=PICK, name=NAMES, kind=st.sampled_from(sorted(KINDS)))
    def mknod(self, pick: int, times: int, parent: int, name: bytes, kind: str) -> None:
        self.tick()
        mode = KINDS[kind]
        operation = m.Mknod(self.directory(parent), name, mode, 0, 1, 5, 0o022, 0, True)
        self.make(pick, times, operation, mode & 0o170000, mode & 0o755)

    @rule(pick=PICK, times=DELIVERIES, parent=PICK, name=NAMES)
    def mkdir(self, pick: int, times: int, parent: int, name: bytes) -> None:
        self.tick()
        self.make(pick, times, m.Mkdir(self.directory(parent), name, 0o777, 1, 5, 0o022), DIRECTORY, 0o755)

    @rule(pick=PICK, times=DELIVERIES, parent=PICK, name=NAMES)
    def symlink(self, pick: int, times: int, parent: int, name: bytes) -> None:
        self.tick()
        self.make(pick, times, m.Symlink(self.directory(parent), name, b"target", 1, 5), SYMLINK, 0o777, 6)

    def expect(self, pick: int, deliveries: int, operation: Any, change: Any, holders: set[int] | None = None) -> Any:
        """Do it in the model first; then the machine must do, or refuse, the same."""
        try:
            with self.model.limited():
                change()
        except Refusal as refusal:
            return self.request(pick, deliveries, operation, refusal.code, holders)
        return self.request(pick, deliveries, operation, None, holders)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, parent=PICK, name=NAMES)
    def link(self, pick: int, times: int, inode: int, parent: int, name: bytes) -> None:
        self.tick()
        number, place = self.inode(inode), self.directory(parent)
        session = self.pick(pick, sorted(self.model.sessions))
        self.expect(pick, times, m.Link(number, place, name), lambda: self.model.link(number, place, name, session))

    @rule(pick=PICK, times=DELIVERIES, parent=PICK, is_linkable=st.sampled_from([True, True, False]))
    def tmpfile(self, pick: int, times: int, parent: int, is_linkable: bool) -> None:
        self.tick()
        place, session = self.directory(parent), self.pick(pick, sorted(self.model.sessions))
        made: list[int] = []

        def change() -> None:
            made.append(self.model.make_unnamed(place, 0o644, 5, session, is_linkable=is_linkable))

        answer = self.expect(pick, times, Tmpfile(place, 0o666, 1, 5, 0o022, OPEN_WRITE, is_linkable), change)
        if answer is not None:
            assert [answer.attributes.inode] == made
            self.made += made

    @rule(pick=PICK, times=DELIVERIES, parent=PICK, name=NAMES, held=HELD)
    def unlink(self, pick: int, times: int, parent: int, name: bytes, held: bool) -> None:
        now_ns, place, holders = self.tick(), self.directory(parent), self.holders(held)
        self.expect(pick, times, m.Unlink(place, name), lambda: self.model.unlink(place, name, holders, now_ns), holders)

    @rule(pick=PICK, times=DELIVERIES, parent=PICK, name=NAMES, held=HELD)
    def rmdir(self, pick: int, times: int, parent: int, name: bytes, held: bool) -> None:
        now_ns, place, holders = self.tick(), self.directory(parent), self.holders(held)
        self.expect(pick, times, m.Rmdir(place, name), lambda: self.model.rmdir(place, name, holders, now_ns), holders)

    @rule(pick=PICK, times=DELIVERIES, parent=PICK, name=NAMES, to=PICK, new=NAMES, flags=st.sampled_from([0, 0, 1, 2]), held=HELD)
    def rename(self, pick: int, times: int, parent: int, name: bytes, to: int, new: bytes, flags: int, held: bool) -> None:
        now_ns, holders = self.tick(), self.holders(held)
        source, target = (self.directory(parent), name), (self.directory(to), new)
        operation = m.Rename(*source, *target, flags)
        self.expect(pick, times, operation, lambda: self.model.rename(source, target, flags, holders, now_ns), holders)

    # --- quotas ---------------------------------------------------------------------------------------------------

    @rule(
        pick=PICK, times=DELIVERIES, inode=PICK, bytes_max=st.sampled_from([0, 1, 30, 60]), files_max=st.sampled_from([0, 0, 2, 5])
    )
    def set_quota(self, pick: int, times: int, inode: int, bytes_max: int, files_max: int) -> None:
        self.tick()
        number = self.directory(inode)
        operation = quota.SetQuota(number, bytes_max, files_max)
        self.expect(pick, times, operation, lambda: self.model.set_quota(number, (bytes_max, files_max)))

    # --- attributes -----------------------------------------------------------------------------------------------

    def setattr(self, pick: int, deliveries: int, inode: int, valid: int, change: Any, **fields: int) -> None:
        given = {"mode": 0, "uid": 0, "gid": 0, "size_bytes": 0, "atime_ns": 0, "mtime_ns": 0, "ctime_ns": 0} | fields
        self.expect(pick, deliveries, m.Setattr(inode, valid, **given, privileged=True), change)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, permissions=st.sampled_from([0o755, 0o2755, 0o700]))
    def chmod(self, pick: int, times: int, inode: int, permissions: int) -> None:
        self.tick()
        number = self.inode(inode)

        def change() -> None:
            found = self.model.known(number)
            if found.kind == SYMLINK:
                raise Refusal(Code.NOT_SUPPORTED)
            found.permissions = permissions

        self.setattr(pick, times, number, m.SET_MODE, change, mode=permissions)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, gid=st.integers(0, 9))
    def chgrp(self, pick: int, times: int, inode: int, gid: int) -> None:
        self.tick()
        number = self.inode(inode)

        def change() -> None:
            found = self.model.known(number)
            found.gid = gid
            if found.kind != DIRECTORY:
                found.permissions &= ~0o6000 if found.permissions & 0o010 else ~0o4000

        self.setattr(pick, times, number, m.SET_GID, change, gid=gid)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, size=OFFSETS)
    def truncate(self, pick: int, times: int, inode: int, size: int) -> None:
        now_ns, number = self.tick(), self.inode(inode)
        self.setattr(pick, times, number, m.SET_SIZE, lambda: self.model.truncate(number, size, now_ns), size_bytes=size)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, name=st.sampled_from([b"user.a", b"trusted.b"]), flags=st.integers(0, 2))
    def set_xattr(self, pick: int, times: int, inode: int, name: bytes, flags: int) -> None:
        number, value = self.inode(inode), b"%d" % self.tick()

        def change() -> None:
            found = self.model.known(number)
            self._refuse_user_xattr(number, name)
            if flags == m.XATTR_CREATE and name in found.xattrs:
                raise Refusal(Code.EXISTS)
            if flags == m.XATTR_REPLACE and name not in found.xattrs:
                raise Refusal(Code.NO_XATTR)
            found.xattrs[name] = value

        self.expect(pick, times, m.SetXattr(number, name, value, flags, False), change)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, name=st.sampled_from([b"user.a", b"trusted.b"]))
    def remove_xattr(self, pick: int, times: int, inode: int, name: bytes) -> None:
        self.tick()
        number = self.inode(inode)

        def change() -> None:
            found = self.model.known(number)
            self._refuse_user_xattr(number, name)
            if name not in found.xattrs:
                raise Refusal(Code.NO_XATTR)
            del found.xattrs[name]

        self.expect(pick, times, m.RemoveXattr(number, name), change)

    def _refuse_user_xattr(self, number: int, name: bytes) -> None:
        if name.startswith(b"user.") and self.model.inodes[number].kind not in (FILE, DIRECTORY):
            raise Refusal(Code.NOT_PERMITTED)
