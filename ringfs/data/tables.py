"""Tables of parts that were proven, remembered so that a get of a few blocks reads only those."""

from collections import OrderedDict

from ringfs.base.limits import TABLES_CACHED_BYTES_MAX
from ringfs.data.stored_part import Tables

#: What an entry takes besides its tables: key, dictionary and object overhead.
_ENTRY_BYTES = 300


class TableCache:
    """Least recently used ones are forgotten past a bound in bytes."""

    def __init__(self, bytes_max: int = TABLES_CACHED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._tables: OrderedDict[bytes, Tables] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> Tables | None:
        """The proven tables of a part, by its key in the index, if they are remembered."""
        tables = self._tables.get(key)
        if tables is not None:
            self._tables.move_to_end(key)
        return tables

    def remember(self, key: bytes, tables: Tables) -> None:
        """They were proven."""
        if key not in self._tables:
            self._tables[key] = tables
            self._bytes += _size_of(tables)
            while self._bytes > self._bytes_max:
                self._forget_oldest()

    def forget(self, key: bytes) -> None:
        """The part is put anew: its own table may be another one."""
        tables = self._tables.pop(key, None)
        if tables is not None:
            self._bytes -= _size_of(tables)

    def _forget_oldest(self) -> None:
        _, forgotten = self._tables.popitem(last=False)
        self._bytes -= _size_of(forgotten)


def _size_of(tables: Tables) -> int:
    return len(tables.table) + len(tables.own) + _ENTRY_BYTES
