"""What stands in a segment file, as bytes: its header and the heads of its records. Pure; docs/formats/segment.md is normative.

segment header, 4 KiB:
    0  8   magic "RINGFSSG"
    8  2   version
    12 4   segment number
    16 16  uuid of the disk
    32 32  record key of the disk
    64 8   when it was made, wall clock, ns
    72 8   its length, which is its file's; 0 in segments of before: not known
    96 32  BLAKE3 of the bytes before
record head, 4 KiB, at a multiple of 4 KiB; behind that of a part come its bytes, zeros up to a multiple of 4 KiB:
    0  8   magic "RINGFSRC"
    8  2   version
    10 2   kind: 1 part of an object, 2 renewal (of a part's birth; nothing follows it)
    12 4   segment number
    16 8   offset of the record in the segment
    24 8   birth, wall clock, ns
    32 20  object id
    52 4   size of the object
    56 4   length of the object's block table
    60 3   part: data fragments, parity fragments, number; zeros for a whole copy
    63 1   zero
    64 32  BLAKE3 of the whole head with these 32 bytes zero, keyed with the disk's record key
    96     block table, behind it that of a parity fragment's own blocks, then zeros

All integers are big-endian. A head of version 1 is that of a whole copy. The key keeps the content of an object from being taken
for a record.
"""

import struct
from dataclasses import dataclass

from ringfs.base.checksums import Buffer, keyed_code, plain_digest
from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES, OBJECT_BYTES_MAX
from ringfs.data.stored_part import StoredPart, Tables, block_hashes_bytes
from ringfs.ring.classes import DATA_FRAGMENTS_MIN
from ringfs.ring.parts import row_count, unpack_part

HEADER_VERSION = 1
VERSION = 2
#: Before there were fragments: the same with zeros for the part.
_VERSION_OF_COPIES = 1
HEAD_BYTES = 4096
KIND_PART = 1
KIND_RENEWAL = 2
RECORD_KEY_BYTES = 32

_HEADER_MAGIC = b"RINGFSSG"
_HEADER = struct.Struct(">8sHxxI16s32sqQ16x")
_RECORD_MAGIC = b"RINGFSRC"
_HEAD = struct.Struct(">8sHHIQq20sII3sx")
_CODE_BYTES = 32
_TABLE_OFFSET = _HEAD.size + _CODE_BYTES
_NO_CODE = bytes(_CODE_BYTES)

assert (_HEADER.size, _HEAD.size, _TABLE_OFFSET) == (96, 64, 96), "the offsets of docs/formats/segment.md"
_TABLES_BYTES_MAX = block_hashes_bytes(OBJECT_BYTES_MAX) + row_count(OBJECT_BYTES_MAX, DATA_FRAGMENTS_MIN) * HASH_BYTES
assert _TABLE_OFFSET + _TABLES_BYTES_MAX <= HEAD_BYTES, "a head holds the largest tables"
assert BLOCK_BYTES % HEAD_BYTES == 0, "every block of an object begins at a multiple of the alignment"


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """`disk` is the uuid's 16 bytes; `record_key` is what heads are keyed with, the same in all segments of a disk;
    capacity_bytes is 0 if it is not known."""

    number: int
    disk: bytes
    record_key: bytes
    made_ns: int
    capacity_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """What a record's head says. A renewal has no tables."""

    kind: int
    stored: StoredPart
    birth_ns: int
    tables: Tables

    @property
    def record_bytes(self) -> int:
        """What its record takes in the segment."""
        return record_bytes(self.stored.length_bytes) if self.kind == KIND_PART else HEAD_BYTES


def aligned(size_bytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-size_bytes // HEAD_BYTES) * HEAD_BYTES


def record_bytes(size_bytes: int) -> int:
    """What the record of a part of that length takes in a segment."""
    return HEAD_BYTES + aligned(size_bytes)


def pack_header(header: SegmentHeader) -> bytes:
    """4 KiB."""
    packed = _HEADER.pack(
        _HEADER_MAGIC, HEADER_VERSION, header.number, header.disk, header.record_key, header.made_ns, header.capacity_bytes
    )
    return (packed + plain_digest(packed)).ljust(HEAD_BYTES, b"\0")


def parse_header(block: Buffer) -> SegmentHeader | None:
    """The header, or None if this is not one, or a damaged one."""
    if len(block) < _HEADER.size + _CODE_BYTES:
        return None
    magic, version, number, disk, record_key, made_ns, capacity_bytes = _HEADER.unpack_from(block)
    whole = bytes(block[: _HEADER.size + _CODE_BYTES])
    if magic != _HEADER_MAGIC or version != HEADER_VERSION or plain_digest(whole[: _HEADER.size]) != whole[_HEADER.size :]:
        return None
    return SegmentHeader(number, disk, record_key, made_ns, capacity_bytes)


def pack_head(head: Head, record_key: bytes, segment: int, offset: int) -> bytes:
    """4 KiB, valid only at that place of that segment."""
    oid, size_bytes, part = head.stored
    table, own_table = head.tables
    packed = _HEAD.pack(_RECORD_MAGIC, VERSION, head.kind, segment, offset, head.birth_ns, oid, size_bytes, len(table), part.pack())
    rest = (table + own_table).ljust(HEAD_BYTES - _TABLE_OFFSET, b"\0")
    return packed + keyed_code(record_key, packed, _NO_CODE, rest, length=_CODE_BYTES) + rest


def parse_head(block: Buffer, record_key: bytes, segment: int, offset: int) -> Head | None:
    """The head that stands at that place, or None if what stands there is none, or a damaged one."""
    view = memoryview(block)
    if len(view) != HEAD_BYTES or view[: len(_RECORD_MAGIC)] != _RECORD_MAGIC:
        return None
    _, version, kind, in_segment, at_offset, birth_ns, oid, size_bytes, _, packed_part = _HEAD.unpack_from(view)
    packed, code, rest = view[: _HEAD.size], view[_HEAD.size : _TABLE_OFFSET], view[_TABLE_OFFSET:]
    if keyed_code(record_key, packed, _NO_CODE, rest, length=_CODE_BYTES) != code:
        return None
    part = unpack_part(packed_part)
    if (in_segment, at_offset) != (segment, offset) or version not in (_VERSION_OF_COPIES, VERSION) or part is None:
        return None
    stored = StoredPart(oid, size_bytes, part)
    if kind == KIND_PART:
        return Head(kind, stored, birth_ns, tables_in(view, stored))
    return Head(kind, stored, birth_ns, Tables(b"")) if kind == KIND_RENEWAL else None


def tables_in(head_block: Buffer, stored: StoredPart) -> Tables:
    """The tables that the head of such a part holds, unproven."""
    middle = _TABLE_OFFSET + block_hashes_bytes(stored.size_bytes)
    table, own_table = head_block[_TABLE_OFFSET:middle], head_block[middle : middle + stored.own_table_bytes]
    return Tables(bytes(table), bytes(own_table))
