"""A cache bounded by bytes: the least recently used entries go first. Pure."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Keeps at most bytes_max of entries (one larger than that is not kept)."""

    __slots__ = ("_entries", "bytes_max", "size_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        #: Sum of the sizes given with the entries; never above bytes_max.
        self.size_bytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """The value of key, which becomes the most recently used, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep value, and let go of the oldest until everything fits."""
        self.drop(key)
        self._entries[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self.bytes_max:
            _, (_, size) = self._entries.popitem(last=False)
            self.size_bytes -= size

    def demote(self, key: K) -> None:
        """Make a key that is there the first to go."""
        self._entries.move_to_end(key, last=False)

    def drop(self, key: K) -> None:
        """Let go of key; no error if it is absent."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size_bytes -= entry[1]
