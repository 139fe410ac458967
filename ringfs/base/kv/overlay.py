"""Changes held apart over a view that stays as it is, until somebody takes them. For one transaction, or a few."""

from collections.abc import Iterator, Mapping

from ringfs.base.kv.view import ReadView, View


class Overlay:
    """A View over a base that is only read. Its changes are few: a scan sorts those in its range."""

    __slots__ = ("_base", "_base_get", "_changes")

    def __init__(self, base: ReadView) -> None:
        self._base = base
        self._base_get = base.get
        #: What differs from the base; None stands for a deleted key.
        self._changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """See ReadView."""
        if key in self._changes:
            return self._changes[key]
        return self._base_get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """See View."""
        self._changes[key] = value

    def delete(self, key: bytes) -> None:
        """See View."""
        self._changes[key] = None

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """See View."""
        self._changes.update(changes)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See ReadView."""
        changed = sorted(key for key in self._changes if start <= key < stop)
        if not changed:
            return self._base.scan(start, stop)
        return self._merged(changed, self._base.scan(start, stop))

    def _merged(self, changed: list[bytes], base: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Both in order; where both have a key, the change counts."""
        pair = next(base, None)
        for key in changed:
            while pair is not None and pair[0] < key:
                yield pair
                pair = next(base, None)
            if pair is not None and pair[0] == key:
                pair = next(base, None)
            value = self._changes[key]
            if value is not None:
                yield key, value
        if pair is not None:
            yield pair
            yield from base

    def changes(self) -> dict[bytes, bytes | None]:
        """What differs from the base, by key; None for a deleted one. The overlay's own dictionary, not a copy."""
        return self._changes

    def drop(self) -> None:
        """Forget all changes."""
        self._changes = {}

    def apply_to(self, view: View) -> None:
        """Write the changes to a view (as a rule the base), and forget them."""
        view.apply(self._changes)
        self._changes = {}
