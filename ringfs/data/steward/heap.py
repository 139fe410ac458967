"""What a steward has to do, most endangered first, bounded. Pure."""

import heapq
from typing import NamedTuple

#: Objects that wait at one time; a pass that finds more keeps the most endangered, and is followed by another.
ENTRIES_MAX = 64 * 1024


class Due(NamedTuple):
    """An object that something is to be done for. tolerance: how many more losses it survives, -1: it cannot be read at all just
    now; size_bytes: about how much is to be moved."""

    tolerance: int
    oid: bytes
    size_bytes: int


class DueObjects:
    """A queue in which each object is once, ordered by tolerance, then id."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._heap: list[Due] = []
        #: What each object's entry is; others of it in the heap are old.
        self._by_oid: dict[bytes, Due] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._by_oid)

    def endangered(self) -> int:
        """How many would not survive the next loss, or are lost already."""
        return sum(due.tolerance <= 0 for due in self._by_oid.values())

    def add(self, due: Due) -> None:
        """Add it, or say anew how endangered it is."""
        self.discard(due.oid)
        self._by_oid[due.oid] = due
        self.size_bytes += due.size_bytes
        heapq.heappush(self._heap, due)
        if len(self._by_oid) > self._entries_max:
            self._forget_least()

    def discard(self, oid: bytes) -> None:
        """There is nothing to be done for it any more."""
        old = self._by_oid.pop(oid, None)
        if old is not None:
            self.size_bytes -= old.size_bytes
        if len(self._heap) > 2 * len(self._by_oid) + 16:
            self._rebuild()

    def pop(self) -> Due | None:
        """The most endangered one, or None."""
        while self._heap:
            due = heapq.heappop(self._heap)
            if self._by_oid.get(due.oid) is due:
                self.discard(due.oid)
                return due
        return None

    def clear(self) -> None:
        """Forget all of it."""
        self._heap, self._by_oid, self.size_bytes = [], {}, 0

    def _forget_least(self) -> None:
        """Leave out the least endangered eighth: an eighth, so that it costs little for each."""
        for due in heapq.nlargest(max(1, self._entries_max // 8), self._by_oid.values()):
            self.discard(due.oid)

    def _rebuild(self) -> None:
        self._heap = list(self._by_oid.values())
        heapq.heapify(self._heap)
