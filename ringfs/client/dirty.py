"""Bytes that were written and are not committed yet, of one file: an interval map of buffers, and what is on its way. Pure.

A write goes into `live`. A flush takes bytes out of live into a Flight; the flight stays readable until it is committed,
and flights of one file are committed in the order in which they were taken, so that a file's length never runs ahead of
bytes written before it.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from ringfs.base.checksums import Buffer
from ringfs.base.errors import Refused
from ringfs.wire.messages.namespace import INLINE, Extent, NewObject

#: Small writes that continue each other are gathered in one growing buffer up to this size.
_GATHER_BYTES = 1 << 20
#: A look for long runs is worth it after so many more bytes: it passes all parts, of which random writes leave many thousands.
_LOOK_BYTES = 1 << 20
#: A write of at least so many bytes is kept as it is, without a copy.
KEPT_BYTES_MIN = _GATHER_BYTES // 2


#: What a file has as long as nothing is dirty: an empty one of its own costs as much as all the rest of an inode.
_NO_PARTS: SortedDict[int, Buffer] = SortedDict()


class IntervalBuffer:
    """Non-overlapping written ranges, ascending; the newest bytes win."""

    __slots__ = ("_looked_at_bytes", "_parts", "size_bytes")

    def __init__(self) -> None:
        #: start → the bytes written there; a bytearray while it may still grow, a memoryview once it was cut.
        self._parts: SortedDict[int, Buffer] = _NO_PARTS
        #: Sum of the parts' lengths.
        self.size_bytes = 0
        #: What size_bytes was when long_runs last looked.
        self._looked_at_bytes = 0

    def __bool__(self) -> bool:
        return self.size_bytes > 0

    @property
    def end(self) -> int:
        """End of the last range, or 0."""
        if not self._parts:
            return 0
        start, part = self._parts.peekitem(-1)
        return int(start) + len(part)

    def write(self, offset: int, data: Buffer) -> None:
        """Take over data (not copied if it is large: it must not change afterwards)."""
        length = len(data)
        if self._parts is _NO_PARTS:
            self._parts = SortedDict()
        index = self._parts.bisect_right(offset) - 1
        if index >= 0:
            start, part = self._parts.peekitem(index)
            if start + len(part) == offset and self._grows(index, part, length) and _extend(part, data):
                self.size_bytes += length
                return
        self.remove(offset, offset + length)
        self._parts[offset] = bytearray(data) if length < KEPT_BYTES_MIN else memoryview(data)
        self.size_bytes += length

    def _grows(self, index: int, part: Buffer, length: int) -> bool:
        if type(part) is not bytearray or len(part) + length > _GATHER_BYTES:
            return False
        if index + 1 == len(self._parts):
            return True
        return bool(self._parts.peekitem(index)[0] + len(part) + length <= self._parts.peekitem(index + 1)[0])

    def remove(self, start: int, stop: int) -> None:
        """Forget start … stop-1."""
        index = max(self._parts.bisect_right(start) - 1, 0)
        while index < len(self._parts):
            at, part = self._parts.peekitem(index)
            end = at + len(part)
            if at >= stop:
                return
            if end <= start:
                index += 1
                continue
            del self._parts[at]
            self.size_bytes -= len(part)
            view = memoryview(part)
            if at < start:
                self._keep(at, view[: start - at])
                index += 1
            if end > stop:
                self._keep(stop, view[stop - at :])

    def _keep(self, at: int, view: memoryview) -> None:
        self._parts[at] = view
        self.size_bytes += len(view)

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, memoryview]]:
        """(offset, bytes) of what was written within start … stop-1."""
        index = max(self._parts.bisect_right(start) - 1, 0)
        for at in self._parts.islice(index):
            if at >= stop:
                return
            part = self._parts[at]
            if at + len(part) > start:
                low, high = max(at, start), min(at + len(part), stop)
                yield low, memoryview(part)[low - at : high - at]

    def runs(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of maximal contiguous ranges."""
        begin = end = -1
        for at, part in self._parts.items():
            if at != end:
                if end > begin:
                    yield begin, end
                begin = at
            end = at + len(part)
        if end > begin:
            yield begin, end

    def long_runs(self, length_bytes: int) -> list[tuple[int, int]]:
        """The runs of at least that length; none without a look if not much was written since the last one."""
        if self._looked_at_bytes <= self.size_bytes < max(length_bytes, self._looked_at_bytes + _LOOK_BYTES):
            return []
        self._looked_at_bytes = self.size_bytes
        return [(start, stop) for start, stop in self.runs() if stop - start >= length_bytes]

    def portions(self, count: int) -> list[tuple[int, int]]:
        """(start, stop) of stretches that cover everything, each with at most count ranges as they were written."""
        starts = list(self._parts)[::count]
        return list(itertools.pairwise([*starts, self.end])) if starts else []

    def take(self, start: int, stop: int) -> list[tuple[int, memoryview]]:
        """Remove start … stop-1 and hand its parts over."""
        taken = list(self.parts(start, stop))
        self.remove(start, stop)
        return taken


