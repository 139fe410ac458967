"""Calls in threads: results, refusals, how many at once, and what a cancelled caller leaves."""

import threading

import outcome
import pytest
import trio
import trio.testing

from ringfs.base.threads import Threads


async def test_a_call_gives_its_result_or_raises() -> None:
    """In another thread."""
    threads = Threads(1)
    assert await threads.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    assert await threads.run(divmod, 7, 2) == (3, 1), "a call that raised has given its thread back"


@pytest.mark.parametrize("count", [1, 2])
async def test_no_more_at_once_than_allowed_and_in_order(count: int) -> None:
    """Those that wait begin as they came."""
    threads, gate = Threads(count), threading.Event()
    begun: list[int] = []

    def call(number: int) -> None:
        begun.append(number)
        assert gate.wait(120)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(threads.run, call, number)
            with trio.fail_after(120):
                while len(begun) + threads.waiting_count <= number:
                    await trio.lowlevel.checkpoint()
        assert (begun, threads.waiting_count) == (list(range(count)), 5 - count)
        gate.set()
    assert sorted(begun) == list(range(5))
    assert count > 1 or begun == list(range(5))


async def test_a_cancelled_caller() -> None:
    """What has begun is waited for; what has not never begins; no thread is lost by either."""
    threads, gate = Threads(1), threading.Event()
    begun: list[int] = []
    got: list[int] = []

    def call(number: int) -> int:
        begun.append(number)
        assert gate.wait(120)
        return number

    async def ask(scope: trio.CancelScope, number: int) -> None:
        with scope:
            got.append(await threads.run(call, number))

    scopes = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        for number, scope in enumerate(scopes):
            nursery.start_soon(ask, scope, number)
            await trio.testing.wait_all_tasks_blocked()
        for scope in scopes:
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not scopes[0].cancelled_caught
        assert scopes[1].cancelled_caught
        gate.set()
    assert (begun, got) == ([0], [0])
    assert await threads.run(call, 2) == 2


async def test_plain_calls() -> None:
    """Their results are told in the loop's thread; they share the threads with others; wait_idle() waits for the last one."""
    threads, gate = Threads(1), threading.Event()
    told: list[tuple[outcome.Outcome[object], int]] = []

    def tell(result: outcome.Outcome[object]) -> None:
        told.append((result, threading.get_ident()))

    assert threads.has_free
    threads.start(lambda: gate.wait(10), tell)
    threads.start(lambda: 7 // 0, tell)
    assert (threads.has_free, threads.waiting_count) == (False, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.wait_idle)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks, "two calls have not ended"
        gate.set()
        assert await threads.run(divmod, 7, 2) == (3, 1)
    assert threads.has_free
    first, second = told
    assert first == (outcome.Value(True), threading.get_ident())
    assert isinstance(second[0], outcome.Error)
    assert isinstance(second[0].error, ZeroDivisionError)
    with trio.fail_after(1):
        await threads.wait_idle()
