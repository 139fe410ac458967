"""The open segment files of a disk: opened when first used, closed when unused for longest. Belongs to the event loop's thread."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ringfs.base.limits import SEGMENTS_OPEN_MAX
from ringfs.data.disk import Disk, Segment


class SegmentTable:
    """Segments by number. Whoever uses one pins it meanwhile, so that no descriptor is closed under a thread."""

    def __init__(self, disk: Disk, open_max: int = SEGMENTS_OPEN_MAX) -> None:
        self._disk = disk
        self._open_max = open_max
        #: Least recently used first. Only unpinned ones are closed, so there may be more than open_max for a while.
        self._open: OrderedDict[int, Segment] = OrderedDict()

    def opened(self, number: int) -> Segment:
        """The segment, for use before anything is awaited. Opening it blocks for microseconds. Raises OSError."""
        segment = self._open.get(number)
        if segment is None:
            segment = self._open[number] = self._disk.open(number)
            self._close_unused(but=number)
        self._open.move_to_end(number)
        return segment

    @contextmanager
    def pinned(self, number: int) -> Iterator[Segment]:
        """The segment, for as long as the block lasts. Opening it blocks for microseconds. Raises OSError."""
        segment = self.pin(number)
        try:
            yield segment
        finally:
            self.unpin(segment)

    def pin(self, number: int) -> Segment:
        """The segment, until unpin(). Opening it blocks for microseconds. Raises OSError."""
        segment = self.opened(number)
        segment.pins += 1
        return segment

    def unpin(self, segment: Segment) -> None:
        """One use of it has ended."""
        segment.pins -= 1
        self._close_unused()

    async def create(self, number: int, capacity_bytes: int, header: bytes) -> None:
        """Make a new segment file."""
        self._open[number] = await trio.to_thread.run_sync(self._disk.create, number, capacity_bytes, header)

    async def unlink(self, number: int) -> bool:
        """Remove a segment file, unless somebody uses it just now."""
        segment = self._open.get(number)
        if segment is not None and segment.pins:
            return False
        if segment is not None:
            del self._open[number]
            segment.close()
        await trio.to_thread.run_sync(self._disk.unlink, number)
        return True

    def close(self) -> None:
        """Close all."""
        for segment in self._open.values():
            assert not segment.pins, "nothing is under way when the store is closed"
            segment.close()
        self._open.clear()

    def _close_unused(self, *, but: int = 0) -> None:
        if len(self._open) <= self._open_max:
            return
        for number in [number for number, segment in self._open.items() if not segment.pins and number != but]:
            if len(self._open) <= self._open_max:
                return
            self._open.pop(number).close()