def _extend(part: Buffer, data: Buffer) -> bool:
    """Append data to a gathering buffer; False while somebody reads it (a bytearray with exports cannot grow)."""
    assert isinstance(part, bytearray)
    try:
        part += data
    except BufferError:
        return False
    return True


@dataclass(slots=True)
class Times:
    """Times that were set here and not committed yet, in ns; -1: not set."""

    atime_ns: int = -1
    mtime_ns: int = -1
    ctime_ns: int = -1

    def __bool__(self) -> bool:
        return self.atime_ns >= 0 or self.mtime_ns >= 0 or self.ctime_ns >= 0

    def over(self, earlier: "Times") -> "Times":
        """These, and where one is not set, the earlier one."""
        return Times(
            self.atime_ns if self.atime_ns >= 0 else earlier.atime_ns,
            self.mtime_ns if self.mtime_ns >= 0 else earlier.mtime_ns,
            self.ctime_ns if self.ctime_ns >= 0 else earlier.ctime_ns,
        )

    def clear(self) -> None:
        """None is set."""
        self.atime_ns = self.mtime_ns = self.ctime_ns = -1


@dataclass(slots=True)
class Flight:
    """Bytes of one file between being taken from live and being committed."""

    parts: list[tuple[int, memoryview]]
    size_bytes: int
    #: Class of service of the objects that its bytes go into.
    stored_class: str = ""
    #: Times that travel with it.
    times: Times = field(default_factory=Times)
    #: Objects that its bytes are in and that are not durable yet.
    packs_left: int = 0
    #: Filled once all bytes are durable (or inline): what the commit says.
    extents: list[Extent] = field(default_factory=list)
    objects: list[NewObject] = field(default_factory=list)
    #: True once its turn to be committed (or dropped) may come.
    ready: bool = False
    #: How often a commit of it was refused because its objects might be deleted.
    refused_count: int = 0
    #: Why the bytes did not get through: they are dropped when its turn comes, and the error is sticky.
    failure: Refused | None = None

    @property
    def body_bytes(self) -> int:
        """About what it adds to a commit's body."""
        return 100 + 48 * (len(self.extents) + len(self.objects)) + self.inline_bytes

    @property
    def inline_bytes(self) -> int:
        """How many of its bytes travel in the commit."""
        return sum(extent.length for extent in self.extents if extent.object_offset == INLINE)

    @property
    def end(self) -> int:
        """End of its last byte in the file."""
        return max((at + len(part) for at, part in self.parts), default=0)


class DirtyFile:
    """Everything of one file that is not committed."""

    __slots__ = ("flights", "live")

    def __init__(self) -> None:
        self.live = IntervalBuffer()
        #: Oldest first; only the ready ones at the front may be committed.
        self.flights: deque[Flight] = deque()

    def __bool__(self) -> bool:
        return self.live.size_bytes > 0 or bool(self.flights)

    @property
    def end(self) -> int:
        """End of the last uncommitted byte, or 0."""
        return max([self.live.end, *(flight.end for flight in self.flights)])

    @property
    def size_bytes(self) -> int:
        """How many bytes are not committed; what was written again meanwhile counts twice."""
        return self.live.size_bytes + sum(flight.size_bytes for flight in self.flights)

    def is_stretch_from(self, edge: int) -> bool:
        """Whether it is one range without gaps, which begins at edge or before, all of it in one flight or in none."""
        if not self.flights:
            ranges = list(self.live.runs())
        elif len(self.flights) == 1 and not self.live and self.flights[0].failure is None:
            ranges = [(at, at + len(part)) for at, part in self.flights[0].parts]
        else:
            return False
        return bool(ranges) and ranges[0][0] <= edge and all(one[1] == next_one[0] for one, next_one in itertools.pairwise(ranges))

    def overlay(self, start: int, stop: int) -> Iterator[tuple[int, memoryview]]:
        """(offset, bytes) within start … stop-1, oldest first: later ones win."""
        for flight in self.flights:
            if flight.failure is not None:
                continue
            for at, part in flight.parts:
                if at < stop and at + len(part) > start:
                    low, high = max(at, start), min(at + len(part), stop)
                    yield low, part[low - at : high - at]
        yield from self.live.parts(start, stop)

    def take(self, start: int, stop: int) -> Flight:
        """Start a flight with the live bytes of start … stop-1."""
        parts = self.live.take(start, stop)
        flight = Flight(parts, sum(len(part) for _, part in parts))
        self.flights.append(flight)
        return flight

    def ready_flights(self) -> list[Flight]:
        """The flights at the front whose turn it is to be committed, or dropped if they failed."""
        return list(itertools.takewhile(lambda flight: flight.ready, self.flights))
