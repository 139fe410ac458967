"""Writing and reading one record: what runs in the store's threads. Nothing here is returned or written unverified."""

from dataclasses import dataclass
from typing import NamedTuple

from ringfs.base.buffers import buffers, is_aligned
from ringfs.base.checksums import Buffer
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, KIB
from ringfs.data.disk import Segment
from ringfs.data.segment_format import HEAD_BYTES, KIND_PART, Head, aligned, pack_head, parse_head, record_bytes, tables_in
from ringfs.data.stored_part import StoredPart, Tables

#: O_DIRECT takes memory that is aligned to a sector, and is then spared the copy.
_MEMORY_ALIGNMENT_BYTES = 512
#: Reads from this size on go past the page cache (measured: docs/parts/data.md).
DIRECT_READ_BYTES_MIN = 256 * KIB

#: What may be read from the page cache and hashed on the event loop: about 30 µs, a fifth of what a thread costs.
READ_NOW_BYTES_MAX = 64 * KIB


class WrongBytes(Exception):
    """What was read is not what id or tables prove; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What verifying a whole record found; `tables` are what it has, proven if header_ok."""

    header_ok: bool
    bad_blocks: list[int]
    tables: Tables

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.header_ok and not self.bad_blocks


class Place(NamedTuple):
    """Where a record is, and what it is the record of."""

    segment: Segment
    offset: int
    record_key: bytes
    stored: StoredPart


def check_content(stored: StoredPart, tables: Tables, content: Buffer) -> None:
    """Refused CORRUPT unless the tables prove the content, and the id the object's table."""
    if not stored.proves(tables):
        raise Refused(Code.CORRUPT, f"{stored}: the table does not prove the id, or the fragment's own is not of its length")
    bad = stored.first_bad_block(tables, 0, content)
    if bad is not None:
        raise Refused(Code.CORRUPT, f"{stored}: block {bad}")


def write_record(segment: Segment, offset: int, record_key: bytes, head: Head, content: memoryview) -> None:
    """Write head and content (zero-padded) at offset; a renewal has no content."""
    head_block = buffers.take(HEAD_BYTES)
    head_block[:] = pack_head(head, record_key, segment.number, offset)
    segment.write([head_block, *_aligned_parts(content)], offset)


def _aligned_parts(content: memoryview) -> list[memoryview]:
    """Content and its padding as direct I/O takes it; copied only if it lies wrong in memory."""
    whole = len(content) // HEAD_BYTES * HEAD_BYTES
    parts = []
    if whole:
        body = content[:whole]
        if not is_aligned(body, _MEMORY_ALIGNMENT_BYTES):
            body = buffers.take(whole)
            body[:] = content[:whole]
        parts.append(body)
    if rest := len(content) - whole:
        end = buffers.take(HEAD_BYTES)
        end[:rest] = content[whole:]
        end[rest:] = bytes(HEAD_BYTES - rest)
        parts.append(end)
    return parts


def read_blocks(place: Place, tables: Tables | None, first_block: int, block_count: int) -> tuple[Tables, memoryview]:
    """The proven tables, and that many verified blocks of the part from first_block on. Raises WrongBytes, OSError."""
    start, length = _range(place.stored, first_block, block_count)
    if tables is None and start == 0:
        whole = _read(place, 0, HEAD_BYTES + length)
        tables, content = _proven_tables(place, whole[:HEAD_BYTES]), whole[HEAD_BYTES:]
    else:
        if tables is None:
            tables = _proven_tables(place, _read(place, 0, HEAD_BYTES))
        content = _read(place, HEAD_BYTES + start, length)
    bad = place.stored.first_bad_block(tables, first_block, content)
    if bad is not None:
        raise WrongBytes(f"block {bad}")
    return tables, content


def read_blocks_now(place: Place, tables: Tables | None, first_block: int, block_count: int) -> tuple[Tables, memoryview] | None:
    """The same at once, if it is little and the page cache or a fast disk has it; None otherwise, or if anything is odd."""
    start, length = _range(place.stored, first_block, block_count)
    if length > READ_NOW_BYTES_MAX or (tables is None and start):
        return None
    skipped = 0 if tables is None else HEAD_BYTES + start
    wanted = length + (HEAD_BYTES if tables is None else 0)
    buffer = buffers.take(aligned(wanted))
    if wanted and not place.segment.read_now(buffer, place.offset + skipped):
        return None
    buffer = buffer[:wanted]
    if tables is None:
        try:
            tables = _proven_tables(place, buffer[:HEAD_BYTES])
        except WrongBytes:
            return None
        buffer = buffer[HEAD_BYTES:]
    return (tables, buffer) if place.stored.first_bad_block(tables, first_block, buffer) is None else None


def verify_record(place: Place) -> Findings:
    """Read a whole record past the page cache and check every byte of it. Raises OSError."""
    stored = place.stored
    length = stored.length_bytes
    whole = buffers.take(record_bytes(length))
    count = place.segment.read(whole, place.offset, direct=True)
    whole[count:] = bytes(len(whole) - count)
    head = _head_at(place, whole[:HEAD_BYTES])
    tables = tables_in(whole, stored)
    if not stored.proves(tables) or (stored.part.is_parity and head is None):
        return Findings(False, [], tables)
    content, padding = whole[HEAD_BYTES : HEAD_BYTES + length], whole[HEAD_BYTES + length :]
    header_ok = head is not None and padding == bytes(len(padding))
    return Findings(header_ok, _bad_blocks(stored, tables, content), tables)


def _bad_blocks(stored: StoredPart, tables: Tables, content: memoryview) -> list[int]:
    bad_blocks = []
    first = 0
    while (bad := stored.first_bad_block(tables, first, content[first * BLOCK_BYTES :])) is not None:
        bad_blocks.append(bad)
        first = bad + 1
    return bad_blocks


def _range(stored: StoredPart, first_block: int, block_count: int) -> tuple[int, int]:
    """Where blocks of the part begin in it, and how many bytes they are, clamped to its end."""
    start = first_block * BLOCK_BYTES
    return start, max(0, min(block_count * BLOCK_BYTES, stored.length_bytes - start))


def _head_at(place: Place, head_block: memoryview) -> Head | None:
    """The valid head of the record, or None."""
    head = parse_head(head_block, place.record_key, place.segment.number, place.offset)
    return head if head is not None and (head.kind, head.stored) == (KIND_PART, place.stored) else None


def _proven_tables(place: Place, head_block: memoryview) -> Tables:
    """The tables in the head. The id proves the object's, the head's code that of parity. Raises WrongBytes."""
    tables = tables_in(head_block, place.stored)
    if not place.stored.proves(tables):
        raise WrongBytes("the block table")
    if place.stored.part.is_parity and _head_at(place, head_block) is None:
        raise WrongBytes("the head")
    return tables


def _read(place: Place, start: int, length_bytes: int) -> memoryview:
    """That many bytes of the record, read in multiples of the alignment. Raises WrongBytes where the file ends before."""
    buffer = buffers.take(aligned(length_bytes))
    direct = length_bytes >= DIRECT_READ_BYTES_MIN
    if length_bytes and place.segment.read(buffer, place.offset + start, direct=direct) < len(buffer):
        raise WrongBytes("the segment ends before it")
    return buffer[:length_bytes]
