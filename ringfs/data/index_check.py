"""Counting an index that a start took on trust: little by little, on a view that does not change, while the node serves.

Sums find rows that are damaged; only counting finds rows that are missing.
"""

import structlog
import trio

from ringfs.base.kv.store import Snapshot
from ringfs.data.index import Count, IndexDamaged, SegmentUse

log = structlog.get_logger("ringfs.data")

#: Rows counted at once, under 1 ms, and the pause after that: a million takes about 20 s and a tenth of the event loop.
_ROWS = 512
_PAUSE_S = 0.01


class IndexCheck:
    """Of the rows of a snapshot, whose figures were these. close() may come at any time after run() has ended."""

    def __init__(self, snapshot: Snapshot, figures: dict[int, SegmentUse]) -> None:
        self._snapshot: Snapshot | None = snapshot
        self._figures = figures

    async def run(self) -> None:
        """Raises IndexDamaged if the figures are not what the rows add up to."""
        assert self._snapshot is not None, "it runs once"
        count = Count(self._snapshot, self._figures)
        while count.step(_ROWS):  # noqa: ASYNC110 -- a pause between pieces of work, not a wait for others
            await trio.sleep(_PAUSE_S)
        if not count.agrees:
            raise IndexDamaged("its figures do not add up")
        log.debug("the index adds up")
        self.close()

    def close(self) -> None:
        """Let go of the snapshot."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
