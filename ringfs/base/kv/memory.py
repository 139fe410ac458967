"""A view in memory: for tests, models and whatever need not survive. Not the durable store, see store.py."""

from collections.abc import Iterator, Mapping

from sortedcontainers import SortedDict


class MemoryView:
    """A View over a sorted dictionary."""

    __slots__ = ("_pairs", "get")

    def __init__(self, pairs: Mapping[bytes, bytes] | None = None) -> None:
        self._pairs: SortedDict = SortedDict(pairs or {})
        #: The dictionary's own method: a read costs one call.
        self.get = self._pairs.get

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See ReadView."""
        pairs = self._pairs
        for key in pairs.irange(start, stop, inclusive=(True, False)):
            yield key, pairs[key]

    def put(self, key: bytes, value: bytes) -> None:
        """See View."""
        self._pairs[key] = value

    def delete(self, key: bytes) -> None:
        """See View."""
        self._pairs.pop(key, None)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """See View."""
        pairs = self._pairs
        for key, value in changes.items():
            if value is None:
                pairs.pop(key, None)
            else:
                pairs[key] = value

    def copy(self) -> "MemoryView":
        """Another view of the same pairs, independent from now on."""
        return MemoryView(self._pairs)

    def pairs(self) -> dict[bytes, bytes]:
        """All pairs, in order of key."""
        return dict(self._pairs.items())
