"""Notices that this process did not run for a while: others were not silent then, it was deaf."""

import structlog

from ringfs.meta.live import Live

#: How often somebody looks at least.
TICK_S = 0.5
#: A look that comes so much later than it should means that this process stood still.
STALL_NS = 2 * 10**9

log = structlog.get_logger("ringfs.meta")


class Standstill:
    """To be asked before anybody is blamed for silence, and before what has come in meanwhile counts as heard."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._looked_ns = 0
        self.begin()

    def begin(self) -> None:
        """From now on somebody looks."""
        self._looked_ns = self._live.clock.monotonic_ns()

    def look(self) -> None:
        """Give back to sessions and nodes the time in which they could not be heard."""
        now_ns = self._live.clock.monotonic_ns()
        late_ns = now_ns - self._looked_ns - int(TICK_S * 1e9)
        self._looked_ns = now_ns
        if late_ns > STALL_NS:
            log.warning("the server stood still", seconds=round(late_ns / 1e9, 1))
            self._live.sessions.stood_still(late_ns)
            self._live.nodes.stood_still(late_ns)
