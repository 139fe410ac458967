"""How long something has been taking lately: decides whether a call is short enough for the event loop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """A smoothed duration (each new one counts an eighth). May be noted from any one thread at a time."""

    __slots__ = ("smoothed_ns",)

    def __init__(self, begin_ns: int) -> None:
        #: What it has been taking.
        self.smoothed_ns = begin_ns

    def note(self, duration_ns: int) -> None:
        """Take one more into account."""
        self.smoothed_ns += (duration_ns - self.smoothed_ns) // 8

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note how long the block takes, if it does not raise."""
        begun_ns = time.perf_counter_ns()
        yield
        self.note(time.perf_counter_ns() - begun_ns)
