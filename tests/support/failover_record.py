"""What the simulation of failover records, for checkers: every batch that etcd ever took, every state that servers wrote."""

from collections.abc import Mapping
from dataclasses import dataclass

from ringfs.base.checksums import plain_digest
from ringfs.meta import marks
from ringfs.meta.etcd.interface import Change
from ringfs.meta.journal.etcd import journal_prefix
from ringfs.wire.packing import pack
from tests.support.etcd_model import EtcdModel
from tests.support.meta_doubles import MemoryStore

PREFIX = b"/ringfs/"


@dataclass(frozen=True, slots=True)
class Appended:
    """A batch that etcd took: who put it, and whose the leader's key was at that moment, since which revision (0: nobody's)."""

    by: str
    key: bytes
    value: bytes
    leader: str
    leader_revision: int


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """A state that a server wrote to its disk: the position it claims, and the digest of all rows."""

    server: str
    position: int
    digest: bytes


@dataclass(slots=True)
class Record:
    """What has happened, for checkers."""

    appended: list[Appended]
    checkpointed: list[Checkpointed]


def digest_of(rows: Mapping[bytes, bytes]) -> bytes:
    """Of a whole state."""
    return plain_digest(pack(sorted(rows.items())))


class RecordedEtcd(EtcdModel):
    """An EtcdModel that remembers every batch that was ever put."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        #: Who asks now.
        self.asked_by = ""
        self._leader = ""

    def _took_effect(self, changes: list[Change], revision: int) -> None:
        for change in changes:
            if change.deleted:
                continue
            if change.pair.key == PREFIX + b"leader":
                self._leader = self.asked_by
            if change.pair.key.startswith(journal_prefix(PREFIX)):
                leader = self.pair(PREFIX + b"leader")
                since = 0 if leader is None else leader.create_revision
                self._record.appended.append(Appended(self.asked_by, change.pair.key, change.pair.value, self._leader, since))
        super()._took_effect(changes, revision)


class RecordedStore(MemoryStore):
    """A server's store, which remembers every checkpoint."""

    def __init__(self, server: str, record: Record, durable: Mapping[bytes, bytes], marks_had: Mapping[bytes, bytes]) -> None:
        super().__init__(durable, marks_had)
        self._server = server
        self._record = record

    async def checkpoint(self, marks_written: Mapping[bytes, bytes]) -> None:
        """See Store."""
        digest = digest_of(self.pairs())
        await super().checkpoint(marks_written)
        self._note(digest)

    def _note(self, digest: bytes) -> None:
        found = marks.read(self)
        assert found is not None
        self._record.checkpointed.append(Checkpointed(self._server, found.position, digest))

    def restarted(self) -> "RecordedStore":
        """See MemoryStore."""
        return RecordedStore(self._server, self._record, self._durable, self._marks)

    def replaced_by(self, loaded: MemoryStore) -> "RecordedStore":
        """The state of a snapshot, which counts as if the server had written it."""
        again = RecordedStore(self._server, self._record, loaded.durable, loaded.durable_marks)
        again._note(digest_of(loaded.durable))
        return again

    def close(self) -> None:
        """See Store."""
