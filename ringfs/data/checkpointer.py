"""When the index becomes durable, and what may happen only after that: punching holes and unlinking segments.

The order that makes a delete safe at every crash: the row goes and its range becomes a "p" row, in one checkpoint; then the range
is punched and the segment synced; then the "p" row goes with the next checkpoint. So no row ever points to a punched range, and a
range that was to be punched is punched by the next start. Only if the index is lost between the first two steps does a rebuild
find the object again: a whole object that metadata has long forgotten, for a sweep to find.
"""

import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.store import Store, StoreCorrupted, StoreFailed, StoreFull
from ringfs.base.limits import CHECKPOINT_RECORD_BYTES, CHECKPOINT_ROW_BYTES
from ringfs.data.disk import Segment
from ringfs.data.health import Health
from ringfs.data.index import Index, IndexDamaged, place_of
from ringfs.data.segment_log import SegmentLog
from ringfs.data.segments import SegmentTable

#: Changes wait no longer for a checkpoint, and freed space no longer to be given back.
INTERVAL_S = 5.0
#: Far more than gathers during a checkpoint.
_PENDING_BYTES_MAX = 8 * CHECKPOINT_ROW_BYTES


class Checkpointer:
    """One for each store. All methods belong to the event loop's thread."""

    def __init__(self, kv: Store, index: Index, log: SegmentLog, segments: SegmentTable, health: Health) -> None:
        self._kv = kv
        self._index = index
        self._log = log
        self._segments = segments
        self._health = health
        self._due = trio.Event()
        #: Those who wait for the next checkpoint that begins.
        self._waiting: list[trio.Event] = []
        #: SegmentLog.appended_bytes at the last checkpoint.
        self._appended_bytes = 0

    def changed(self) -> None:
        """The index changed: checkpoint soon if enough has."""
        appended_bytes = self._log.appended_bytes - self._appended_bytes
        if appended_bytes > CHECKPOINT_RECORD_BYTES or self._kv.pending_bytes > CHECKPOINT_ROW_BYTES:
            self._due.set()

    def check_room(self) -> None:
        """Refused DISK_FULL while checkpoints find no room and changes pile up in memory."""
        if self._kv.pending_bytes > _PENDING_BYTES_MAX:
            raise Refused(Code.DISK_FULL, "there is no room for the index")

    async def wait_durable(self) -> None:
        """Until what the index says now is durable and what it freed is given back. Refused DISK_FULL, DISK_FAILED."""
        done = trio.Event()
        self._waiting.append(done)
        self._due.set()
        await done.wait()
        self._health.check_writable()

    async def run(self) -> None:
        """For ever: checkpoint when due, or after a while if anything changed."""
        while True:
            with trio.move_on_after(INTERVAL_S):
                await self._due.wait()
            self._due = trio.Event()
            if self._waiting or self._kv.pending_bytes:
                await self._checkpoint()

    async def close(self) -> None:
        """A last checkpoint, if the disk takes one, and the end of the index."""
        if self._health.failure is None:
            await self._checkpoint(closing=True)
        self._kv.close()

    async def _checkpoint(self, *, closing: bool = False) -> None:
        waiting, self._waiting = self._waiting, []
        if self._health.failure is None and not await self._write(closing=closing):
            # Nothing is lost; who waits goes on waiting for a checkpoint that succeeds.
            self._waiting = waiting + self._waiting
            return
        for done in waiting:
            done.set()

    async def _write(self, *, closing: bool) -> bool:
        """One checkpoint and what follows it. False if there was no room for it."""
        is_quiet = self._appended_bytes == self._log.appended_bytes
        self._appended_bytes = self._log.appended_bytes
        self._index.flush(self._log.mark, closed=closing)
        punches = list(self._index.punches.items())
        empty = [number for number, use in self._index.segments.items() if not use.live_bytes]
        try:
            await self._kv.checkpoint({})
            if is_quiet and self._appended_bytes == self._log.appended_bytes:
                # Even the segment that is appended to is given back, unless it were made anew at once.
                for number in empty:
                    self._log.retire(number)
            await self._free(punches, empty)
        except StoreFull:
            self._health.full(True)
            return False
        except StoreCorrupted as error:
            # The segments have all that is in it.
            raise IndexDamaged(str(error)) from error
        except (StoreFailed, OSError) as error:
            self._health.fail(f"index: {error}")
        return True

    async def _free(self, punches: list[tuple[int, int]], empty: list[int]) -> None:
        """Give back what the checkpoint that just succeeded says is free."""
        by_segment: dict[int, list[tuple[int, int]]] = {}
        for position, length_bytes in punches:
            by_segment.setdefault(place_of(position)[0], []).append((position, length_bytes))
        for number in empty:
            if not self._log.is_busy(number) and not self._index.segments[number].live_bytes:
                by_segment.pop(number, None)
                if await self._segments.unlink(number):
                    self._index.forget_segment(number)
        for number, ranges in by_segment.items():
            with self._segments.pinned(number) as segment:
                await trio.to_thread.run_sync(_punch, segment, ranges)
            self._index.forget_punches([position for position, _ in ranges])


def _punch(segment: Segment, ranges: list[tuple[int, int]]) -> None:
    for position, length_bytes in ranges:
        segment.punch(place_of(position)[1], length_bytes)
    segment.sync_written()
