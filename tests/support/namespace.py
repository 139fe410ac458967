"""A namespace in memory to try operations on: one call per operation, checked after each."""

from typing import Any

from ringfs.base.errors import Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.memory import MemoryView
from ringfs.meta.namespace import keys, machine, system
from ringfs.meta.namespace.check import check
from ringfs.meta.namespace.machine import Outcome, Transaction
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import Attributes

SECOND = 10**9
#: When every trial namespace was formatted.
START_NS = 1_700_000_000 * SECOND


class TrialNamespace:
    """A formatted namespace with one session; time goes on by a second with every transaction."""

    def __init__(self) -> None:
        self.view = MemoryView()
        self.now_ns = START_NS
        machine.format_namespace(self.view, "11111111-2222-3333-4444-555555555555", "replica:2", START_NS)
        self.session = self.begin_session()
        self.numbers: dict[int, int] = {}

    def begin_session(self, name: str = "trial") -> int:
        """Register one more session."""
        session: int = self.system(system.BeginSession(name)).session
        return session

    def system(self, operation: Any) -> Any:
        """Apply a transaction of the leader's; its answer, or Refused raised."""
        return self._answer(self.apply(Transaction(0, 0, 0, self._tick(), [], operation)))

    def do(self, operation: Any, *, holders: list[int] | None = None, session: int | None = None) -> Any:
        """Apply an operation under the next request number; its answer, or Refused raised."""
        return self._answer(self.outcome(operation, holders=holders, session=session))

    def outcome(self, operation: Any, *, holders: list[int] | None = None, session: int | None = None) -> Outcome:
        """As do, but the outcome."""
        session = self.session if session is None else session
        number = self.numbers[session] = self.numbers.get(session, 0) + 1
        return self.apply(Transaction(session, number, number, self._tick(), holders or [], operation))

    def apply(self, transaction: Transaction) -> Outcome:
        """Apply any transaction, and check that the namespace is right, and that a refusal changed nothing."""
        before = self.view.pairs()
        outcome = machine.apply(self.view, transaction)
        findings = [str(finding) for finding in check(self.view)]
        assert not findings, findings
        assert outcome.changed == (before != self.view.pairs())
        if isinstance(outcome.answer, Refused):
            assert not outcome.changed
        return outcome

    def ask(self, question: Any) -> Any:
        """The answer to a question, or Refused raised."""
        return machine.query(self.view, question)

    def _tick(self) -> int:
        self.now_ns += SECOND
        return self.now_ns

    @staticmethod
    def _answer(outcome: Outcome) -> Any:
        if isinstance(outcome.answer, Refused):
            raise outcome.answer
        return outcome.answer

    # --- short forms ----------------------------------------------------------------------------------------------

    def file(self, name: bytes, parent: int = ROOT_INODE, mode: int = 0o100644, **others: Any) -> int:
        """A new file's number."""
        fields = {"rdev": 0, "uid": 1000, "gid": 1000, "umask": 0, "open_mode": 0, "exclusive": True} | others
        number: int = self.do(m.Mknod(parent, name, mode, **fields)).attributes.inode
        return number

    def directory(self, name: bytes, parent: int = ROOT_INODE, mode: int = 0o755, **others: Any) -> int:
        """A new directory's number."""
        fields = {"uid": 1000, "gid": 1000, "umask": 0} | others
        number: int = self.do(m.Mkdir(parent, name, mode, **fields)).attributes.inode
        return number

    def symlink(self, name: bytes, target: bytes = b"target", parent: int = ROOT_INODE) -> int:
        """A new symlink's number."""
        number: int = self.do(m.Symlink(parent, name, target, 1000, 1000)).attributes.inode
        return number

    def attributes(self, number: int) -> Attributes:
        """An inode's attributes."""
        attributes: Attributes = self.ask(q.GetAttributes(number)).attributes
        return attributes

    def exists(self, number: int) -> bool:
        """Whether there is such an inode."""
        return self.view.get(keys.inode(number)) is not None

    def names(self, number: int = ROOT_INODE) -> list[bytes]:
        """A directory's names in its order."""
        return [entry.name for entry in self.ask(q.ReadDirectory(number, 0, 4096)).entries]

    def commit(self, number: int, *extents: m.Extent, objects: list[m.NewObject] | None = None, **others: Any) -> m.CommittedFile:
        """Commit extents of one file."""
        fields = {"mtime_ns": -1, "ctime_ns": -1, "atime_ns": -1, "expected_change": 0, "rewrite": False} | others
        answer: m.Committed = self.do(m.Commit(objects or [], [m.FileCommit(number, list(extents), **fields)]))
        return answer.files[0]

    def new_object(self, label: int, size_bytes: int, *, age_ns: int = 0) -> m.NewObject:
        """An object put just now, or age_ns before the next transaction."""
        return m.NewObject(object_id(label), size_bytes, "replica:2", self.now_ns + SECOND - age_ns, "replica:2")

    def extents(self, number: int) -> list[tuple[int, int, int, bytes]]:
        """A file's extents as (offset, length, object offset, source)."""
        found = self.ask(q.ReadExtents(number, 0, 1 << 15)).extents
        return [(extent.offset, extent.length, extent.object_offset, extent.source) for extent in found]


def object_id(label: int) -> bytes:
    """A made-up object id."""
    return label.to_bytes(20, "big")


def inline(offset: int, data: bytes) -> m.Extent:
    """An inline extent."""
    return m.Extent(offset, len(data), m.INLINE, data)


def hole(offset: int, length: int) -> m.Extent:
    """A hole."""
    return m.Extent(offset, length, m.HOLE, b"")


def piece_of(label: int, offset: int, length: int, object_offset: int = 0) -> m.Extent:
    """An extent of an object's bytes."""
    return m.Extent(offset, length, object_offset, object_id(label))
