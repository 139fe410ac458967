"""Appending records: places in the active segment, writes side by side in threads, one fdatasync for all that wait for one.

The log knows positions and durability. What a record means, and the index, is the store's business (store.py).
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import trio
from outcome import Outcome

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused, kept
from ringfs.base.limits import DISK_RESERVE_BYTES, OBJECT_BYTES_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MIN
from ringfs.base.threads import Threads
from ringfs.data.disk import Disk, Segment
from ringfs.data.health import Health
from ringfs.data.identity import Identity
from ringfs.data.index import Index, place_of, position_of
from ringfs.data.segment_format import HEAD_BYTES, SegmentHeader, pack_header, record_bytes
from ringfs.data.segments import SegmentTable

#: What a full disk says.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_LARGEST_BYTES = record_bytes(OBJECT_BYTES_MAX)
_UNLIMITED_BYTES = 1 << 62
#: Is told a record's position once it is durable, or what is refused.
OnAppended = Callable[[int | Refused], None]


class SegmentSizes:
    """How large segments are made and what must stay free: figures of base/limits.py, smaller in tests."""

    def __init__(
        self,
        segment_bytes: int = SEGMENT_BYTES,
        segment_bytes_min: int = SEGMENT_BYTES_MIN,
        reserve_bytes: int = DISK_RESERVE_BYTES,
        capacity_bytes: int | None = None,
    ) -> None:
        self.segment_bytes = segment_bytes
        self.segment_bytes_min = segment_bytes_min
        self.reserve_bytes = reserve_bytes
        #: The cap on live bytes that the configuration sets.
        self.capacity_bytes = capacity_bytes


class _NotSynced(Exception):
    """A record was written, and whether it is on the disk is not known."""


class SegmentLog:
    """The end of the log of one disk. All methods belong to the event loop's thread."""

    def __init__(
        self,
        disk: Disk,
        segments: SegmentTable,
        index: Index,
        health: Health,
        identity: Identity,
        clock: Clock,
        sizes: SegmentSizes,
    ) -> None:
        self._disk = disk
        self._segments = segments
        self._index = index
        self._health = health
        self._identity = identity
        self._clock = clock
        self._sizes = sizes
        #: The active segment and where the next record goes; 0: none, the next append makes one.
        self._active = 0
        self._tail = 0
        self._capacity_bytes = 0
        #: Length by position, ascending: records given a place that the index does not reflect yet. The mark stays before them.
        self._in_flight: dict[int, int] = {}
        self._rolling = trio.Lock()
        #: Since the log was opened.
        self.appended_bytes = 0

    # --- state -------------------------------------------------------------------------------------------------------

    @property
    def mark(self) -> int:
        """Every record before this position is reflected in the index, or never will be."""
        return next(iter(self._in_flight), position_of(self._active, self._tail))

    @property
    def room_bytes(self) -> int:
        """Preallocated space that is left in the active segment."""
        return self._capacity_bytes - self._tail

    def resume(self, position: int, capacity_bytes: int) -> None:
        """Go on appending where recovery found the end."""
        self._active, self._tail = place_of(position)
        self._capacity_bytes = capacity_bytes

    def is_busy(self, number: int) -> bool:
        """Whether a segment is appended to or has records in flight."""
        is_active = number == self._active and self.room_bytes > 0
        return is_active or any(place_of(position)[0] == number for position in self._in_flight)

    def retire(self, number: int) -> None:
        """Append nothing more to that segment, which has nothing in it that counts; the next append makes a new one."""
        if number == self._active and not self._in_flight:
            self._capacity_bytes = self._tail

    # --- appending ---------------------------------------------------------------------------------------------------

    async def append(self, length_bytes: int, write: Callable[[Segment, int], None], threads: Threads) -> int:
        """Let `write` write a record of that length in a thread, which syncs it too; its position once it is durable.

        It stays in flight until settled() is told that the index reflects it. Refused DISK_FULL, DISK_FAILED, and what `write`
        refuses: then nothing of it counts.
        """
        await self._make_room(length_bytes)
        position = self._reserve(length_bytes)
        number, offset = place_of(position)
        with self._judged(position), self._segments.pinned(number) as segment:
            await threads.run(_write_durably, write, segment, offset)
        return position

    def append_soon(
        self, length_bytes: int, write: Callable[[Segment, int], None], threads: Threads, on_appended: OnAppended
    ) -> bool:
        """The same in a plain call, which costs a third of a task's turns: on_appended is told the position, or what is refused.
        False: there is something to wait for first, so ask append(). Refused as there."""
        self._health.check_writable()
        if self._rolling.locked() or self.room_bytes < length_bytes or not threads.has_free:
            return False
        try:
            segment = self._segments.pin(self._active)
        except OSError:
            # append() meets it again, counts it and says it.
            return False
        try:
            position = self._reserve(length_bytes)
        except Refused:
            self._segments.unpin(segment)
            raise
        work = partial(_write_durably, write, segment, place_of(position)[1])
        threads.start(work, partial(self._written, position, segment, on_appended))
        return True

    def _written(self, position: int, segment: Segment, on_appended: OnAppended, result: Outcome[None]) -> None:
        self._segments.unpin(segment)
        try:
            with self._judged(position):
                result.unwrap()
        except Refused as refused:
            on_appended(kept(refused))
        else:
            on_appended(position)

    @contextmanager
    def _judged(self, position: int) -> Iterator[None]:
        """What the end of its writing, which is the block's, makes of a record. Refused: it does not count.

        The frames of the thread are let go: they have the payload, and the thread's own has the error.
        """
        try:
            yield
        except _NotSynced as error:
            self._health.fail(f"fdatasync: {kept(error)}")
        except Refused as refused:
            self._give_up(position)
            raise kept(refused) from None
        except OSError as error:
            self._give_up(position)
            raise self._write_failed(error) from kept(error)
        # Also if another disk call failed meanwhile. The record stays in flight then: the mark stays before it.
        self._health.check_writable()

    def settled(self, position: int) -> None:
        """The index reflects the record."""
        del self._in_flight[position]

    def _give_up(self, position: int) -> None:
        """The record does not count: its place is wasted."""
        self._index.waste(position, self._in_flight.pop(position))

    def _write_failed(self, error: OSError) -> Refused:
        if error.errno in NO_SPACE:
            self._health.full(True)
            return Refused(Code.DISK_FULL)
        self._health.fail(f"write: {error.strerror or error}")
        return Refused(Code.DISK_FAILED, str(error))

    # --- space -------------------------------------------------------------------------------------------------------

    def free_bytes(self) -> tuple[int, int]:
        """What can still be stored, records and all; and what could be if no capacity were configured. Asks the file system.
        Raises OSError."""
        on_disk_bytes = self._disk_bytes() + self.room_bytes
        return min(self._allowance_bytes, on_disk_bytes), on_disk_bytes

    def size_bytes(self) -> int:
        """What the disk can hold at most, whatever is on it. Asks the file system. Raises OSError."""
        size_bytes = self._disk.size_bytes()
        return size_bytes if self._sizes.capacity_bytes is None else min(size_bytes, self._sizes.capacity_bytes)

    def look_for_space(self) -> None:
        """Notice that a full disk has space again though nobody puts anything. Raises OSError."""
        if self._health.is_full and self._disk_bytes() >= self._sizes.segment_bytes_min and self._allowance_bytes >= _LARGEST_BYTES:
            self._health.full(False)

    def _disk_bytes(self) -> int:
        return max(0, self._disk.free_bytes() - self._sizes.reserve_bytes)

    # --- places ------------------------------------------------------------------------------------------------------

    async def _make_room(self, length_bytes: int) -> None:
        """Have an active segment with room for a record of that length."""
        self._health.check_writable()
        if self._rolling.locked() or self.room_bytes < length_bytes:
            # Those who wait for the next segment share it.
            async with self._rolling:
                self._check_allowance(length_bytes)
                if self.room_bytes < length_bytes:
                    await self._roll()

    def _reserve(self, length_bytes: int) -> int:
        """A place for a record of that length, for which there is room."""
        self._check_allowance(length_bytes)
        if min(self.room_bytes, self._allowance_bytes) >= _LARGEST_BYTES:
            self._health.full(False)
        position = position_of(self._active, self._tail)
        self._tail += length_bytes
        self.appended_bytes += length_bytes
        self._in_flight[position] = length_bytes
        return position

    def _check_allowance(self, length_bytes: int) -> None:
        if self._allowance_bytes < length_bytes:
            self._health.full(True)
            raise Refused(Code.DISK_FULL, "its configured capacity is used up")

    @property
    def _allowance_bytes(self) -> int:
        """What the configured capacity leaves."""
        if self._sizes.capacity_bytes is None:
            return _UNLIMITED_BYTES
        return max(0, self._sizes.capacity_bytes - self._index.live_bytes - sum(self._in_flight.values()))

    async def _roll(self) -> None:
        """Make the next segment and give back what is left of the active one."""
        capacity_bytes = min(self._sizes.segment_bytes, self._disk_bytes() // HEAD_BYTES * HEAD_BYTES)
        if capacity_bytes < self._sizes.segment_bytes_min:
            self._health.full(True)
            raise Refused(Code.DISK_FULL)
        number = max(self._active, *self._index.segments, 0) + 1
        header = SegmentHeader(number, self._identity.disk.bytes, self._identity.record_key, self._clock.wall_ns(), capacity_bytes)
        try:
            await self._segments.create(number, capacity_bytes, pack_header(header))
        except OSError as error:
            raise self._write_failed(error) from error
        if self._active and self.room_bytes:
            self._index.waste(position_of(self._active, self._tail), self.room_bytes)
        self._index.know_segment(number)
        self._active, self._tail, self._capacity_bytes = number, HEAD_BYTES, capacity_bytes


def _write_durably(write: Callable[[Segment, int], None], segment: Segment, offset: int) -> None:
    """One visit to a thread for both costs a put 0.2 ms less than two. Raises what `write` raises, and _NotSynced."""
    write(segment, offset)
    try:
        segment.sync_written()
    except OSError as error:
        raise _NotSynced(error.strerror or str(error)) from error
