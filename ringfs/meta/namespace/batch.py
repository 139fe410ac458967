"""Several transactions, one right after the other, whose changes reach the view together: what all of them change is written once.

After each transaction the batch, as a view, holds what the view would, but for the sums of usage rows: these are brought up to date
before anybody reads them (usage.py), and at the end. No await may come between begin and end.
"""

from collections.abc import Iterator

from ringfs.base.kv.overlay import Overlay
from ringfs.base.kv.view import View


class Batch(Overlay):
    """See the module. To be ended with usage.end_batch."""

    __slots__ = ("_view", "deltas")

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._view = view
        #: Directory → bytes and files that its usage row, and those above it, do not say yet (usage.Deltas).
        self.deltas: dict[int, list[int]] = {}

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See ReadView. To look through all changes each time would cost more than to write them."""
        self.write()
        return self._view.scan(start, stop)

    def write(self) -> None:
        """Write the changes so far."""
        self.apply_to(self._view)
