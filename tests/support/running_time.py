"""A clock that stands still when the machine does: for what may not take long, be the machine as busy as it may."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TICK_S = 0.05


class RunningTime:
    """Counts the ticks that a thread came to make: none while the machine stands still, fewer while it is busy."""

    def __init__(self) -> None:
        self._ticks = 0
        self.is_over = threading.Event()

    def run(self) -> None:
        """In the thread."""
        while not self.is_over.is_set():
            time.sleep(_TICK_S)
            self._ticks += 1

    def now_s(self) -> float:
        """Seconds, in which the machine ran."""
        return self._ticks * _TICK_S


@contextmanager
def running_time() -> Iterator[RunningTime]:
    """One that runs."""
    clock = RunningTime()
    thread = threading.Thread(target=clock.run)
    thread.start()
    try:
        yield clock
    finally:
        clock.is_over.set()
        thread.join()
