"""Block tables that were proven against their ids, remembered so that a get of a few blocks reads only those."""

from collections import OrderedDict

from ringfs.base.limits import TABLES_CACHED_BYTES_MAX

#: What an entry takes besides its table: id, dictionary and object overhead.
_ENTRY_BYTES = 200


class TableCache:
    """Least recently used ones are forgotten past a bound in bytes."""

    def __init__(self, bytes_max: int = TABLES_CACHED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._tables: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, oid: bytes) -> bytes | None:
        """The proven table of an object, if it is remembered."""
        table = self._tables.get(oid)
        if table is not None:
            self._tables.move_to_end(oid)
        return table

    def remember(self, oid: bytes, table: bytes) -> None:
        """A table was proven."""
        if oid not in self._tables:
            self._tables[oid] = table
            self._bytes += len(table) + _ENTRY_BYTES
            while self._bytes > self._bytes_max:
                _, forgotten = self._tables.popitem(last=False)
                self._bytes -= len(forgotten) + _ENTRY_BYTES
