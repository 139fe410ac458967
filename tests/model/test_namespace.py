"""The namespace machine against plain dictionaries, with every request delivered one to three times, and again later.

After each step: the checker finds nothing, every inode, entry, xattr and byte is as the model has it, and a second copy that
applied the same journal is the same byte by byte.
"""

from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.memory import MemoryView
from ringfs.base.limits import CHUNK_BYTES, RELEASED_EXTENTS_MAX
from ringfs.meta.namespace import facts, keys, machine, system
from ringfs.meta.namespace.ahead import AHEAD_OPERATIONS
from ringfs.meta.namespace.check import check
from ringfs.meta.namespace.condemned import find_condemned
from ringfs.meta.namespace.machine import Outcome, Transaction
from ringfs.meta.namespace.marks import AheadMark, mark_of
from ringfs.meta.namespace.promises import tolerance_of
from ringfs.wire.messages import content, heal, quota
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.common import CLASS_XATTR, Attributes
from ringfs.wire.messages.files import Tmpfile
from ringfs.wire.messages.session import OPEN_WRITE
from ringfs.wire.packing import unpack
from tests.model.plain_namespace import DIRECTORY, FIFO, FILE, ROOT, SYMLINK, Origin, PlainNamespace, Refusal
from tests.support.namespace import SECOND, START_NS, object_id

NAMES = st.sampled_from([b"a", b"b", b"c"])
PICK = st.integers(0, 1000)
DELIVERIES = st.sampled_from([1, 1, 1, 2, 3])
#: Around the beginning of a file, and around the boundary of its first two chunks.
OFFSETS = st.one_of(st.integers(0, 30), st.integers(CHUNK_BYTES - 12, CHUNK_BYTES + 6))
OBJECT_BYTES = 24
LABELS = st.integers(1, 4)
HELD = st.booleans()
LIMITS = st.sampled_from([0, 0, 2, 5, 30])
#: Those that three failure domains are enough for; the default is replica:2.
CLASSES = ["replica:1", "replica:2", "replica:3", "ec:2+1"]

#: For what moves extents: around chunks' boundaries.
MODES = st.sampled_from([0, 1, 3, 3, 0x10, 0x11, 8, 0x20])
MOVES = st.sampled_from([0, 4096, 8192, CHUNK_BYTES - 4096, CHUNK_BYTES, CHUNK_BYTES + 4096])
LENGTHS = st.one_of(st.integers(1, 30), MOVES.filter(bool), st.just(3 * CHUNK_BYTES))
#: Files longer than this are not made longer by insertions.
LONG_BYTES = 8 * CHUNK_BYTES

KINDS = {"file": FILE | 0o644, "fifo": FIFO | 0o600}
EXTENTS = st.tuples(OFFSETS, st.integers(1, 12), st.sampled_from(["inline", "hole", "object"]), LABELS, st.integers(0, 12))


