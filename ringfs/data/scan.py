"""Finding the records of a segment with nothing but the segment: for rebuilding the index, and for what its mark does not cover.

Holes are skipped (SEEK_DATA), so punched and never written space costs nothing. Where no valid head stands, the next one is looked
for in steps of 4 KiB: a damaged head costs its own record and no other. Blocks; belongs in a thread.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ringfs.base.buffers import buffers
from ringfs.base.checksums import first_bad_block, is_table_of
from ringfs.base.limits import MIB
from ringfs.data.disk import Segment
from ringfs.data.segment_format import HEAD_BYTES, KIND_OBJECT, Head, aligned, parse_head, record_bytes

_WINDOW_BYTES = MIB
_BLANK = bytes(HEAD_BYTES)


@dataclass(frozen=True, slots=True)
class Found:
    """A record with a valid head. is_whole is false if its content was looked at and is not what the head says."""

    offset: int
    length_bytes: int
    head: Head
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes in which there is no valid head, up to the next record or the end of all data."""

    offset: int
    length_bytes: int


def scan_segment(segment: Segment, record_key: bytes, start: int, *, verify: bool) -> Iterator[Found | Damaged]:
    """What stands in a segment from offset start (a record's beginning) on, ascending. With verify, contents are checked too."""
    offset = start
    while (data := _next_data(segment, offset)) is not None:
        head = _head_at(segment, record_key, data)
        if head is None:
            offset = _next_head(segment, record_key, data)
            yield Damaged(data, offset - data)
            continue
        length = _length_of(head)
        yield Found(data, length, head, not verify or _is_whole(segment, data, head))
        offset = data + length


def _length_of(head: Head) -> int:
    return record_bytes(head.size_bytes) if head.kind == KIND_OBJECT else HEAD_BYTES


def _head_at(segment: Segment, record_key: bytes, offset: int) -> Head | None:
    buffer = buffers.take(HEAD_BYTES)
    if segment.read(buffer, offset, direct=False) < HEAD_BYTES:
        return None
    head = parse_head(buffer, record_key, segment.number, offset)
    if head is not None and offset + _length_of(head) > segment.capacity_bytes:
        return None
    return head


def _next_data(segment: Segment, offset: int) -> int | None:
    """The next 4 KiB that are not all zeros: file systems may show preallocated space as data."""
    while offset < segment.capacity_bytes and (data := segment.next_data(offset)) is not None:
        offset = max(offset, data // HEAD_BYTES * HEAD_BYTES)
        window = _window(segment, offset)
        for start in range(0, len(window), HEAD_BYTES):
            if window[start : start + HEAD_BYTES] != _BLANK[: len(window) - start]:
                return offset + start
        if not window:
            return None
        offset += len(window)
    return None


def _window(segment: Segment, offset: int) -> memoryview:
    """Some bytes from offset on: a head's worth if that is not blank."""
    head = buffers.take(HEAD_BYTES)
    count = segment.read(head, offset, direct=False)
    if count < HEAD_BYTES or head != _BLANK:
        return head[:count]
    window = buffers.take(min(_WINDOW_BYTES, segment.capacity_bytes - offset))
    return window[: segment.read(window, offset, direct=False)]


def _next_head(segment: Segment, record_key: bytes, damaged: int) -> int:
    """The offset of the first valid head after a damaged place, or of the end of the data behind it."""
    end = damaged + HEAD_BYTES
    offset = _next_data(segment, end)
    while offset is not None:
        if _head_at(segment, record_key, offset) is not None:
            return offset
        end = offset + HEAD_BYTES
        offset = _next_data(segment, end)
    return end


def _is_whole(segment: Segment, offset: int, head: Head) -> bool:
    """Whether the content is what the head's table and id prove."""
    if head.kind != KIND_OBJECT:
        return True
    padded = buffers.take(aligned(head.size_bytes))
    if segment.read(padded, offset + HEAD_BYTES, direct=True) < head.size_bytes:
        return False
    content = padded[: head.size_bytes]
    return is_table_of(head.object, head.size_bytes, head.table) and first_bad_block(head.table, 0, content) is None
