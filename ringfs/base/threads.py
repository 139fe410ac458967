"""Work in threads for those who do little else: half of what trio.to_thread costs, since nothing of trio is to be had in them."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack

import outcome
import trio

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
#: Is told in the event loop what a call gave or raised. What it raises itself ends the loop.
OnResult = Callable[[outcome.Outcome[Any]], None]


class Threads:
    """At most `count` calls at once; first come, first served. All methods belong to the event loop's thread."""

    __slots__ = ("_count", "_free", "_idle_lot", "_waiting")

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = count
        #: Calls that have not begun.
        self._waiting: deque[tuple[Callable[[], Any], OnResult]] = deque()
        self._idle_lot = trio.lowlevel.ParkingLot()

    @property
    def waiting_count(self) -> int:
        """Calls that have not begun."""
        return len(self._waiting)

    @property
    def has_free(self) -> bool:
        """Whether a call would begin at once."""
        return self._free > 0

    def start(self, call: Callable[[], Any], on_result: OnResult) -> None:
        """Begin the call as soon as may be. It is never cancelled, and nobody waits for it but wait_idle()."""
        if self._free:
            self._free -= 1
            self._begin(call, on_result)
        else:
            self._waiting.append((call, on_result))

    async def run(self, call: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
        """What call gives, or raises. Cancelled only before it begins: a call that has begun is waited for."""
        job = partial(call, *arguments), partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        self.start(*job)

        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            if job not in self._waiting:
                return trio.lowlevel.Abort.FAILED
            self._waiting.remove(job)
            return trio.lowlevel.Abort.SUCCEEDED

        result: Result = await trio.lowlevel.wait_task_rescheduled(abort)
        return result

    async def wait_idle(self) -> None:
        """Until all calls have ended and their results were told."""
        while self._free < self._count:
            await self._idle_lot.park()

    def _begin(self, call: Callable[[], Any], on_result: OnResult) -> None:
        token = trio.lowlevel.current_trio_token()

        def deliver(result: outcome.Outcome[Any]) -> None:
            token.run_sync_soon(self._ended, on_result, result)

        trio.lowlevel.start_thread_soon(call, deliver)

    def _ended(self, on_result: OnResult, result: outcome.Outcome[Any]) -> None:
        if self._waiting:
            self._begin(*self._waiting.popleft())
        else:
            self._free += 1
            if self._free == self._count:
                self._idle_lot.unpark_all()
        on_result(result)
