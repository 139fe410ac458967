"""Later: a value reaches its waiter whether it comes first or last, and a waiter that was cancelled needs none."""

import pytest
import trio

from ringfs.client.later import Later


async def test_a_value_that_was_there_first() -> None:
    """It is taken without waiting."""
    later: Later[int] = Later()
    later.arrive(3)
    assert await later.wait() == 3


async def test_a_value_that_comes_while_it_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """The waiter goes on with it."""
    later: Later[str] = Later()
    async with trio.open_nursery() as nursery:

        async def give() -> None:
            await trio.sleep(1)
            later.arrive("here")

        nursery.start_soon(give)
        with trio.fail_after(2):
            assert await later.wait() == "here"


async def test_a_waiter_that_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is left of it when the value comes, and cancelling is not the value's business."""
    later: Later[int] = Later()
    with pytest.raises(trio.TooSlowError), trio.fail_after(1):
        await later.wait()
    later.arrive(1)
    assert await later.wait() == 1
