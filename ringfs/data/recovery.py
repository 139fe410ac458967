"""Opening a store: the index as its last checkpoint left it, completed (or built anew) from the segments.

1. Without a sound index, an empty one: everything is scanned then.
2. Segments that are gone lose their rows. Ranges that were to be punched are punched.
3. What the mark does not cover is scanned; the later record of an object counts. Damage is skipped, logged and counted; what
   a crash cut short at the very end is cut off.
"""

import shutil
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import structlog
import trio

from ringfs.base.buffers import buffers
from ringfs.base.clock import Clock
from ringfs.base.kv.store import ReadDamaged, Store, StoreDamaged
from ringfs.base.limits import CHECKPOINT_ROW_BYTES, INDEX_MAPPED_BYTES_MAX
from ringfs.data.checkpointer import Checkpointer
from ringfs.data.disk import Disk, Segment
from ringfs.data.health import Health
from ringfs.data.identity import Identity
from ringfs.data.index import NO_MARK, Index, IndexDamaged, place_of, position_of
from ringfs.data.index_check import Checked, check_index
from ringfs.data.scan import Damaged, Found, scan_segment
from ringfs.data.segment_format import HEAD_BYTES, SegmentHeader, parse_header
from ringfs.data.segment_log import NO_SPACE, SegmentLog, SegmentSizes
from ringfs.data.segments import SegmentTable
from ringfs.data.store import ObjectStore

log = structlog.get_logger("ringfs.data")

#: Records that one call in a thread looks for.
_RECORDS_PER_BATCH = 256
#: A file beside LMDB's.
_IN_DOUBT = "in-doubt"


async def open_store(
    directory: Path, identity: Identity, clock: Clock, sizes: SegmentSizes | None = None, disk_type: type[Disk] = Disk
) -> ObjectStore:
    """Open the store of a disk whose lock is held. Raises OSError where the disk cannot be read or written at all."""
    disk = disk_type(directory)
    health = Health()
    segments = SegmentTable(disk)
    checked = await trio.to_thread.run_sync(_checked, directory / "index")
    kv, index, fault = _open_index(directory / "index", identity, checked)
    try:
        end = await _Recovery(disk, segments, kv, index, health, identity).run()
        if fault and (index.segments or identity.node):
            # No new disk.
            health.index_built_ns, health.index_fault = clock.wall_ns(), fault
    except BaseException:
        kv.close()
        segments.close()
        disk.close()
        raise
    records = SegmentLog(disk, segments, index, health, identity, clock, sizes or SegmentSizes())
    records.resume(*end)
    checkpointer = Checkpointer(kv, index, records, segments, health)
    return ObjectStore(identity, disk, segments, index, records, checkpointer, health, clock, kv)


def doubt_index(directory: Path) -> None:
    """Something in the index of a closed store was wrong: the next open_store builds it anew. Raises OSError."""
    (directory / "index" / _IN_DOUBT).touch()


def _checked(directory: Path) -> Checked | None:
    """What is found of an index, if there is one; for a thread: other disks of the process go on."""
    return check_index(directory) if directory.exists() else None


def _open_index(directory: Path, identity: Identity, checked: Checked | None) -> tuple[Store, Index, str]:
    """The index of this disk; or an empty one in place of a missing, foreign, damaged or doubtful one, and what is wrong there."""
    fault = "there was none"
    if checked is not None:
        found = checked.reason or _undoubted_index(directory, identity, checked.newest)
        if not isinstance(found, str):
            return *found, ""
        fault = found
        log.warning("no sound index: it is built anew", reason=fault)
        shutil.rmtree(directory)
    kv = Store(directory, mapped_bytes_max=INDEX_MAPPED_BYTES_MAX)
    return kv, Index(kv, identity.disk.bytes), fault


def _undoubted_index(directory: Path, identity: Identity, newest: int) -> tuple[Store, Index] | str:
    """The index, or why not. Should opening it kill the process nevertheless, it is in doubt, and not opened again."""
    in_doubt = directory / _IN_DOUBT
    if in_doubt.exists():
        return "it was damaged, or the last start did not get through reading it"
    in_doubt.touch()
    try:
        return _sound_index(directory, identity, newest)
    finally:
        in_doubt.unlink()


def _sound_index(directory: Path, identity: Identity, newest: int) -> tuple[Store, Index] | str:
    try:
        kv = Store(directory, mapped_bytes_max=INDEX_MAPPED_BYTES_MAX)
    except StoreDamaged as error:
        return str(error)
    index = Index(kv, identity.disk.bytes)
    reason = "there is none, or it is another disk's, or of another version"
    try:
        if index.load(newest):
            return kv, index
    except IndexDamaged as error:
        reason = str(error)
    except ReadDamaged as error:
        reason = str(error)
    kv.close()
    return reason


