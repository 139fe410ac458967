"""What a data node knows of its segments: where each part of an object is, what may be freed. Rules over a key-value view.

Rows (docs/formats/data-index.md is normative). A position is segment << 32 | offset.
    "o" object id, part -> position, size of the object, birth, position of the latest renewal (0: none)
    "s" segment u32     -> live bytes, parts
    "p" position u64    -> length: a range that no row points to any more, to be punched once that is durable
    "h"                 -> version, uuid of the disk, mark, newest birth, whether it was closed properly
Each row ends with a sum over its key and itself: what is punched and unlinked by rows that rotted was somebody's.
The mark: records before it are reflected here; those after it are found by scanning. A key, here, is object id and part: 23 bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple
from zlib import crc32

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.view import ReadView, View
from ringfs.base.limits import HASH_BYTES
from ringfs.data.segment_format import HEAD_BYTES, KIND_PART, Head, record_bytes
from ringfs.data.stored_part import length_of
from ringfs.wire.messages.data import PART_BYTES

VERSION = 2
_ENTRY = struct.Struct(">QIqQ")
_SEGMENT = struct.Struct(">QI")
_SUM = struct.Struct(">I")
_VERSION = struct.Struct(">H")
_SEGMENT_KEY = struct.Struct(">cI")
_PUNCH_KEY = struct.Struct(">cQ")
_LENGTH = struct.Struct(">I")
_HEADER_KEY = b"h"
_HEADER = struct.Struct(">H16sQqB")
NO_RENEWAL = 0
#: No part begins with it.
_BEHIND_ALL_PARTS = b"\xff"
#: The mark of an index that was not completed from the segments yet. No record is there: segments count from 1.
NO_MARK = 0


def position_of(segment: int, offset: int) -> int:
    """Positions are ordered as records were appended."""
    return segment << 32 | offset


def place_of(position: int) -> tuple[int, int]:
    """Segment and offset."""
    return position >> 32, position & 0xFFFF_FFFF


class Entry(NamedTuple):
    """Where a part's record is. size_bytes is the whole object's, birth_ns the newest of its record and its renewals."""

    position: int
    size_bytes: int
    birth_ns: int
    renewal: int = NO_RENEWAL


@dataclass(slots=True)
class SegmentUse:
    """live_bytes: of records that rows point to, renewals included. A segment without any can go."""

    live_bytes: int = 0
    part_count: int = 0


class IndexDamaged(Exception):
    """A row that no correct node wrote: the index has to be built anew from the segments."""


class Count:
    """What the parts' rows of a view add up to, beside the figures that it should be."""

    def __init__(self, view: ReadView, figures: dict[int, SegmentUse]) -> None:
        self._rows = view.scan(b"o", b"p")
        self._figures = figures
        self._counted = {number: SegmentUse() for number in figures}

    def step(self, row_count: int) -> bool:
        """Count so many more rows; whether there may be others. Raises IndexDamaged."""
        counted = 0
        for key, row in islice(self._rows, row_count):
            position, size_bytes, _, renewal = _unpacked(_ENTRY, key, row)
            use = self._counted.setdefault(position >> 32, SegmentUse())
            use.live_bytes += record_bytes(length_of(key, size_bytes))
            use.part_count += 1
            if renewal:
                self._counted.setdefault(renewal >> 32, SegmentUse()).live_bytes += HEAD_BYTES
            counted += 1
        return counted == row_count

    @property
    def agrees(self) -> bool:
        """Whether all rows were counted and are what the figures say."""
        return self._counted == self._figures


