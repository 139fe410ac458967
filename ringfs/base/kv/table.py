"""Changes in memory: what was put and deleted since a checkpoint began. Pure; no LMDB, no I/O."""

from collections.abc import Iterator, Mapping

from sortedcontainers import SortedList

#: A change: the new value, or None for a deletion.
Change = bytes | None


class ChangeTable:
    """Keys with their newest change. Lookups go straight to `changes`; scans keep a sorted list of the keys."""

    #: What a change costs in memory beside its key and value (two bytes objects, a dictionary entry, a list entry).
    OVERHEAD_BYTES = 160
    # Keys that wait to be sorted: under a millisecond's worth.
    _FRESH_MAX = 512

    def __init__(self) -> None:
        #: The newest change of each key. Only read by others.
        self.changes: dict[bytes, Change] = {}
        #: Size of keys and values with what Python adds to them; exact for `changes` at any time.
        self.size_bytes = 0
        # The keys of `changes` are those in _sorted and in _fresh, each once. Sorting waits for a scan, but not until it
        # would be a pause that anybody notices: there are at most _FRESH_MAX fresh ones.
        self._sorted: SortedList = SortedList()
        self._fresh: list[bytes] = []

    def apply(self, changes: Mapping[bytes, Change]) -> None:
        """Take over changes; they win over older ones of the same keys."""
        table = self.changes
        for key, value in changes.items():
            size = len(value) if value is not None else 0
            if key in table:
                old = table[key]
                self.size_bytes += size - (len(old) if old is not None else 0)
            else:
                self._fresh.append(key)
                self.size_bytes += size + len(key) + self.OVERHEAD_BYTES
            table[key] = value
        if len(self._fresh) > self._FRESH_MAX:
            self._keys()

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, Change]]:
        """The changes with start <= key < stop, in order, deletions included."""
        table = self.changes
        return ((key, table[key]) for key in self._keys().irange(start, stop, inclusive=(True, False)))

    def touches(self, start: bytes, stop: bytes) -> bool:
        """Whether there is any change with start <= key < stop."""
        keys = self._keys()
        index = keys.bisect_left(start)
        return index < len(keys) and bool(keys[index] < stop)

    def in_order(self) -> Iterator[tuple[bytes, Change]]:
        """All changes in the order of their keys."""
        table = self.changes
        return ((key, table[key]) for key in self._keys())

    def _keys(self) -> SortedList:
        if self._fresh:
            self._sorted.update(self._fresh)
            self._fresh.clear()
        return self._sorted