class _Recovery:
    """One run of what the module says."""

    def __init__(self, disk: Disk, segments: SegmentTable, kv: Store, index: Index, health: Health, identity: Identity) -> None:
        self._disk = disk
        self._segments = segments
        self._kv = kv
        self._index = index
        self._health = health
        self._identity = identity
        #: Where records were found to end in the segment scanned last.
        self._end = index.mark

    async def run(self) -> tuple[int, int]:
        """Complete the index; where to append next, and the capacity of that segment."""
        numbers = await trio.to_thread.run_sync(self._disk.numbers)
        self._forget_missing(numbers)
        for number in numbers:
            await self._forget_cut(number)
        await self._punch_again()
        marked, offset = place_of(self._index.mark)
        has_mark = self._index.mark > NO_MARK
        for number in numbers:
            # Writes may have been cut short behind the mark; without one, only at the very end (each start cuts).
            verify = (has_mark and marked <= number) or number == numbers[-1]
            if number > marked or number not in self._index.segments:
                await self._scan(number, HEAD_BYTES, verify=verify, is_last=number == numbers[-1])
            elif number == marked:
                await self._scan(number, max(offset, HEAD_BYTES), verify=verify, is_last=number == numbers[-1])
        end = await self._cut(numbers)
        self._index.flush(end[0])
        await self._kv.checkpoint({})
        return end

    def _forget_missing(self, numbers: Iterable[int]) -> None:
        for number in sorted(set(self._index.segments) - set(numbers)):
            if lost_count := self._index.lose_segment(number):
                self._health.lost_count += lost_count
                log.error("segment missing: its objects are lost", segment=number, objects=lost_count)

    async def _forget_cut(self, number: int) -> None:
        """What lay behind the end of a segment file that is shorter than it was made is lost, known or not."""
        with self._segments.pinned(number) as segment:
            length_bytes = segment.capacity_bytes
            header = await trio.to_thread.run_sync(_header_of, segment)
            if header is None or length_bytes >= header.capacity_bytes:
                return
            lost_count = self._index.lose_end(number, length_bytes) if number in self._index.segments else 0
            self._health.lost_count += max(1, lost_count)
            log.error("segment cut short: what lay behind is lost", segment=number, length_bytes=length_bytes, parts=lost_count)

    async def _punch_again(self) -> None:
        for position, length_bytes in self._index.punches.items():
            number, offset = place_of(position)
            with self._segments.pinned(number) as segment:
                await trio.to_thread.run_sync(segment.punch, offset, length_bytes)
        for number in {place_of(position)[0] for position in self._index.punches}:
            with self._segments.pinned(number) as segment:
                await trio.to_thread.run_sync(segment.sync)
        self._index.forget_punches(list(self._index.punches))

    async def _scan(self, number: int, start: int, *, verify: bool, is_last: bool) -> None:
        """Take up the records of a segment from start on; verify: check their contents too."""
        self._index.know_segment(number)
        self._end = position_of(number, start)
        with self._segments.pinned(number) as segment:
            # Only one record is kept back: it tells a torn end from damage with something behind it.
            held_back: Found | Damaged | None = None
            records = scan_segment(segment, self._identity.record_key, start, verify=verify)
            while batch := await trio.to_thread.run_sync(list, islice(records, _RECORDS_PER_BATCH)):
                for record in batch:
                    if held_back is not None:
                        self._take(number, held_back)
                    held_back = record
                self._kv.bound_memory()
                if self._kv.pending_bytes > CHECKPOINT_ROW_BYTES:
                    self._index.flush(self._end)
                    await self._kv.checkpoint({})
            if held_back is not None and verify and self._was_cut_short(number, held_back):
                self._cut_off(number, held_back, is_last=is_last)
            elif held_back is not None:
                self._take(number, held_back)

    def _take(self, number: int, record: Found | Damaged) -> None:
        position = position_of(number, record.offset)
        if isinstance(record, Found) and record.is_whole:
            self._index.replay(record.head, position)
        else:
            self._health.lost_count += 1
            what = str(record.head.stored) if isinstance(record, Found) else "unknown"
            log.error("damaged record skipped", segment=number, offset=record.offset, bytes=record.length_bytes, object=what)
        self._end = position + record.length_bytes

    def _was_cut_short(self, number: int, record: Found | Damaged) -> bool:
        """Whether a segment's last record is a write that never was acknowledged: it is not whole, and no row points into it.

        Rows may point behind the mark, and what they point to was durable: then it is damage, and its place is not used again.
        """
        position = position_of(number, record.offset)
        is_whole = isinstance(record, Found) and record.is_whole
        return not is_whole and not self._index.points_into(position, position + record.length_bytes)

    def _cut_off(self, number: int, record: Found | Damaged, *, is_last: bool) -> None:
        """A write at the end of a segment that never was acknowledged. In the last one, _cut() deals with its place."""
        log.info("a write that was cut short is cut off", segment=number, offset=record.offset)
        if not is_last:
            self._index.waste(position_of(number, record.offset), record.length_bytes)

    async def _cut(self, numbers: list[int]) -> tuple[int, int]:
        """Make everything behind the last record blank and preallocated again, whatever a crash left there.

        Where to append, and up to which offset: without room, the first append makes a new segment.
        """
        number, offset = place_of(self._end)
        if number not in numbers:
            end = max(self._end, NO_MARK + 1)
            return end, place_of(end)[1]
        with self._segments.pinned(number) as segment:
            return self._end, await trio.to_thread.run_sync(_blank, segment, offset)


def _blank(segment: Segment, offset: int) -> int:
    """Up to where the segment is blank and preallocated from offset on."""
    length = segment.capacity_bytes - offset
    if length <= 0:
        return offset
    segment.punch(offset, length)
    try:
        segment.allocate(offset, length)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        length = 0
    segment.sync()
    return offset + length


def _header_of(segment: Segment) -> SegmentHeader | None:
    buffer = buffers.take(HEAD_BYTES)
    count = segment.read(buffer, 0, direct=False)
    return parse_header(buffer[:count])
