"""Processes in a simulation that stand still, as after SIGSTOP: no task of one runs, while time and all others go on.

A task carries the name of its process (`become`), and so do all that it starts. While a process stands still, what would wake a
task of it (bytes, a timer, a lock) puts it aside instead of into trio's queue; when the process goes on, all of them are ready at
once. So its timers are late, what came in is found then, and its own calls end when they should have ended long ago.

Emulated, not real: whatever woke a task first is what it sees, where a process that had been stopped would find both the bytes and
the end of the wait; and what a task had handed to another process (bytes in a link) arrives, as from a kernel's buffers.
"""

from collections import deque
from contextvars import ContextVar
from typing import Any

import trio

#: The process that a task belongs to.
_process: ContextVar[str] = ContextVar("process")


def become(name: str) -> None:
    """This task, and what it starts from now on, is of that process."""
    _process.set(name)


class _Queue(deque[Any]):
    """Trio's tasks that are ready, but for those of processes that stand still."""

    def __init__(self) -> None:
        super().__init__()
        #: Process → its tasks that would be ready.
        self.aside: dict[str, list[Any]] = {}

    def append(self, task: Any) -> None:
        """A task became ready."""
        waiting = self.aside.get(task.context.get(_process, "")) if self.aside else None
        if waiting is None:
            super().append(task)
        else:
            waiting.append(task)


class Processes:
    """Of the present trio.run, of which there must be no others."""

    def __init__(self) -> None:
        runner = trio._core._run.GLOBAL_RUN_CONTEXT.runner
        self._queue = _Queue()
        self._queue.extend(runner.runq)
        runner.runq = self._queue

    def stop(self, name: str) -> None:
        """The process stands still from now on; a task of it that was ready already may make a step more."""
        assert name not in self._queue.aside, f"{name} stands still already"
        self._queue.aside[name] = []

    def go_on(self, name: str) -> None:
        """It runs again, if it stood still."""
        for task in self._queue.aside.pop(name, ()):
            self._queue.append(task)
