"""Several ways to the same bytes: the next one is begun when those before it have failed, or are late. The first to arrive wins.

What is begun because another one is late costs somebody work that may be for nothing: a budget bounds it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from ringfs.base.errors import kept

#: So much later a read is very late, and something is wrong with the node: then no budget is asked.
_VERY_LATE_TIMES = 2
_VERY_LATE_S_MIN = 0.7
#: What may be asked for a second time, for each read that is asked for the first time; and how much of it may be saved up.
_SHARE = 0.1
_SAVED_MAX = 128.0
T = TypeVar("T")


class Failed(Exception):
    """A way that does not lead there, and why; whether because something is not, or no longer, where it was looked for."""

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.is_missing = is_missing


def together(failures: Sequence[Failed]) -> Failed:
    """All of them in one."""
    reason = "; ".join(map(str, failures)) or "nobody is known to have it"
    return Failed(reason, is_missing=any(failed.is_missing for failed in failures))


@dataclass(frozen=True, slots=True)
class Way(Generic[T]):
    """`go` raises Failed. After late_s it is late; `blame` is then called if another one wins. `cost`: reads that it takes."""

    go: Callable[[], Awaitable[T]]
    late_s: float
    cost: int = 1
    blame: Callable[[], None] = lambda: None


def very_late_s(late_s: float) -> float:
    """When what is late after late_s is very late."""
    return max(_VERY_LATE_S_MIN, _VERY_LATE_TIMES * late_s)


class Budget:
    """How much may be read twice."""

    def __init__(self) -> None:
        self._saved = _SAVED_MAX

    def earn(self) -> None:
        """Something was read."""
        if self._saved < _SAVED_MAX:
            self._saved += _SHARE

    def take(self, cost: int) -> bool:
        """Whether so many reads may be made because of one that is late; they are taken off."""
        if self._saved < cost:
            return False
        self._saved -= cost
        return True


class Race(Generic[T]):
    """One race."""

    def __init__(self, ways: Sequence[Way[T]], budget: Budget) -> None:
        self._ways = list(ways)
        self._budget = budget
        #: Those that were begun and have not ended, with the time of that.
        self._running: dict[int, float] = {}
        self._begun = 0
        self._failures: list[Failed] = []
        self._won: T | None = None
        self._news = trio.Event()

    async def run(self) -> T:
        """What arrives first. Raises Failed if nothing does."""
        async with trio.open_nursery() as nursery:
            while self._won is None and (self._running or self._begun < len(self._ways)):
                if not self._running or self._may_add():
                    self._begin(nursery)
                with trio.CancelScope(deadline=self._next_look_s()):
                    await self._news.wait()
                self._news = trio.Event() if self._news.is_set() else self._news
            nursery.cancel_scope.cancel()
        if self._won is None:
            raise together(self._failures)
        now_s = trio.current_time()
        for index, begun_s in self._running.items():
            if begun_s + self._ways[index].late_s <= now_s:
                self._ways[index].blame()
        return self._won

    def _may_add(self) -> bool:
        """Whether all that were begun are late, there is another way, and it may cost what it does."""
        now_s = trio.current_time()
        # Sums, as in _next_look_s: a difference may be a hair less than what was waited for.
        running = [(begun_s, self._ways[index].late_s) for index, begun_s in self._running.items()]
        if self._begun == len(self._ways) or any(begun_s + late_s > now_s for begun_s, late_s in running):
            return False
        return all(begun_s + very_late_s(late_s) <= now_s for begun_s, late_s in running) or self._budget.take(
            self._ways[self._begun].cost
        )

    def _next_look_s(self) -> float:
        """When one will be late, or very late; never, if nothing can be added."""
        if self._begun == len(self._ways):
            return float("inf")
        late = [(begun_s, self._ways[index].late_s) for index, begun_s in self._running.items()]
        times = [begun_s + after_s for begun_s, late_s in late for after_s in (late_s, very_late_s(late_s))]
        return min((time_s for time_s in times if time_s > trio.current_time()), default=float("inf"))

    def _begin(self, nursery: trio.Nursery) -> None:
        index, self._begun = self._begun, self._begun + 1
        self._running[index] = trio.current_time()
        nursery.start_soon(self._go, index)

    async def _go(self, index: int) -> None:
        try:
            content = await self._ways[index].go()
        except Failed as failed:
            self._failures.append(kept(failed))
        else:
            self._won = content if self._won is None else self._won
        del self._running[index]
        self._news.set()
