"""The bytes of the file journal: segment headers and records, packed and parsed. Pure. docs/formats/journal.md is normative.

Segment header (512 bytes)                     Record (multiple of 8 bytes)
  0   8  "ringfsJ1"                              0  16  code: BLAKE3 of everything after it
  8   4  version, 1                             16   8  mark of the segment
 12   4  zero                                   24  16  code of the record before it
 16  16  cluster                                40   8  term
 32   8  number of the segment                  48   8  position of the first entry
 40   8  position of the first entry            56   4  count of entries
 48  16  code of the last record before it      60   4  length of the record with its padding
 64   8  term of that record                    64      entries: 4 bytes length, bytes; zeros up to 8 bytes
 72   8  mark: random, new for each use
 80   8  size of the file
 88 408  zeros
496  16  code: BLAKE3 of the 496 bytes before
All numbers are big-endian.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ringfs.base.checksums import Buffer, plain_digest

MAGIC = b"ringfsJ1"
VERSION = 1
HEADER_BYTES = 512
CODE_BYTES = 16
MARK_BYTES = 8
CLUSTER_BYTES = 16
ALIGN_BYTES = 8
#: What a record has beside its entries, and what it adds to each entry.
RECORD_OVERHEAD_BYTES = 64
ENTRY_OVERHEAD_BYTES = 4
#: The code before the first record of a journal.
NO_CODE = bytes(CODE_BYTES)

_HEADER = struct.Struct(">8sI4x16sQQ16sQ8sQ408x")
_RECORD = struct.Struct(">8s16sQQII")
_LENGTH = struct.Struct(">I")
_MARK_OFFSET = CODE_BYTES

assert _HEADER.size + CODE_BYTES == HEADER_BYTES
assert CODE_BYTES + _RECORD.size == RECORD_OVERHEAD_BYTES
assert HEADER_BYTES % ALIGN_BYTES == 0, "records are aligned in the file"


class BadHeader(Exception):
    """The bytes are no segment header."""


class OtherVersion(Exception):
    """The bytes are a segment header that another version of ringfs wrote."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """How a segment begins. `code` and `term` are those of the last record before it."""

    cluster: bytes
    number: int
    first: int
    code: bytes
    term: int
    mark: bytes
    size_bytes: int

    def pack(self) -> bytes:
        """HEADER_BYTES bytes."""
        body = _HEADER.pack(MAGIC, VERSION, self.cluster, self.number, self.first, self.code, self.term, self.mark, self.size_bytes)
        return body + plain_digest(body, CODE_BYTES)


def unpack_header(data: bytes) -> SegmentHeader:
    """The header that data begins with. BadHeader, OtherVersion."""
    if len(data) < HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
        raise BadHeader("it is not a journal segment")
    body, code = data[: _HEADER.size], data[_HEADER.size : HEADER_BYTES]
    if plain_digest(body, CODE_BYTES) != code:
        raise BadHeader("its header is damaged")
    _, version, cluster, number, first, last_code, term, mark, size_bytes = _HEADER.unpack(body)
    if version != VERSION:
        raise OtherVersion(f"it has version {version}, and this ringfs reads version {VERSION}")
    return SegmentHeader(cluster, number, first, last_code, term, mark, size_bytes)


@dataclass(frozen=True, slots=True)
class Record:
    """One record in a segment, verified. The next one begins at `end`; `previous` is the code of the one before."""

    offset: int
    end: int
    previous: bytes
    term: int
    first: int
    count: int
    code: bytes

    @property
    def last(self) -> int:
        """Position of the last entry."""
        return self.first + self.count - 1


def packed_bytes(entries: Sequence[Buffer]) -> int:
    """Length of the record that holds the entries."""
    length = RECORD_OVERHEAD_BYTES + sum(map(len, entries)) + ENTRY_OVERHEAD_BYTES * len(entries)
    return length + -length % ALIGN_BYTES


def fitting_count(entries: Sequence[Buffer], start: int, room_bytes: int) -> int:
    """How many of the entries from start on fit, as one record, into so many bytes."""
    left = room_bytes - room_bytes % ALIGN_BYTES - RECORD_OVERHEAD_BYTES
    for index in range(start, len(entries)):
        left -= ENTRY_OVERHEAD_BYTES + len(entries[index])
        if left < 0:
            return index - start
    return len(entries) - start


def pack_record(mark: bytes, previous: bytes, term: int, first: int, entries: Sequence[Buffer]) -> bytearray:
    """The record of the entries; its first CODE_BYTES are its code."""
    length = packed_bytes(entries)
    record = bytearray(CODE_BYTES)
    record += _RECORD.pack(mark, previous, term, first, len(entries), length)
    for entry in entries:
        record += _LENGTH.pack(len(entry))
        record += entry
    record += bytes(length - len(record))
    record[:CODE_BYTES] = plain_digest(memoryview(record)[CODE_BYTES:], CODE_BYTES)
    return record


def parse_record(content: memoryview, offset: int, mark: bytes) -> Record | None:
    """The record at an offset of a segment's content, or None if there is no whole one."""
    if len(content) - offset < RECORD_OVERHEAD_BYTES:
        return None
    its_mark, previous, term, first, count, length = _RECORD.unpack_from(content, offset + CODE_BYTES)
    end = offset + length
    if its_mark != mark or length < RECORD_OVERHEAD_BYTES or length % ALIGN_BYTES or end > len(content):
        return None
    code = bytes(content[offset : offset + CODE_BYTES])
    if plain_digest(content[offset + CODE_BYTES : end], CODE_BYTES) != code:
        return None
    return Record(offset, end, previous, term, first, count, code)


def parse_entries(content: bytes, record: Record) -> Iterator[bytes]:
    """The entries of a verified record of a segment's content."""
    offset = record.offset + RECORD_OVERHEAD_BYTES
    for _ in range(record.count):
        (length,) = _LENGTH.unpack_from(content, offset)
        offset += ENTRY_OVERHEAD_BYTES
        yield content[offset : offset + length]
        offset += length


def find_mark(content: bytes, mark: bytes, after: int) -> int | None:
    """Where the first record after an offset begins, whole or not; None if there is no trace of one."""
    at = content.find(mark, after + _MARK_OFFSET + 1)
    while at != -1:
        if (at - _MARK_OFFSET) % ALIGN_BYTES == 0:
            return at - _MARK_OFFSET
        at = content.find(mark, at + 1)
    return None
