"""How long something has been taking lately: decides whether a call is short enough for the event loop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """A smoothed duration (each new one counts an eighth). May be noted from any one thread at a time."""

    __slots__ = ("_limit_ns", "_smoothed_ns")

    def __init__(self, limit_ns: int, *, begin_ns: int) -> None:
        self._limit_ns = limit_ns
        self._smoothed_ns = begin_ns

    @property
    def is_fast(self) -> bool:
        """Whether it has been taking less than the limit."""
        return self._smoothed_ns < self._limit_ns

    def note(self, duration_ns: int) -> None:
        """Take one more into account."""
        self._smoothed_ns += (duration_ns - self._smoothed_ns) // 8

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note how long the block takes, if it does not raise."""
        begun_ns = time.perf_counter_ns()
        yield
        self.note(time.perf_counter_ns() - begun_ns)