class NamespaceMachine(RuleBasedStateMachine):
    """One step is one request of one of the sessions, or of the leader. It begins with a small tree: /a/, /a/a/, /b/, /c, /b/c."""

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

    @initialize()
    def start(self) -> None:
        for _ in range(2):
            self.begin_session()
        for name in ("data1", "data2", "data3"):
            self.system(system.EnterNode(f"uuid {name}", name, f"{name}:1", name, 100))
        self.mkdir(0, 1, 0, b"a")
        self.mkdir(0, 1, 0, b"b")
        self.make(0, 1, m.Mkdir(2, b"a", 0o755, 1, 5, 0), DIRECTORY, 0o755)
        self.mknod(0, 1, 0, b"c", "file")
        self.make(0, 1, m.Mknod(3, b"c", FILE | 0o6755, 0, 1, 5, 0, 0, True), FILE, 0o6755)
        for index, inode in enumerate((5, 6)):
            extents = [(0, 12, "object", 1 + index, 0), (CHUNK_BYTES - 12, 12, "object", 3, 12 * index)]
            self.commit_files(0, 1, [(inode, extents)], {1, 2, 3}, 0)

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

    # --- classes of service ---------------------------------------------------------------------------------------

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, text=st.sampled_from([*CLASSES, "ec:4+2"]), flags=st.sampled_from([0, 0, 1, 2]))
    def set_class(self, pick: int, times: int, inode: int, text: str, flags: int) -> None:
        self.tick()
        number = self.inode(inode)

        def change() -> None:
            found = self.model.known(number)
            self._refuse_user_xattr(number, CLASS_XATTR)
            if flags == m.XATTR_CREATE and found.service_class:
                raise Refusal(Code.EXISTS)
            if flags == m.XATTR_REPLACE and not found.service_class:
                raise Refusal(Code.NO_XATTR)
            if text not in CLASSES:
                raise Refusal(Code.INVALID)
            found.service_class = text

        self.expect(pick, times, m.SetXattr(number, CLASS_XATTR, text.encode(), flags, False), change)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK)
    def remove_class(self, pick: int, times: int, inode: int) -> None:
        self.tick()
        number = self.inode(inode)

        def change() -> None:
            found = self.model.known(number)
            self._refuse_user_xattr(number, CLASS_XATTR)
            if not found.service_class:
                raise Refusal(Code.NO_XATTR)
            found.service_class = ""

        self.expect(pick, times, m.RemoveXattr(number, CLASS_XATTR), change)

    @rule(inode=PICK)
    def reclass(self, inode: int) -> None:
        """A file's objects get its class, a lower one only if no other file needs more."""
        number = self.file_or_other(inode)
        found = self.model.inodes.get(number)
        if found is None or found.kind != FILE:
            return
        expected = {oid: self._class_after(oid, self._promise(number)) for oid in self._pointed_to(number)}
        self.system(heal.Reclass(number, 0, b""))
        assert {oid: self._object_row(oid)[2] for oid in expected} == expected

    def _class_after(self, oid: bytes, wanted: str) -> str:
        before = self._object_row(oid)[2]
        needed = max(tolerance_of(self._promise(number)) for number in self.model.pointing(oid))
        return str(wanted if tolerance_of(wanted) >= min(tolerance_of(before), needed) else before)

    @rule(label=LABELS, form=st.sampled_from(CLASSES), is_known=st.booleans())
    def reform(self, label: int, form: str, is_known: bool) -> None:
        """From the form that it is in, to one that keeps the promise; else nothing."""
        oid = object_id(label)
        if oid not in self.model.live_bytes():
            assert not self.system(heal.Reform([heal.Reformed(oid, "replica:2", form)])).objects
            return
        _, _, promised, before = self._object_row(oid)
        done = self.system(heal.Reform([heal.Reformed(oid, before if is_known else "ec:3+3", form)])).objects
        may = is_known and tolerance_of(form) >= tolerance_of(promised)
        assert done == ([oid] if may or before == form else [])
        assert self._object_row(oid)[2:] == [promised, form if done else before]

    @rule(labels=st.sets(st.integers(1, 8), min_size=1))
    def sweep(self, labels: set[int]) -> None:
        self.tick()
        oids = [object_id(label) for label in sorted(labels)]
        assert self.system(heal.Sweep(1, oids)).count == self.model.sweep(set(oids), self.now_ns)

    def _promise(self, number: int) -> str:
        return self.model.inodes[number].service_class or "replica:2"

    def _pointed_to(self, number: int) -> set[bytes]:
        inode = self.model.inodes.get(number)
        return set() if inode is None else {origin[0] for origin in inode.content.values() if isinstance(origin, tuple)}

    def _object_row(self, oid: bytes) -> list[Any]:
        value = self.view.get(keys.object_row(oid))
        assert value is not None
        row: list[Any] = unpack(value)
        return row

    def check_promises(self, number: int, before: set[bytes]) -> None:
        """What a file points to and did not has at least its class."""
        for oid in self._pointed_to(number) - before:
            assert tolerance_of(self._object_row(oid)[2]) >= tolerance_of(self._promise(number))

    # --- content --------------------------------------------------------------------------------------------------

    @rule(
        pick=PICK,
        times=DELIVERIES,
        files=st.lists(st.tuples(PICK, st.lists(EXTENTS, max_size=4)), min_size=1, max_size=3),
        offered=st.one_of(st.just({1, 2, 3, 4}), st.sets(LABELS)),
        age=st.sampled_from([0, 0, 0, 29, 30, 1000]),
        promised=st.sampled_from(CLASSES),
    )
    def commit(self, pick: int, times: int, files: list[Any], offered: set[int], age: int, promised: str) -> None:
        chosen = [(self.file_or_other(inode), drawn) for inode, drawn in files]
        before = {number: self._pointed_to(number) for number, _ in chosen}
        self.commit_files(pick, times, chosen, offered, age, promised)
        for number, oids in before.items():
            self.check_promises(number, oids)

    def commit_files(
        self, pick: int, times: int, files: list[Any], offered: set[int], age: int, promised: str = "replica:2"
    ) -> None:
        now_ns = self.tick()
        commits = []
        for number, drawn in files:
            extents = [extent for extent in map(self._extent, drawn) if extent.offset % CHUNK_BYTES + extent.length <= CHUNK_BYTES]
            commits.append(m.FileCommit(number, extents, -1, -1, -1, 0, False))
        put_ns = {object_id(label): now_ns - age * SECOND for label in offered}
        objects = [m.NewObject(oid, OBJECT_BYTES, promised, when_ns, promised) for oid, when_ns in sorted(put_ns.items())]
        codes: list[int] = []

        def change() -> None:
            wanted = {extent.source for file in commits for extent in file.extents if extent.object_offset >= 0}
            self.model.refuse_objects(wanted, put_ns, now_ns)
            before = set(self.model.live_bytes())
            codes.extend(self._write(file) for file in commits)
            self.model.settle(before, put_ns, now_ns)

        answer = self.expect(pick, times, m.Commit(objects, commits), change)
        if answer is not None:
            assert [file.code for file in answer.files] == codes

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, mode=MODES, offset=st.one_of(OFFSETS, MOVES), length=LENGTHS)
    def allocate(self, pick: int, times: int, inode: int, mode: int, offset: int, length: int) -> None:
        now_ns, number = self.tick(), self.file_or_other(inode)
        known = self.model.inodes.get(number)
        if mode == content.INSERT_RANGE and known is not None and known.size > LONG_BYTES:
            return
        operation = content.Allocate(number, mode, offset, length, False)
        self.expect(pick, times, operation, lambda: self.model.allocate(number, mode, offset, length, now_ns))

    @rule(pick=PICK, times=DELIVERIES, files=st.tuples(PICK, PICK), start=OFFSETS, to=st.one_of(OFFSETS, MOVES), length=LENGTHS)
    def copy_range(self, pick: int, times: int, files: tuple[int, int], start: int, to: int, length: int) -> None:
        now_ns, (source, other) = self.tick(), map(self.file_or_other, files)
        before = self._pointed_to(other)
        counts: list[int] = []

        def change() -> None:
            counts.append(self.model.copy_range(source, start, other, to, length, now_ns))

        answer = self.expect(pick, times, content.CopyRange(source, start, other, to, length, False), change)
        if answer is not None:
            assert [answer.copied_bytes] == counts
            self.check_promises(other, before)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, parent=PICK, name=NAMES)
    def clone(self, pick: int, times: int, inode: int, parent: int, name: bytes) -> None:
        self.tick()
        number, place = self.inode(inode), self.directory(parent)
        made: list[int] = []
        answer = self.expect(
            pick, times, content.Clone(number, place, name), lambda: made.append(self.model.clone(number, place, name))
        )
        if answer is not None:
            assert [answer.attributes.inode] == made
            self.made += made

    @rule()
    def release_doomed(self) -> None:
        assert not self.system(content.ReleaseDoomed(1 << 20)).more
        self.model.release_doomed(self.now_ns)

    def file_or_other(self, pick: int) -> int:
        """Mostly a regular file."""
        regular = [number for number, inode in sorted(self.model.inodes.items()) if inode.kind == FILE]
        return int(self.pick(pick, regular * 4 + self.made[-2:]))

    @staticmethod
    def _extent(drawn: tuple[int, int, str, int, int]) -> m.Extent:
        offset, length, kind, label, object_offset = drawn
        if kind == "inline":
            return m.Extent(offset, length, m.INLINE, bytes(range(label, label + length)))
        if kind == "hole":
            return m.Extent(offset, length, m.HOLE, b"")
        return m.Extent(offset, length, object_offset, object_id(label))

    def _write(self, file: m.FileCommit) -> int:
        """In the model; the refusal's number or 0."""
        try:
            if self.model.known(file.inode).kind != FILE:
                raise Refusal(Code.INVALID)
            with self.model.limited(in_part=True):
                for extent in file.extents:
                    self.model.write(file.inode, extent.offset, origins_of(extent))
        except Refusal as refusal:
            return refusal.code.number
        return 0

    # --- comparing ------------------------------------------------------------------------------------------------

    @invariant()
    def checker_is_content(self) -> None:
        findings = [str(finding) for finding in check(self.view)]
        assert not findings, findings

    @invariant()
    def agrees_with_model(self) -> None:
        for number in self.made:
            if number in self.model.inodes:
                self._compare(number)
            else:
                with pytest.raises(Refused):
                    machine.query(self.view, m.GetAttributes(number))
        counters = facts.counters(self.view)
        live = self.model.live_bytes()
        assert counters.inode_count == len(self.model.inodes)
        assert counters.live_bytes == sum(live.values())
        dead_count = len(self.model.dead) - len(self.model.hollow)
        dead_bytes = sum(max(0, OBJECT_BYTES - count) for count in live.values()) + OBJECT_BYTES * dead_count
        assert counters.dead_bytes == dead_bytes
        for oid, verdict_ns in self.model.dead.items():
            row = find_condemned(self.view, oid)
            assert row is not None
            assert row[1:] == (verdict_ns, 0 if oid in self.model.hollow else OBJECT_BYTES)

    def _compare(self, number: int) -> None:
        plain = self.model.inodes[number]
        found: Attributes = machine.query(self.view, m.GetAttributes(number)).attributes
        assert (found.mode, found.gid) == (plain.kind | plain.permissions, plain.gid)
        assert found.links == self.model.links(number)
        assert facts.class_text(self.view, found.class_number) == (plain.service_class or "replica:2")
        is_shown = plain.service_class and plain.kind in (FILE, DIRECTORY)
        names = [*plain.xattrs, CLASS_XATTR] if is_shown else [*plain.xattrs]
        assert machine.query(self.view, m.ListXattrs(number)).names == sorted(names)
        for name, value in plain.xattrs.items():
            assert machine.query(self.view, m.GetXattr(number, name)).value == value
        if plain.kind == DIRECTORY:
            page = machine.query(self.view, m.ReadDirectory(number, 0, 100))
            assert [(entry.name, entry.attributes.inode) for entry in page.entries] == list(plain.entries.items())
            assert found.size_bytes == len(plain.entries)
            if not plain.removed:
                figures = machine.query(self.view, quota.GetQuota(number))
                assert (figures.bytes_used, figures.files_used) == self.model.usage(number)
                assert (figures.bytes_max, figures.files_max) == plain.limits
            for name, child in plain.entries.items():
                assert machine.query(self.view, m.Lookup(number, name)).attributes.inode == child
        else:
            assert found.size_bytes == plain.size
            assert found.stored_bytes == len(plain.content)
            extents = machine.query(self.view, m.ReadExtents(number, 0, 1000)).extents
            content = {extent.offset + i: origin for extent in extents for i, origin in enumerate(origins_of(extent))}
            assert content == plain.content

    def teardown(self) -> None:
        self._patch.stop()
        assert self.view.pairs() == self.twin.pairs()


def origins_of(extent: m.Extent) -> list[Origin | None]:
    """Where each byte of an extent comes from."""
    if extent.object_offset == m.INLINE:
        return list(extent.source)
    if extent.object_offset == m.HOLE:
        return [None] * extent.length
    return [(extent.source, extent.object_offset + i) for i in range(extent.length)]


class DoomingMachine(NamespaceMachine):
    """The same, but every whole chunk that a file loses is doomed, and let go of later."""

    releases_max = 0


TestNamespace = NamespaceMachine.TestCase
TestDooming = DoomingMachine.TestCase
TestNamespace.settings = TestDooming.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
