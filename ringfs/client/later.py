"""A value that comes later, by a plain call: what a task waits for that asked for it. Lighter than an Event and a variable."""

from typing import Any, Generic, TypeVar

import outcome
import trio

_T = TypeVar("_T")


class Later(Generic[_T]):
    """One value, one waiter. `arrive` is called at most once, before wait or while it waits, from the same thread."""

    __slots__ = ("_arrived", "_task", "_value")

    def __init__(self) -> None:
        self._arrived = False
        self._value: _T
        self._task: trio.lowlevel.Task | None = None

    def arrive(self, value: _T) -> None:
        """It is there. Nobody may wait for it any more: then it is dropped."""
        self._value, self._arrived = value, True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task, outcome.Value(None))

    async def wait(self) -> _T:
        """The value; without a checkpoint if it is there already."""
        if not self._arrived:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        return self._value

    def _abort(self, _raise_cancel: Any) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
