"""The ordered key-value view that the namespace and the indexes are written against: the protocol, no storage."""

from collections.abc import Iterator, Mapping
from typing import Protocol


class ReadView(Protocol):
    """Keys and values are bytes; keys sort as bytes."""

    def get(self, key: bytes) -> bytes | None:
        """The value of key, or None."""
        ...

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop in ascending order. The view must not be changed while the iterator is used."""
        ...


class View(ReadView, Protocol):
    """A view that can be written."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set key to value."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove key; no error if it is absent."""
        ...

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put all these; None deletes. One call costs less than many."""
        ...
