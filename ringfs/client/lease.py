"""The lease that a session's heartbeats renew: until when what was cached may be used, and when it is void. Only times."""

from collections.abc import Callable

import trio

from ringfs.base.clock import Clock
from ringfs.base.limits import LEASE_NS

#: How often is looked whether there is a lease again that can run out.
_WATCH_S = 0.25


class Lease:
    """See the module. on_void is called whenever nothing that was cached until then may be used any more."""

    def __init__(self, clock: Clock, on_void: Callable[[], None]) -> None:
        self._clock = clock
        self._on_void = on_void
        self._until_ns = 0
        #: Grows whenever all became void; what is leased is valid only in the epoch in which it was given.
        self.epoch = 1

    def holds(self, epoch: int) -> bool:
        """Whether what was leased in that epoch is valid now."""
        return epoch == self.epoch and self._clock.monotonic_ns() < self._until_ns

    def void(self) -> None:
        """Nothing that was cached until now may be used."""
        self.epoch += 1
        self._on_void()

    def begin(self, sent_ns: int) -> None:
        """A server let us in, when asked at sent_ns: it knows of nothing that was cached before."""
        self.void()
        self._until_ns = sent_ns + LEASE_NS

    def renew(self, sent_ns: int) -> None:
        """A heartbeat that was sent then is answered."""
        if self._clock.monotonic_ns() >= self._until_ns:
            # It ran out before it was renewed: the server may have gone on without asking us.
            self.void()
        self._until_ns = sent_ns + LEASE_NS

    def end(self) -> None:
        """The connection is lost."""
        self._until_ns = 0
        self.void()

    async def watch(self) -> None:
        """Void it when it runs out, not when somebody notices: what the kernel believes is to be taken back on time. For ever."""
        voided_ns = 0
        while True:
            left_ns = self._until_ns - self._clock.monotonic_ns()
            if left_ns <= 0 and self._until_ns not in (0, voided_ns):
                voided_ns = self._until_ns
                self.void()
            await trio.sleep(left_ns / 1e9 if left_ns > 0 else _WATCH_S)
