"""Tasks that take turns with requests, and take their first step at once, inside the loop that read the request.

Most requests are answered without waiting for anything. For those a new task, or a turn of the scheduler, would cost more than
the answer. But a coroutine cannot be tried outside a task: as soon as it does wait, trio has noted whose turn comes
(current_task), and cancel scopes hang on that task. So idle tasks are kept, each in the middle of waiting for its next request,
and the loop hands a request over by resuming one directly, as trio's own run loop does it: the task is current while it runs,
and what it yields is treated as that loop treats it. If it was answered, the task is idle again; if it waits, it is an ordinary
task that waits. This leans on a few names inside trio, which has no public way to do it; where one is missing, the task is
scheduled in the public way, which is right too, and slower.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import outcome
import trio

_T = TypeVar("_T")

try:
    from trio._core._run import GLOBAL_RUN_CONTEXT as _context
    from trio._core._traps import CancelShieldedCheckpoint, WaitTaskRescheduled

    _steps_at_once = all(
        hasattr(trio.lowlevel.Task, name) for name in ("_attempt_delivery_of_any_pending_cancel", "_abort_func", "_cancel_points")
    )
except ImportError:  # pragma: no cover - another trio
    _steps_at_once = False


class Workers(Generic[_T]):
    """Up to count_max requests at once are with serve(request), which raises nothing."""

    def __init__(self, serve: Callable[[_T], Awaitable[None]], count_max: int, *, steps_at_once: bool = _steps_at_once) -> None:
        self._serve = serve
        self._count_max = count_max
        self._steps_at_once = steps_at_once
        self._idle: list[trio.lowlevel.Task] = []
        self._count = 0
        self._nursery: trio.Nursery | None = None
        #: Who waits for a worker to be idle.
        self._free = trio.lowlevel.ParkingLot()

    @property
    def busy_count(self) -> int:
        """Requests that are not answered yet."""
        return self._count - len(self._idle)

    def open(self, nursery: trio.Nursery) -> None:
        """The workers live in that nursery: cancel it to end them."""
        self._nursery = nursery

    async def wait_idle(self) -> None:
        """Return when hand may be called."""
        while not self._idle:
            if self._count < self._count_max:
                self._count += 1
                assert self._nursery is not None
                self._nursery.start_soon(self._work)
            await self._free.park()

    @property
    def has_idle(self) -> bool:
        """Whether hand may be called."""
        return bool(self._idle)

    def hand(self, request: _T) -> None:
        """Give a request to an idle worker, which begins at once, and may have finished when this returns."""
        task = self._idle.pop()
        if self._steps_at_once:
            _step(task, outcome.Value(request))
        else:
            trio.lowlevel.reschedule(task, outcome.Value(request))

    async def _work(self) -> None:
        task = trio.lowlevel.current_task()

        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            while True:
                self._idle.append(task)
                if self._free:
                    self._free.unpark()
                await self._serve(await trio.lowlevel.wait_task_rescheduled(abort))
        finally:
            self._count -= 1


def _step(task: Any, value: outcome.Outcome[Any]) -> None:
    """Resume a waiting task now, from within another one: what trio's run loop does with a task whose turn it is."""
    caller = _context.task
    task._abort_func = None
    task.custom_sleep_data = None
    _context.task = task
    ended: outcome.Outcome[Any] | None = None
    message: Any = None
    try:
        message = task.context.run(task.coro.send, value)
    except StopIteration as stop:
        ended = outcome.Value(stop.value)
    except BaseException as error:
        ended = outcome.Error(error)
    finally:
        _context.task = caller
    if ended is not None:
        _context.runner.task_exited(task, ended)
    elif message is CancelShieldedCheckpoint:
        trio.lowlevel.reschedule(task)
    elif type(message) is WaitTaskRescheduled:
        task._cancel_points += 1
        task._abort_func = message.abort_func
        task._attempt_delivery_of_any_pending_cancel()
    else:
        raise TypeError(f"a worker yielded {message!r}")
