"""Time as a seam: what reads a clock takes a Clock, so that tests and simulations bring their own."""

import time
from typing import Protocol

import trio


class Clock(Protocol):
    """Two clocks that are never mixed."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch; for timestamps that people and POSIX see. May jump."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some moment; for leases and timeouts. Never goes back; follows trio's clock."""
        ...


class SystemClock:
    """The machine's clocks; monotonic time is trio's, so that trio's virtual clock governs it in tests."""

    def wall_ns(self) -> int:
        """See Clock."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """See Clock."""
        return int(trio.current_time() * 1e9)
