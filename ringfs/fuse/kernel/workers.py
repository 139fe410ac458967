"""Tasks that take turns with requests, which are begun at once, inside the loop that read them.

Most requests are answered without waiting for anything. For those a new task, or a turn of the scheduler, would cost more than
the answer. But a coroutine cannot be tried outside a task: as soon as it does wait, trio has noted whose turn comes
(current_task), and cancel scopes hang on that task. So idle tasks are kept, each in the middle of waiting for its next request,
and the loop runs what serves a request in the name of one of them: it is the current task meanwhile. If that was answered, the
task never knows. If it waits, the task is resumed as trio's own run loop does it, yields what was yielded in its name, and goes on
with the rest: an ordinary task that waits. This leans on a few names inside trio, which has no public way to do it; where one is
missing, the task is scheduled in the public way, which is right too, and slower.
"""

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, Generic, TypeVar

import outcome
import trio

_T = TypeVar("_T")
#: What serves a request.
_Serving = Coroutine[Any, Any, None]

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

    def __init__(self, serve: Callable[[_T], _Serving], count_max: int, *, steps_at_once: bool = _steps_at_once) -> None:
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
        idle = self._idle
        task = idle.pop()
        serving = self._serve(request)
        if not self._steps_at_once:
            trio.lowlevel.reschedule(task, outcome.Value((serving, None)))
            return
        try:
            message = _begin(task, serving)
        except BaseException as error:
            _step(task, outcome.Error(error))
            return
        if message is None:
            idle.append(task)
            task._attempt_delivery_of_any_pending_cancel()
        else:
            _step(task, outcome.Value((serving, message)))

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
                serving, message = await trio.lowlevel.wait_task_rescheduled(abort)
                await (serving if message is None else _go_on(serving, message))
        finally:
            self._count -= 1


def _begin(task: Any, serving: _Serving) -> Any:
    """Run it in the name of a task that waits: what it yields where it waits, for the task to yield; or None: it is finished."""
    caller, abort = _context.task, task._abort_func
    # The task does not wait meanwhile: a cancellation comes to it where it waits next.
    task._abort_func = None
    _context.task = task
    try:
        message = task.context.run(serving.send, None)
    except StopIteration:
        task._abort_func = abort
        return None
    finally:
        _context.task = caller
    return message


@coroutine
def _go_on(serving: _Serving, message: Any) -> Generator[Any, Any, None]:
    """The rest of what has yielded that."""
    while True:
        try:
            value = yield message
        except BaseException as error:
            step: Callable[[], Any] = partial(serving.throw, error)
        else:
            step = partial(serving.send, value)
        try:
            message = step()
        except StopIteration:
            return


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
