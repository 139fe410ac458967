"""Handing the interpreter to a thread in slices.

LMDB's binding lets go of the interpreter lock around every single put. Beside an event loop that never rests, the thread
then waits up to sys.getswitchinterval() (5 ms) to get it back, for each key: measured, 20,000 puts take 20 s instead of 20 ms.
So the loop gives the thread turns: it blocks, briefly and with a bound, while the thread works through a slice undisturbed.
"""

import threading


class Turns:
    """Between one event loop, which gives turns, and one thread, which takes them."""

    def __init__(self) -> None:
        #: The thread needs no more turns. Set by the thread only.
        self.finished = False
        # The thread need not wait for turns any more. Set by the loop only.
        self._released = False
        # A turn was given and has not come back. Only the loop looks at it.
        self._given = False
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)

    def give(self, timeout_s: float) -> None:
        """Let the thread have a turn and wait for its end, but no longer than timeout_s; then the turn goes on beside the loop."""
        if not self._given:
            self._given = True
            self._go.release()
        if self._back.acquire(timeout=timeout_s):
            self._given = False

    def release(self) -> None:
        """Let the thread run on by itself: the loop gives no more turns."""
        self._released = True
        self._go.release()

    def wait(self) -> None:
        """In the thread: wait for the first turn."""
        self._go.acquire()

    def pause(self) -> None:
        """In the thread: end this turn and wait for the next."""
        if not self._released:
            self._back.release()
            self._go.acquire()

    def finish(self) -> None:
        """In the thread: end the last turn."""
        self.finished = True
        self._back.release()
