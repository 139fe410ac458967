"""The files of the journal: opening, appending, rotating, replaying, trimming. Blocking; beside an event loop see file.py.

`segment-N` are in use, with consecutive numbers. `spare-N` are written full of something, so that an append overwrites blocks
that the disk has given already: making it durable then changes no metadata of the file. `unfinished-N` are not spare yet.

What a crash leaves is readable by the order of things:
  - a record is written only after the one before it is durable, so only the last one can be torn;
  - a spare file gets a new header, durable, before its name becomes segment-N, durable, before records go into it;
  - a retired segment's new name is durable before the file is used again, and before the next one is retired.
One thread may append while another trims. They meet in two deques, where one appends and the other pops.
"""

import errno
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringfs.base.errors import UserError
from ringfs.base.files import File, Files
from ringfs.base.limits import JOURNAL_ENTRY_BYTES_MAX, JOURNAL_SEGMENTS_MAX, MIB
from ringfs.meta.journal.chain import ORIGIN, BrokenChain, Tip, follow, tip_before
from ringfs.meta.journal.interface import JournalDamaged, JournalFailed
from ringfs.meta.journal.record import (
    ALIGN_BYTES,
    CODE_BYTES,
    HEADER_BYTES,
    RECORD_OVERHEAD_BYTES,
    BadHeader,
    OtherVersion,
    Record,
    SegmentHeader,
    find_mark,
    fitting_count,
    pack_record,
    parse_entries,
    unpack_header,
)

SEGMENT, SPARE, UNFINISHED = "segment-", "spare-", "unfinished-"
#: Spare files that are secured ahead, as long as there is space: room for all that a leader gathers while it appends as much.
SPARES_AHEAD = 3
#: Spare files that trimming keeps at most: so that appending rarely has to make one.
SPARES_KEPT = 6
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_FILL = bytes(MIB)


@dataclass(frozen=True, slots=True)
class Segment:
    """A file in use, and the header it begins with."""

    path: Path
    header: SegmentHeader


