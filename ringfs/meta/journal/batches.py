"""The values and keys of the journal in etcd, packed and parsed, and entries put together from them again. Pure.
docs/formats/journal-etcd.md is normative.

A batch is one key of etcd. Its number counts from 1 without gaps. An entry that does not fit goes on in the next batch; what its
leader did not finish before it lost the leadership was never acknowledged, and is dropped where another term's batch follows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringfs.base.checksums import plain_digest
from ringfs.base.limits import MIB
from ringfs.meta.journal.interface import JournalDamaged
from ringfs.wire.packing import pack, unpack

VERSION = 1
#: Of entries in one batch: etcd refuses requests over 1.5 MiB by default.
BATCH_BYTES_MAX = MIB
_CODE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """chunks: whole entries but for the first, if that continues what was begun before (`continues`), and the last, if that
    goes on in the next batch (`goes_on`). first: position of the entry that the first chunk belongs to."""

    number: int
    term: int
    first: int
    continues: bool
    goes_on: bool
    chunks: Sequence[bytes]

    @property
    def begun(self) -> int:
        """Position of the last entry of which something is in here."""
        return self.first + len(self.chunks) - 1

    @property
    def last(self) -> int:
        """Position of the last entry that is whole with this batch."""
        return self.begun - self.goes_on

    def pack(self) -> bytes:
        """The value."""
        body = pack((VERSION, self.number, self.term, self.first, self.continues, self.goes_on, list(self.chunks)))
        return plain_digest(body)[:_CODE_BYTES] + body


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What the key says of a batch: enough to trim the journal without reading it."""

    number: int
    begun: int
    size_bytes: int


def key_of(journal: bytes, batch: Batch, size_bytes: int) -> bytes:
    """The key of a batch under the journal's prefix; keys are in the order of their numbers."""
    return b"%b%016x-%016x-%08x" % (journal, batch.number, batch.begun, size_bytes)


def keys_from(journal: bytes, number: int) -> bytes:
    """All keys of batches from this number on are at or after it."""
    return b"%b%016x-" % (journal, number)


def parse_key(journal: bytes, key: bytes) -> BatchKey:
    """Raises JournalDamaged."""
    try:
        number, begun, size = key[len(journal) :].split(b"-")
        return BatchKey(int(number, 16), int(begun, 16), int(size, 16))
    except ValueError as error:
        raise damaged(key, 0, "is no batch's key") from error


def parse_value(journal: bytes, key: bytes, value: bytes) -> Batch:
    """The batch under a key, verified. Raises JournalDamaged."""
    says = parse_key(journal, key)
    code, body = value[:_CODE_BYTES], value[_CODE_BYTES:]
    if len(value) != says.size_bytes or plain_digest(body)[:_CODE_BYTES] != code:
        raise damaged(key, says.begun, "does not match its code")
    version, *fields = unpack(body)
    if version != VERSION:
        raise damaged(key, says.begun, f"is of version {version}, this ringfs knows {VERSION}")
    batch = Batch(*fields)
    if (batch.number, batch.begun) != (says.number, says.begun):
        raise damaged(key, says.begun, "says another number or position than its key")
    return batch


def cut(number: int, term: int, first: int, entries: Sequence[bytes]) -> Iterator[Batch]:
    """Batches of at most BATCH_BYTES_MAX for entries from position `first` on, from batch `number` on."""
    chunks: list[bytes] = []
    room, begun, continues = BATCH_BYTES_MAX, first, False

    def batch(goes_on: bool) -> Batch:
        return Batch(number, term, begun, continues, goes_on, chunks)

    for position, entry in enumerate(entries, first):
        if chunks and len(entry) > room:
            yield batch(False)
            number, chunks, room, begun, continues = number + 1, [], BATCH_BYTES_MAX, position, False
        while len(entry) > BATCH_BYTES_MAX:
            chunks = [entry[:BATCH_BYTES_MAX]]
            yield batch(True)
            number, entry = number + 1, entry[BATCH_BYTES_MAX:]
            chunks, begun, continues = [], position, True
        chunks.append(entry)
        room -= len(entry) + 5
    yield batch(False)


class Assembler:
    """Entries from batches in their order, beginning after a position. Raises JournalDamaged for gaps."""

    def __init__(self, after: int) -> None:
        #: Position of the last entry given.
        self.position = after
        #: Term of the last batch taken, 0 before the first.
        self.term = 0
        #: Number of the last batch taken, None before the first: that may have any.
        self.number: int | None = None
        self._begun: list[bytes] = []

    def take(self, batch: Batch, key: bytes) -> Iterator[tuple[int, bytes]]:
        """The entries that are whole with it: (position, entry)."""
        self._check(batch, key)
        self.number, self.term = batch.number, batch.term
        for index, chunk in enumerate(batch.chunks):
            position = batch.first + index
            begun = self._begun if index == 0 and batch.continues else []
            self._begun = []
            if index == len(batch.chunks) - 1 and batch.goes_on:
                self._begun = [*begun, chunk]
            elif position > self.position:
                self.position = position
                yield position, b"".join([*begun, chunk])

    def _check(self, batch: Batch, key: bytes) -> None:
        if self.number is not None and batch.number != self.number + 1:
            raise damaged(key, batch.first, f"comes after batch {self.number}: batches between them are missing")
        if batch.term < self.term:
            raise damaged(key, batch.first, f"has term {batch.term} after term {self.term}")
        if batch.first > self.position + 1:
            raise damaged(key, batch.first, f"begins at {batch.first}, but transaction {self.position + 1} is missing")
        if batch.continues and not self._begun and batch.first > self.position:
            raise damaged(key, batch.first, "continues a transaction whose beginning is missing")
        if self.number is not None and not batch.continues and batch.first != self.position + 1:
            raise damaged(key, batch.first, f"begins at {batch.first}, not at {self.position + 1}")


def damaged(key: bytes, position: int, what: str) -> JournalDamaged:
    """What is wrong with what is, or should be, under a key of etcd."""
    return JournalDamaged(Path("etcd") / key.decode(errors="replace").lstrip("/"), 0, position, what)
