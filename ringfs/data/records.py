"""Writing and reading one record: what runs in the store's threads. Nothing here is returned or written unverified."""

from dataclasses import dataclass

from ringfs.base.buffers import buffers, is_aligned
from ringfs.base.checksums import Buffer, first_bad_block, is_table_of
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, KIB
from ringfs.data.disk import Segment
from ringfs.data.segment_format import HEAD_BYTES, KIND_OBJECT, Head, aligned, pack_head, parse_head, record_bytes, table_in

#: O_DIRECT takes memory that is aligned to a sector, and is then spared the copy.
_MEMORY_ALIGNMENT_BYTES = 512
#: Reads from this size on go past the page cache (measured: docs/parts/data.md).
DIRECT_READ_BYTES_MIN = 256 * KIB

#: What may be read from the page cache and hashed on the event loop: about 30 µs, a fifth of what a thread costs.
READ_NOW_BYTES_MAX = 64 * KIB


class WrongBytes(Exception):
    """What was read is not what id or table prove; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What verifying a whole record found."""

    header_ok: bool
    bad_blocks: list[int]


def check_content(oid: bytes, table: bytes, content: Buffer) -> None:
    """Refused CORRUPT unless the table proves the content and the id the table."""
    if not is_table_of(oid, len(content), table):
        raise Refused(Code.CORRUPT, f"{oid.hex()}: the table does not prove the id")
    bad = first_bad_block(table, 0, content)
    if bad is not None:
        raise Refused(Code.CORRUPT, f"{oid.hex()}: block {bad}")


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


def read_blocks(
    segment: Segment, offset: int, oid: bytes, size_bytes: int, table: bytes | None, first_block: int, block_count: int
) -> tuple[bytes, memoryview]:
    """The proven table, and that many verified blocks from first_block on, of the record at offset. Raises WrongBytes, OSError."""
    start = first_block * BLOCK_BYTES
    length = min(block_count * BLOCK_BYTES, size_bytes - start)
    if table is None and start == 0:
        whole = _read(segment, offset, HEAD_BYTES + length)
        table, content = _proven_table(oid, size_bytes, whole[:HEAD_BYTES]), whole[HEAD_BYTES : HEAD_BYTES + length]
    else:
        if table is None:
            table = _proven_table(oid, size_bytes, _read(segment, offset, HEAD_BYTES))
        content = _read(segment, offset + HEAD_BYTES + start, length)[:length]
    bad = first_bad_block(table, first_block, content)
    if bad is not None:
        raise WrongBytes(f"block {bad}")
    return table, content


def read_blocks_now(
    segment: Segment, offset: int, oid: bytes, size_bytes: int, table: bytes | None, first_block: int, block_count: int
) -> tuple[bytes, memoryview] | None:
    """The same at once, if it is little and the page cache or a fast disk has it; None otherwise, or if anything is odd."""
    start = first_block * BLOCK_BYTES
    length = min(block_count * BLOCK_BYTES, size_bytes - start)
    skipped = 0 if table is None else HEAD_BYTES + start
    if length > READ_NOW_BYTES_MAX or (table is None and start):
        return None
    wanted = length + (HEAD_BYTES if table is None else 0)
    buffer = buffers.take(aligned(wanted))
    if not segment.read_now(buffer, offset + skipped):
        return None
    buffer = buffer[:wanted]
    if table is None:
        table = table_in(buffer, size_bytes)
        if not is_table_of(oid, size_bytes, table):
            return None
        buffer = buffer[HEAD_BYTES:]
    return (table, buffer) if first_bad_block(table, first_block, buffer) is None else None


def verify_record(segment: Segment, offset: int, record_key: bytes, oid: bytes, size_bytes: int) -> Findings:
    """Read a whole record past the page cache and check every byte of it. Raises OSError."""
    whole = buffers.take(record_bytes(size_bytes))
    count = segment.read(whole, offset, direct=True)
    whole[count:] = bytes(len(whole) - count)
    head = parse_head(whole[:HEAD_BYTES], record_key, segment.number, offset)
    table = table_in(whole, size_bytes)
    if not is_table_of(oid, size_bytes, table):
        return Findings(False, [])
    content = whole[HEAD_BYTES : HEAD_BYTES + size_bytes]
    padding = whole[HEAD_BYTES + size_bytes :]
    head_ok = head is not None and (head.kind, head.object, head.size_bytes) == (KIND_OBJECT, oid, size_bytes)
    return Findings(head_ok and padding == bytes(len(padding)), _bad_blocks(table, content))


def _bad_blocks(table: bytes, content: memoryview) -> list[int]:
    bad_blocks = []
    first = 0
    while (bad := first_bad_block(table, first, content[first * BLOCK_BYTES :])) is not None:
        bad_blocks.append(bad)
        first = bad + 1
    return bad_blocks


def _proven_table(oid: bytes, size_bytes: int, head_block: memoryview) -> bytes:
    table = table_in(head_block, size_bytes)
    if not is_table_of(oid, size_bytes, table):
        raise WrongBytes("the block table")
    return table


def _read(segment: Segment, offset: int, length_bytes: int) -> memoryview:
    """That many bytes, rounded up to the alignment. Raises WrongBytes where the file ends before."""
    buffer = buffers.take(aligned(length_bytes))
    if segment.read(buffer, offset, direct=length_bytes >= DIRECT_READ_BYTES_MIN) < len(buffer):
        raise WrongBytes("the segment ends before it")
    return buffer