class Index:
    """The rows of one disk. Changes are in the view at once; they are durable after flush() and a checkpoint of the view."""

    def __init__(self, view: View, disk: bytes) -> None:
        self._view = view
        self._disk = disk
        #: Equal to the "s" rows but for the numbers in _changed, whose rows are written by flush().
        self.segments: dict[int, SegmentUse] = {}
        self._changed: set[int] = set()
        #: Equal to the "p" rows.
        self.punches: dict[int, int] = {}
        self.mark = NO_MARK
        #: Whether the figures need no counting: the last checkpoint was that of a proper end.
        self.was_closed = False
        #: No birth is newer; births are given out above it, so that a clock that was set back makes nothing look older.
        self.newest_birth_ns = 0

    def load(self) -> bool:
        """Read the small rows. False if the view holds no index of this disk. Raises IndexDamaged."""
        header = self._view.get(_HEADER_KEY)
        if header is None or _VERSION.unpack_from(header.ljust(_VERSION.size, b"\0")) != (VERSION,):
            return False
        _, disk, self.mark, self.newest_birth_ns, was_closed = _unpacked(_HEADER, _HEADER_KEY, header)
        self.was_closed = bool(was_closed)
        for key, row in self._view.scan(b"s", b"t"):
            self.segments[_SEGMENT_KEY.unpack(key)[1]] = SegmentUse(*_unpacked(_SEGMENT, key, row))
        for key, row in self._view.scan(b"p", b"q"):
            (self.punches[_PUNCH_KEY.unpack(key)[1]],) = _unpacked(_LENGTH, key, row)
        return bool(disk == self._disk)

    def flush(self, mark: int, *, closed: bool = False) -> None:
        """Write the rows that are kept in memory; to be followed by a checkpoint of the view before anything else changes.

        closed: nothing will change after it.
        """
        self.mark = mark
        for number in self._changed:
            use = self.segments.get(number)
            if use is None:
                self._view.delete(_SEGMENT_KEY.pack(b"s", number))
            else:
                self._write(_SEGMENT_KEY.pack(b"s", number), _SEGMENT.pack(use.live_bytes, use.part_count))
        self._changed.clear()
        self._write(_HEADER_KEY, _HEADER.pack(VERSION, self._disk, mark, self.newest_birth_ns, closed))

    def is_consistent(self) -> bool:
        """Whether the segments' figures are what the parts' rows add up to. Reads all rows. Raises IndexDamaged."""
        count = Count(self._view, self.segments)
        while count.step(1 << 20):
            pass
        return count.agrees

    # --- questions ---------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Entry | None:
        """The entry of a part that is held."""
        row_key = b"o" + key
        row = self._view.get(row_key)
        return None if row is None else Entry._make(_unpacked(_ENTRY, row_key, row))

    def parts(self, oid: bytes) -> list[tuple[bytes, Entry]]:
        """Keys and entries of all held parts of an object, ascending: a copy first."""
        return list(self.entries(oid, oid + _BEHIND_ALL_PARTS))

    def page(self, after: bytes, limit: int) -> tuple[list[tuple[bytes, Entry]], bool]:
        """Up to `limit` parts after a key, or after all parts of an id, ascending, and whether there are more."""
        start = after + (_BEHIND_ALL_PARTS if len(after) == HASH_BYTES else b"\0") if after else after
        rows = list(islice(self.entries(start), limit + 1))
        return rows[:limit], len(rows) > limit

    def entries(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, Entry]]:
        """Keys and entries of all parts with start <= key < stop, ascending."""
        for key, row in self._view.scan(b"o" + start, b"p" if stop is None else b"o" + stop):
            yield key[1:], Entry._make(_unpacked(_ENTRY, key, row))

    def points_into(self, start: int, stop: int) -> bool:
        """Whether any row points to a record at start <= position < stop. Reads all rows."""
        return any(start <= place < stop for _, entry in self.entries() for place in (entry.position, entry.renewal))

    @property
    def part_count(self) -> int:
        """Parts held."""
        return sum(use.part_count for use in self.segments.values())

    @property
    def live_bytes(self) -> int:
        """What the records of all parts take on the disk."""
        return sum(use.live_bytes for use in self.segments.values())

    # --- changes -----------------------------------------------------------------------------------------------------

    def next_birth(self, wall_ns: int) -> int:
        """A birth newer than all before it."""
        self.newest_birth_ns = max(wall_ns, self.newest_birth_ns + 1)
        return self.newest_birth_ns

    def know_segment(self, number: int) -> None:
        """A segment file exists."""
        if number not in self.segments:
            self.segments[number] = SegmentUse()
            self._changed.add(number)

    def forget_segment(self, number: int) -> None:
        """A segment without live bytes was unlinked."""
        use = self.segments.pop(number)
        assert not use.live_bytes, "a segment with live records is never forgotten"
        self._changed.add(number)
        self.forget_punches([position for position in self.punches if place_of(position)[0] == number])

    def lose_segment(self, number: int) -> int:
        """A segment file is gone or unreadable: forget what it held. The count of parts lost."""
        use = self.segments[number]
        lost = []
        if use.live_bytes:
            lost = [key for key, entry in self.entries() if place_of(entry.position)[0] == number]
            for key in lost:
                self.remove(key)
            for key, entry in list(self.entries()):
                if entry.renewal and place_of(entry.renewal)[0] == number:
                    self._put(key, entry._replace(renewal=NO_RENEWAL))
        use.live_bytes = use.part_count = 0
        self.forget_segment(number)
        return len(lost)

    def lose_end(self, number: int, length_bytes: int) -> int:
        """A segment file is cut short to that length: forget the records behind it. The count of parts lost."""
        start, stop = position_of(number, length_bytes), position_of(number + 1, 0)
        lost_count = 0
        for key, entry in list(self.entries()):
            end = entry.position + record_bytes(length_of(key, entry.size_bytes))
            if start < end and entry.position < stop and place_of(entry.position)[0] == number:
                self.remove(key)
                lost_count += 1
            elif start <= entry.renewal < stop:
                self._free(entry.renewal, HEAD_BYTES, 0)
                self._put(key, entry._replace(renewal=NO_RENEWAL))
        # There is nothing to be punched.
        self.forget_punches([position for position in self.punches if start <= position < stop])
        return lost_count

    def add(self, key: bytes, position: int, size_bytes: int, birth_ns: int) -> None:
        """The record at position holds the part from now on; what held it before can be freed."""
        old = self.get(key)
        birth_ns = birth_ns if old is None else max(birth_ns, old.birth_ns)
        self._put(key, Entry(position, size_bytes, birth_ns))
        self._count(position, record_bytes(length_of(key, size_bytes)), 1)
        if old is not None:
            self._release(key, old)

    def renew(self, key: bytes, position: int, birth_ns: int) -> None:
        """The renewal record at position gives a held part a newer birth; the one before it can be freed."""
        old = self.get(key)
        assert old is not None, "only a held part is renewed"
        assert old.birth_ns < birth_ns, "births only grow"
        self._put(key, old._replace(birth_ns=birth_ns, renewal=position))
        self._count(position, HEAD_BYTES, 0)
        if old.renewal:
            self._free(old.renewal, HEAD_BYTES, 0)

    def remove(self, key: bytes) -> None:
        """The part is not held any more; its records can be freed."""
        old = self.get(key)
        assert old is not None, "only a held part is removed"
        self._view.delete(b"o" + key)
        self._release(key, old)

    def replay(self, head: Head, position: int) -> None:
        """A scan found a record: take it up unless the rows know it, or something later."""
        key = head.stored.key
        entry = self.get(key)
        if head.kind == KIND_PART:
            if entry is None or entry.position < position:
                self.add(key, position, head.stored.size_bytes, head.birth_ns)
            elif entry.position > position:
                self.waste(position, head.record_bytes)
        elif entry is not None and entry.birth_ns < head.birth_ns:
            self.renew(key, position, head.birth_ns)
        elif entry is None or entry.renewal != position:
            self.waste(position, HEAD_BYTES)

    def waste(self, position: int, length_bytes: int) -> None:
        """A range holds nothing that counts: punch it."""
        self.know_segment(place_of(position)[0])
        self.punches[position] = length_bytes
        self._write(_PUNCH_KEY.pack(b"p", position), _LENGTH.pack(length_bytes))

    def forget_punches(self, positions: list[int]) -> None:
        """These ranges were punched durably."""
        for position in positions:
            del self.punches[position]
            self._view.delete(_PUNCH_KEY.pack(b"p", position))

    def _put(self, key: bytes, entry: Entry) -> None:
        self._write(b"o" + key, _ENTRY.pack(*entry))
        self.newest_birth_ns = max(self.newest_birth_ns, entry.birth_ns)

    def _write(self, key: bytes, row: bytes) -> None:
        self._view.put(key, row + _SUM.pack(crc32(row, crc32(key))))

    def _release(self, key: bytes, entry: Entry) -> None:
        self._free(entry.position, record_bytes(length_of(key, entry.size_bytes)), 1)
        if entry.renewal:
            self._free(entry.renewal, HEAD_BYTES, 0)

    def _free(self, position: int, length_bytes: int, part_count: int) -> None:
        self._count(position, -length_bytes, -part_count)
        self.waste(position, length_bytes)

    def _count(self, position: int, length_bytes: int, part_count: int) -> None:
        number = place_of(position)[0]
        self.know_segment(number)
        use = self.segments[number]
        use.live_bytes += length_bytes
        use.part_count += part_count
        assert min(use.live_bytes, use.part_count) >= 0, "no record is freed twice"
        self._changed.add(number)


def _unpacked(layout: struct.Struct, key: bytes, row: bytes) -> tuple[Any, ...]:
    """The fields of a row whose sum is right. Raises IndexDamaged."""
    fields, sum_ = row[: layout.size], row[layout.size :]
    if len(sum_) != _SUM.size or _SUM.unpack(sum_)[0] != crc32(fields, crc32(key)):
        raise IndexDamaged(f"the row {key.hex()} is damaged")
    return layout.unpack(fields)


def checked_after(after: bytes) -> bytes:
    """The `after` of a page: empty, an id, or an id and a part. Refused INVALID."""
    if len(after) not in (0, HASH_BYTES, HASH_BYTES + PART_BYTES):
        raise Refused(Code.INVALID, "after is no object id, nor one with a part")
    return after
