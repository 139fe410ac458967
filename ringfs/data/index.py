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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple
from zlib import crc32

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.view import View
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
_PART_KEYS = b"o"
#: Where the part is in a row's key.
_PART_AT = 1 + HASH_BYTES
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
    """What the rows of an index add up to, in their order: whether any is missing.

    After a proper end only the numbers of parts are compared; otherwise all figures, and each row's sum is looked at.
    """

    def __init__(self) -> None:
        self._was_closed = False
        self._told: dict[int, SegmentUse] = {}
        self._counted: defaultdict[int, SegmentUse] = defaultdict(SegmentUse)
        self._part_count = 0
        #: No row points to a later position.
        self.newest = NO_MARK

    def take(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """The next rows, a few at a time. Raises IndexDamaged."""
        if rows[0][0][:1] == rows[-1][0][:1] == _PART_KEYS:
            self._take_parts(rows)
            return
        for key, row in rows:
            if key[:1] == _PART_KEYS:
                self._take_parts([(key, row)])
            elif key[:1] == b"s":
                self._told[_SEGMENT_KEY.unpack(key)[1]] = SegmentUse(*_unpacked(_SEGMENT, key, row))
            elif key == _HEADER_KEY:
                _, _, mark, _, was_closed = _unpacked(_HEADER, key, row)
                if was_closed:
                    self._was_closed, self.newest = True, mark

    @property
    def agrees(self) -> bool:
        """Whether the segments' figures are those of the parts' rows."""
        if self._was_closed:
            return sum(use.part_count for use in self._told.values()) == self._part_count
        return {number: SegmentUse() for number in self._told} | self._counted == self._told

    def _take_parts(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Written out: of a million rows each call counts."""
        self._part_count += len(rows)
        if self._was_closed:
            return
        newest, counted = self.newest, self._counted
        for key, row in rows:
            position, size_bytes, _, renewal = _unpacked(_ENTRY, key, row)
            use = counted[position >> 32]
            use.live_bytes += _record_bytes_of(key[_PART_AT:], size_bytes)
            use.part_count += 1
            if renewal:
                counted[renewal >> 32].live_bytes += HEAD_BYTES
            if position > newest or renewal > newest:
                newest = max(position, renewal)
        self.newest = newest


@lru_cache(4096)
def _record_bytes_of(part: bytes, size_bytes: int) -> int:
    """What the record of a part of an object of that size takes: most objects have one of a few sizes."""
    return record_bytes(length_of(part, size_bytes))


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
        #: No row points to a later position.
        self._newest = NO_MARK
        #: No birth is newer; births are given out above it, so that a clock that was set back makes nothing look older.
        self.newest_birth_ns = 0

    def load(self, newest: int) -> bool:
        """Read the small rows; no other points to a later position than `newest`. False if the view holds no index of this disk.
        Raises IndexDamaged."""
        self._newest = newest
        header = self._view.get(_HEADER_KEY)
        if header is None or _VERSION.unpack_from(header.ljust(_VERSION.size, b"\0")) != (VERSION,):
            return False
        _, disk, self.mark, self.newest_birth_ns, _ = _unpacked(_HEADER, _HEADER_KEY, header)
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
        """Whether any row points to a record at start <= position < stop. Reads all rows, unless that is behind all of them."""
        if start > self._newest:
            return False
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
            renewed = [(key, entry) for key, entry in self.entries() if entry.renewal and place_of(entry.renewal)[0] == number]
            for key, entry in renewed:
                self._put(key, entry._replace(renewal=NO_RENEWAL))
        use.live_bytes = use.part_count = 0
        self.forget_segment(number)
        return len(lost)

    def lose_end(self, number: int, length_bytes: int) -> int:
        """A segment file is cut short to that length: forget the records behind it. The count of parts lost."""
        start, stop = position_of(number, length_bytes), position_of(number + 1, 0)
        lost_count = 0
        near = [row for row in self.entries() if number in (place_of(row[1].position)[0], place_of(row[1].renewal)[0])]
        for key, entry in near:
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
        self._newest = max(self._newest, entry.position, entry.renewal)
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
    if len(row) != layout.size + _SUM.size or _SUM.unpack_from(row, layout.size)[0] != crc32(row[: layout.size], crc32(key)):
        raise IndexDamaged(f"the row {key.hex()} is damaged")
    return layout.unpack_from(row)


def checked_after(after: bytes) -> bytes:
    """The `after` of a page: empty, an id, or an id and a part. Refused INVALID."""
    if len(after) not in (0, HASH_BYTES, HASH_BYTES + PART_BYTES):
        raise Refused(Code.INVALID, "after is no object id, nor one with a part")
    return after
