"""The file engine of the journal, for one machine: segments.py, in a thread where the disk is slow."""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from ringfs.base.files import Files, RealFiles
from ringfs.base.limits import JOURNAL_RESERVE_BYTES, JOURNAL_SEGMENT_BYTES, KIB
from ringfs.base.pace import Pace
from ringfs.meta.journal.interface import JournalFailed
from ringfs.meta.journal.record import MARK_BYTES, RECORD_OVERHEAD_BYTES, packed_bytes
from ringfs.meta.journal.segments import SegmentLog

#: Appends that are this fast and small run on the event loop: they hold it up less than a hop to a thread and back costs. A few
#: transactions say that few are waiting: for them it may take longer (docs/decisions/0002-fast-disk-on-the-loop.md).
_INLINE_APPEND_NS = 500_000
_INLINE_ALONE_NS = 2_000_000
_ALONE_COUNT = 4
_INLINE_APPEND_BYTES = 256 * KIB

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def random_mark() -> bytes:
    """A mark for a segment's records that nobody can know, so that nobody's data can pass for a record."""
    return os.urandom(MARK_BYTES)


class FileJournal:
    """A Journal in a directory. Opening reads and verifies all of it, and blocks meanwhile.

    JournalDamaged; UserError if another process uses the directory or it belongs to another cluster; JournalFailed.
    """

    def __init__(
        self,
        directory: Path,
        cluster: str,
        *,
        files: Files | None = None,
        segment_bytes: int = JOURNAL_SEGMENT_BYTES,
        reserve_bytes: int = JOURNAL_RESERVE_BYTES,
        new_mark: Callable[[], bytes] = random_mark,
    ) -> None:
        try:
            self._log = SegmentLog(directory, uuid.UUID(cluster).bytes, files or RealFiles(), segment_bytes, new_mark)
        except OSError as error:
            raise JournalFailed(f"cannot open the journal in {directory}: {error}") from error
        self._reserve_bytes = reserve_bytes
        # What broke the journal: it is not written to any more, whatever it may hold.
        self._failure: Exception | None = None
        # Size of the entries in the append that is under way; 0 if none is.
        self._appending_bytes = 0
        # How long an append takes on this disk, smoothed; it begins in a thread until that is known.
        self._pace = Pace(_INLINE_ALONE_NS)
        self._append_thread = trio.CapacityLimiter(1)
        self._trim_thread = trio.CapacityLimiter(1)

    @property
    def first(self) -> int:
        """See Journal."""
        return self._log.first

    @property
    def last(self) -> int:
        """See Journal."""
        return self._log.tip.last

    @property
    def term(self) -> int:
        """See Journal."""
        return self._log.tip.term

    def has_room(self, size_bytes: int, *, reserve: bool) -> bool:
        """See Journal."""
        size_bytes += self._appending_bytes
        # Entries are at least 32 bytes as a rule, so that 4 bytes for the length of each are an eighth.
        needed_bytes = size_bytes + size_bytes // 8 + RECORD_OVERHEAD_BYTES + (0 if reserve else self._reserve_bytes)
        return self._failure is None and needed_bytes <= self._log.room_bytes(size_bytes)

    async def append(self, term: int, entries: Sequence[bytes]) -> int:
        """See Journal. Cancelling takes effect before it begins, or after it has ended."""
        assert entries, "an append has at least one entry"
        assert not self._appending_bytes, "one append at a time"
        self._appending_bytes = packed_bytes(entries)
        try:
            limit_ns = _INLINE_ALONE_NS if len(entries) <= _ALONE_COUNT else _INLINE_APPEND_NS
            if self._pace.smoothed_ns < limit_ns and self._appending_bytes <= _INLINE_APPEND_BYTES:
                await trio.lowlevel.checkpoint_if_cancelled()
                return self._checked(self._timed_append, term, entries)
            return await self._guarded(self._append_thread, self._timed_append, term, entries)
        finally:
            self._appending_bytes = 0

    def _timed_append(self, term: int, entries: Sequence[bytes]) -> int:
        with self._pace.timed():
            return self._log.append(term, entries)

    async def replay(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """See Journal."""
        for entry in self._log.replay(after):
            yield entry

    async def trim(self, upto: int) -> None:
        """See Journal."""
        await self._guarded(self._trim_thread, self._log.trim, upto)

    def close(self) -> None:
        """See Journal."""
        self._log.close()

    async def _guarded(
        self, thread: trio.CapacityLimiter, call: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments
    ) -> Result:
        """Run a call of the log in a thread."""
        return await trio.to_thread.run_sync(self._checked, call, *arguments, limiter=thread)

    def _checked(self, call: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
        """Run a call of the log. Its first failure is the journal's last word."""
        if self._failure is not None:
            raise JournalFailed(f"the journal has failed before: {self._failure}") from self._failure
        try:
            return call(*arguments)
        except (OSError, JournalFailed) as error:
            self._failure = error
            raise JournalFailed(str(error)) from error
