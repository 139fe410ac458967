"""Work in threads for tasks that do little else: half of what trio.to_thread costs, since nothing of trio is to be had in them."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar, TypeVarTuple, Unpack

import outcome
import trio

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class Threads:
    """At most `count` calls at once; first come, first served."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def waiting_count(self) -> int:
        """Tasks whose calls have not begun."""
        return len(self._waiting)

    async def run(self, call: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
        """What call gives, or raises. Cancelled only before it begins: a call that has begun is waited for."""
        if self._free:
            self._free -= 1
        else:
            await self._waiting.park()
        try:
            return await _called(partial(call, *arguments))
        finally:
            if self._waiting:
                self._waiting.unpark()
            else:
                self._free += 1


async def _called(call: Callable[[], Result]) -> Result:
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()

    def deliver(result: outcome.Outcome[Result]) -> None:
        token.run_sync_soon(trio.lowlevel.reschedule, task, result)

    trio.lowlevel.start_thread_soon(call, deliver)
    result: Result = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
    return result