class SegmentLog:
    """The journal's directory, open. After an OSError it must not be used any more."""

    def __init__(self, directory: Path, cluster: bytes, files: Files, segment_bytes: int, new_mark: Callable[[], bytes]) -> None:
        self._directory = directory
        self._cluster = cluster
        self._files = files
        self._segment_bytes = segment_bytes
        self._new_mark = new_mark
        #: The last durable record. Only append changes it.
        self.tip: Tip = ORIGIN
        # In use, oldest first; consecutive in number and position. Never empty once open; the last one is appended to.
        self._segments: deque[Segment] = deque()
        # Where the next record goes in the last segment.
        self._offset = HEADER_BYTES
        # Files of _segment_bytes, with durable names, which nothing else refers to.
        self._spares: deque[Path] = deque()
        files.make_directory(directory)
        files.sync_directory(directory.parent)
        self._lock = files.lock(directory)
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    @property
    def first(self) -> int:
        """See Journal."""
        return self._segments[0].header.first

    def close(self) -> None:
        """Close the current file and let others have the directory."""
        self._file.close()
        self._lock.release()

    def append(self, term: int, entries: Sequence[bytes]) -> int:
        """See Journal."""
        if term < self.tip.term:
            raise JournalFailed(f"term {term} is over: the journal has accepted term {self.tip.term}")
        start = 0
        while start < len(entries):
            count = fitting_count(entries, start, self._segments[-1].header.size_bytes - self._offset)
            if count:
                self._write(term, entries[start : start + count])
                start += count
            elif self._offset > HEADER_BYTES:
                self._rotate()
            else:
                raise JournalFailed(f"an entry of {len(entries[start])} bytes is larger than a segment")
        return self.tip.last

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """See Journal."""
        segments = list(self._segments)
        lasts = [segment.header.first - 1 for segment in segments[1:]] + [self.tip.last]
        for segment, last in zip(segments, lasts, strict=True):
            if last <= after:
                continue
            content = self._read(segment.path)
            offset, position = HEADER_BYTES, segment.header.first
            for record, _ in self._follow(segment, content):
                for position, entry in enumerate(parse_entries(content, record), record.first):
                    if position > after:
                        yield position, entry
                offset, position = record.end, record.last + 1
            if position <= last:
                raise JournalDamaged(segment.path, offset, position, "a record is damaged")

    def trim(self, upto: int) -> None:
        """See Journal."""
        while len(self._segments) > 1 and self._segments[1].header.first <= upto + 1:
            self._retire(self._segments[0])
            self._segments.popleft()
        self.secure_space(SPARES_AHEAD)

    def room_bytes(self, largest_bytes: int) -> int:
        """What surely fits, in entries of which none is larger than largest_bytes: a segment's end may be left empty."""
        end_bytes = min(largest_bytes, JOURNAL_ENTRY_BYTES_MAX) + RECORD_OVERHEAD_BYTES + ALIGN_BYTES
        here = self._segments[-1].header.size_bytes - self._offset - end_bytes
        spare = self._segment_bytes - HEADER_BYTES - end_bytes
        return max(0, here) + len(self._spares) * max(0, spare)

    def secure_space(self, count: int) -> None:
        """See to it that there are so many spare files, as far as the disk and the bound on all files have room."""
        while len(self._spares) < count and len(self._spares) + len(self._segments) < JOURNAL_SEGMENTS_MAX:
            path = self._path(UNFINISHED, next(self._numbers))
            try:
                self._fill(path)
            except OSError as error:
                if error.errno in _NO_SPACE:
                    return
                raise
            spare = self._path(SPARE, next(self._numbers))
            self._files.rename(path, spare)
            self._files.sync_directory(self._directory)
            self._spares.append(spare)

    # Opening

    def _open(self) -> None:
        """Bring the directory in order, verify all that is held, cut a torn end."""
        # Names that an earlier process made may not be durable yet, and what follows relies on them.
        self._files.sync_directory(self._directory)
        names = self._files.list(self._directory)
        self._numbers = itertools.count(1 + max(map(_number, names), default=0))
        self._sort_out_spares(names)
        numbers = sorted(_number(name) for name in names if name.startswith(SEGMENT))
        if numbers:
            self._file = self._files.open(self._path(SEGMENT, numbers[-1]))
            self._verify(numbers)
        else:
            self._file = self._begin_segment(number=1)
        self.secure_space(SPARES_AHEAD)

    def _sort_out_spares(self, names: list[str]) -> None:
        """Take over the spare files that an earlier process left."""
        for name in names:
            path = self._directory / name
            if name.startswith(SPARE) and self._size(path) == self._segment_bytes:
                self._spares.append(path)
            elif name.startswith((SPARE, UNFINISHED)):
                self._files.unlink(path)

    def _verify(self, numbers: list[int]) -> None:
        """Follow the chain through all segments: JournalDamaged, or `tip`, `_segments` and `_offset` are set."""
        for number in range(numbers[0], numbers[-1] + 1):
            path = self._path(SEGMENT, number)
            if number not in numbers:
                raise JournalDamaged(path, 0, self.tip.last + 1, "the file is missing")
            content = self._read(path)
            self._take(Segment(path, self._header(path, number, content)))
            last_record = self._scan(content)
        self._secure_end(content, last_record)

    def _header(self, path: Path, number: int, content: bytes) -> SegmentHeader:
        """The header of a segment, checked against what is known of it from outside."""
        try:
            header = unpack_header(content[:HEADER_BYTES])
        except OtherVersion as error:
            raise UserError(f"cannot read {path}: {error}; use the version that wrote it") from None
        except BadHeader as error:
            raise JournalDamaged(path, 0, self.tip.last + 1, str(error)) from None
        if header.cluster != self._cluster:
            raise UserError(f"{path} belongs to another cluster ({header.cluster.hex()}): give this server its own state directory")
        if header.number != number:
            raise JournalDamaged(path, 0, self.tip.last + 1, f"it was written as segment {header.number}")
        if header.size_bytes != len(content):
            raise JournalDamaged(
                path, len(content), header.first, f"the file ends early, or late: it had {header.size_bytes} bytes"
            )
        return header

    def _take(self, segment: Segment) -> None:
        """Go on to a segment; the one before it must have ended where this one begins."""
        before = tip_before(segment.header)
        if self._segments and before != self.tip:
            raise JournalDamaged(
                self._segments[-1].path, self._offset, self.tip.last + 1, "a record is damaged, or records are missing"
            )
        self.tip = before
        self._segments.append(segment)
        self._offset = HEADER_BYTES

    def _scan(self, content: bytes) -> Record | None:
        """Follow the chain to the end of the last segment taken. Its last record, if it has one."""
        record = None
        for record, tip in self._follow(self._segments[-1], content):
            self.tip, self._offset = tip, record.end
        return record

    def _secure_end(self, content: bytes, record: Record | None) -> None:
        """What follows the last record is a torn one at most; that record itself is durable on return."""
        current = self._segments[-1]
        later = find_mark(content, current.header.mark, self._offset)
        if later is not None:
            raise JournalDamaged(
                current.path, self._offset, self.tip.last + 1, f"a record is damaged, and later ones follow at byte {later}"
            )
        if record is not None:
            # Its process may have died before fdatasync, or of a failed one, after which the page cache claims to be clean.
            self._file.pwrite_durable(content[record.offset : record.end], record.offset)

    def _follow(self, segment: Segment, content: bytes) -> Iterator[tuple[Record, Tip]]:
        """The chain through one segment."""
        try:
            yield from follow(content, segment.header)
        except BrokenChain as error:
            raise JournalDamaged(segment.path, error.offset, self.tip.last + 1, str(error)) from None

    # Writing

    def _write(self, term: int, entries: Sequence[bytes]) -> None:
        """One record, durable on return."""
        record = pack_record(self._segments[-1].header.mark, self.tip.code, term, self.tip.last + 1, entries)
        self._file.pwrite_durable(record, self._offset)
        self._offset += len(record)
        self.tip = Tip(self.tip.last + len(entries), term, bytes(record[:CODE_BYTES]))

    def _rotate(self) -> None:
        """Go on in a new segment."""
        full = self._file
        self._file = self._begin_segment(self._segments[-1].header.number + 1)
        full.close()
        self.secure_space(SPARES_AHEAD)

    def _begin_segment(self, number: int) -> File:
        """Make a spare file the segment of this number, the last one. The open file."""
        self.secure_space(1)
        if not self._spares:
            raise JournalFailed(f"no space for another segment in {self._directory}")
        spare = self._spares.popleft()
        tip = self.tip
        header = SegmentHeader(self._cluster, number, tip.last + 1, tip.code, tip.term, self._new_mark(), self._segment_bytes)
        path = self._path(SEGMENT, number)
        file = self._files.open(spare)
        file.pwrite_durable(header.pack(), 0)
        self._files.rename(spare, path)
        self._files.sync_directory(self._directory)
        self._offset = HEADER_BYTES
        self._segments.append(Segment(path, header))
        return file

    def _retire(self, segment: Segment) -> None:
        """Make a segment that is not needed any more a spare file, or remove it if there are enough."""
        if segment.header.size_bytes == self._segment_bytes and len(self._spares) < SPARES_KEPT:
            spare = self._path(SPARE, next(self._numbers))
            self._files.rename(segment.path, spare)
            self._files.sync_directory(self._directory)
            self._spares.append(spare)
        else:
            self._files.unlink(segment.path)
            self._files.sync_directory(self._directory)

    def _fill(self, path: Path) -> None:
        """Make a file of a segment's size whose blocks have been written."""
        file = self._files.open(path, create=True)
        try:
            file.fallocate(0, self._segment_bytes)
            for offset in range(0, self._segment_bytes, len(_FILL)):
                file.pwrite(_FILL[: self._segment_bytes - offset], offset)
            file.fdatasync()
        except OSError:
            self._files.unlink(path)
            raise
        finally:
            file.close()

    # Helpers

    def _path(self, kind: str, number: int) -> Path:
        return self._directory / f"{kind}{number:016d}"

    def _size(self, path: Path) -> int:
        file = self._files.open(path)
        try:
            return file.size_bytes()
        finally:
            file.close()

    def _read(self, path: Path) -> bytes:
        """All of a file."""
        file = self._files.open(path)
        try:
            return file.pread(file.size_bytes(), 0)
        finally:
            file.close()


def _number(name: str) -> int:
    """The number in the name of one of the journal's files; 0 of any other."""
    digits = name.removeprefix(SEGMENT).removeprefix(SPARE).removeprefix(UNFINISHED)
    return int(digits) if digits.isdecimal() else 0
