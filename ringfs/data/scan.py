"""Finding the records of a segment with nothing but the segment: for rebuilding the index, and for what its mark does not cover.

Holes are skipped (SEEK_DATA), so punched and never written space costs nothing. Where no valid head stands, the next one is looked
for in steps of 4 KiB: a damaged head costs its own record and no other. Blocks; belongs in a thread.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ringfs.base.buffers import buffers
from ringfs.base.limits import KIB
from ringfs.data.disk import Segment
from ringfs.data.records import DIRECT_READ_BYTES_MIN
from ringfs.data.segment_format import HEAD_BYTES, KIND_PART, Head, aligned, parse_head

_WINDOW_BYTES = 256 * KIB
_BLANK = bytes(_WINDOW_BYTES)


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
    scan = _Scan(segment, record_key)
    offset = start
    while (data := scan.next_data(offset)) is not None:
        head = scan.head_at(data)
        if head is None:
            offset = scan.next_head(data)
            yield Damaged(data, offset - data)
            continue
        length = head.record_bytes
        yield Found(data, length, head, not verify or _is_whole(segment, data, head))
        offset = data + length


class _Scan:
    """Pages of a segment, read some at a time."""

    def __init__(self, segment: Segment, record_key: bytes) -> None:
        self._segment = segment
        self._record_key = record_key
        #: What stands from _start on, a multiple of 4 KiB.
        self._window = buffers.take(_WINDOW_BYTES)[:0]
        self._start = 0

    def page(self, offset: int) -> memoryview:
        """4 KiB at offset; less where the file ends."""
        if not self._start <= offset < self._start + len(self._window):
            # Past the page cache: file systems take what is in it for data, and a blank gigabyte for a full one.
            window = buffers.take(_WINDOW_BYTES)
            self._window, self._start = window[: self._segment.read(window, offset, direct=True)], offset
        begin = offset - self._start
        return self._window[begin : begin + HEAD_BYTES]

    def next_data(self, offset: int) -> int | None:
        """The next 4 KiB that are not all zeros: file systems may show preallocated space as data."""
        while (data := self._segment.next_data(offset)) is not None:
            offset = max(offset, data // HEAD_BYTES * HEAD_BYTES)
            page = self.page(offset)
            if bytes(page) != _BLANK[: len(page)]:
                return offset
            rest = self._window[offset - self._start :]
            # As bytes: views are compared byte by byte.
            offset += len(rest) if bytes(rest) == _BLANK[: len(rest)] else HEAD_BYTES
        return None

    def head_at(self, offset: int) -> Head | None:
        """The valid head there, if there is one."""
        segment = self._segment
        head = parse_head(self.page(offset), self._record_key, segment.number, offset)
        return head if head is not None and offset + head.record_bytes <= segment.capacity_bytes else None

    def next_head(self, damaged: int) -> int:
        """The offset of the first valid head after a damaged place, or of the end of the data behind it."""
        end = damaged + HEAD_BYTES
        while (offset := self.next_data(end)) is not None:
            if self.head_at(offset) is not None:
                return offset
            end = offset + HEAD_BYTES
        return end


def _is_whole(segment: Segment, offset: int, head: Head) -> bool:
    """Whether the content is what the head's tables and the id prove."""
    if head.kind != KIND_PART:
        return True
    length = head.stored.length_bytes
    padded = buffers.take(aligned(length))
    if length and segment.read(padded, offset + HEAD_BYTES, direct=len(padded) >= DIRECT_READ_BYTES_MIN) < length:
        return False
    return head.stored.proves(head.tables) and head.stored.first_bad_block(head.tables, 0, padded[:length]) is None
