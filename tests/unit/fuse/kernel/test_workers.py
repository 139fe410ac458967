"""Tasks that are stepped from within the loop: answered at once, or ordinary tasks that wait, with cancel scopes of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from ringfs.fuse.kernel.workers import Workers

BOTH = pytest.mark.parametrize("steps_at_once", [True, False])


class Served:
    """What became of requests: a request is a list of what to do, and done notes what was finished."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.tasks: set[trio.lowlevel.Task] = set()
        self.events = {"a": trio.Event(), "b": trio.Event()}

    async def serve(self, request: str) -> None:
        """A word: at once. a, b: after that event. slow: never, but for a deadline."""
        self.tasks.add(trio.lowlevel.current_task())
        if request in self.events:
            await self.events[request].wait()
        elif request == "checkpoint":
            await trio.lowlevel.checkpoint()
        elif request == "slow":
            with trio.move_on_after(5):
                await trio.sleep_forever()
        self.done.append(request)


@asynccontextmanager
async def working(served: Served, count_max: int = 8, *, steps_at_once: bool = True) -> AsyncIterator[Workers[str]]:
    """Workers, ended afterwards."""
    async with trio.open_nursery() as nursery:
        workers: Workers[str] = Workers(served.serve, count_max, steps_at_once=steps_at_once)
        workers.open(nursery)
        yield workers
        nursery.cancel_scope.cancel()


async def test_answered_before_hand_returns() -> None:
    """What needs no waiting is done in a task of its own, and that one takes the next request too."""
    served = Served()
    async with working(served) as workers:
        me = trio.lowlevel.current_task()
        for number in range(100):
            await workers.wait_idle()
            workers.hand(str(number))
            assert served.done[-1] == str(number)
            assert trio.lowlevel.current_task() is me
        assert len(served.tasks) == 1
        assert me not in served.tasks


@BOTH
async def test_what_waits_is_an_ordinary_task(steps_at_once: bool, autojump_clock: trio.testing.MockClock) -> None:
    """Events, checkpoints and deadlines work in it, others are answered meanwhile, and each goes on by itself."""
    served = Served()
    async with working(served, steps_at_once=steps_at_once) as workers:
        for request in ("a", "slow", "b", "checkpoint", "now"):
            await workers.wait_idle()
            workers.hand(request)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(served.done) == ["checkpoint", "now"]
        served.events["b"].set()
        await trio.testing.wait_all_tasks_blocked()
        assert served.done[-1] == "b"
        served.events["a"].set()
        await trio.sleep(6)
        assert sorted(served.done) == ["a", "b", "checkpoint", "now", "slow"]
        assert workers.busy_count == 0


@BOTH
async def test_no_more_at_once_than_the_bound(steps_at_once: bool) -> None:
    """wait_idle waits while all are busy, and goes on when one is not."""
    served = Served()
    async with working(served, 2, steps_at_once=steps_at_once) as workers:
        for request in ("a", "b"):
            await workers.wait_idle()
            workers.hand(request)
        assert not workers.has_idle
        with trio.move_on_after(0.01) as scope:
            await workers.wait_idle()
        assert scope.cancelled_caught
        served.events["a"].set()
        await workers.wait_idle()
        workers.hand("now")
        await trio.testing.wait_all_tasks_blocked()
        assert served.done == ["a", "now"]


@BOTH
async def test_cancelled_while_waiting(steps_at_once: bool) -> None:
    """The end of the nursery ends idle workers and those that wait."""
    served = Served()
    with trio.fail_after(120):
        async with working(served, steps_at_once=steps_at_once) as workers:
            for request in ("a", "now", "b"):
                await workers.wait_idle()
                workers.hand(request)
    assert served.done in (["now"], [])


async def test_a_bug_in_serving_ends_the_nursery() -> None:
    """It is not raised into the loop that handed the request over, and not lost."""

    async def serve(_request: str) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery:
            workers: Workers[str] = Workers(serve, 2, steps_at_once=True)
            workers.open(nursery)
            await workers.wait_idle()
            workers.hand("x")
            await trio.sleep_forever()


async def test_the_task_never_knows_of_what_was_answered_at_once() -> None:
    """It stays the idle task that it was, and waits for the next request where it waited."""
    served = Served()
    async with working(served) as workers:
        await workers.wait_idle()
        workers.hand("first")
        (task,) = served.tasks
        points = task._cancel_points
        workers.hand("second")
        assert workers.busy_count == 0
        assert task._cancel_points == points


@pytest.mark.parametrize("waits", [False, True])
async def test_cancelled_by_what_is_served(waits: bool) -> None:
    """The end comes from within: what needs no waiting is finished, then the worker ends; what waits ends there."""
    done: list[str] = []
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:

            async def serve(request: str) -> None:
                nursery.cancel_scope.cancel()
                done.append(request)
                if waits:
                    await trio.sleep_forever()

            workers: Workers[str] = Workers(serve, 1, steps_at_once=True)
            workers.open(nursery)
            await workers.wait_idle()
            workers.hand("x")
            await trio.sleep_forever()
    assert done == ["x"]
    assert workers.busy_count == 0


async def test_one_that_waits_is_cancelled_where_it_waits() -> None:
    """Its own deadlines and cleaning up work although it was begun in the loop."""
    done: list[str] = []

    async def serve(request: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            done.append(request)

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            workers: Workers[str] = Workers(serve, 1, steps_at_once=True)
            workers.open(nursery)
            await workers.wait_idle()
            workers.hand("x")
            assert done == []
            nursery.cancel_scope.cancel()
    assert done == ["x"]
