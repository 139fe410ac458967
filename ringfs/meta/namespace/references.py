"""What points to objects: gathered while a transaction splices extents, to be settled once at its end (condemned.py).

An object whose references go to nothing and come back within one transaction never was dead.
"""

from typing import Any

from ringfs.base.kv.overlay import Overlay
from ringfs.meta.namespace import keys
from ringfs.wire.packing import unpack


class References:
    """Changes of the bytes that chunks point to, by object and chunk."""

    __slots__ = ("_objects", "_rows", "deltas")

    def __init__(self, rows: Overlay) -> None:
        self._rows = rows
        #: Object rows as they were before the transaction: size, live bytes, class, form; None: not live.
        self._objects: dict[bytes, list[Any] | None] = {}
        #: By object id and chunk suffix: bytes pointed to, more (or fewer) than before the transaction.
        self.deltas: dict[bytes, dict[bytes, int]] = {}

    def live_object(self, oid: bytes) -> list[Any] | None:
        """[size, live bytes, class, form] of an object before this transaction, or None if it was not live."""
        if oid in self._objects:
            return self._objects[oid]
        value = self._rows.get(keys.object_row(oid))
        row = self._objects[oid] = None if value is None else unpack(value)
        return row

    def point(self, oid: bytes, chunk_suffix: bytes, delta_bytes: int) -> None:
        """The chunk points to so many bytes of the object more than before."""
        chunks = self.deltas.get(oid)
        if chunks is None:
            self.deltas[oid] = {chunk_suffix: delta_bytes}
        else:
            chunks[chunk_suffix] = chunks.get(chunk_suffix, 0) + delta_bytes
