"""A process that stands still does nothing, and finds afterwards what it missed."""

from functools import partial

import trio

from tests.support.stopped_processes import Processes, become


async def _tick(name: str, ticks: list[tuple[str, float]]) -> None:
    become(name)
    async with trio.open_nursery() as nursery:
        # What a process starts is of it.
        nursery.start_soon(_tick_forever, name, ticks)


async def _tick_forever(name: str, ticks: list[tuple[str, float]]) -> None:
    while True:
        await trio.sleep(1)
        ticks.append((name, trio.current_time()))


async def test_time_goes_on_without_it(autojump_clock: object) -> None:
    """Its timer is late; other processes notice nothing."""
    processes, begun_s = Processes(), trio.current_time()
    ticks: list[tuple[str, float]] = []
    async with trio.open_nursery() as nursery:
        for name in ("one", "two"):
            nursery.start_soon(_tick, name, ticks)
        await trio.sleep(1.5)
        processes.stop("one")
        await trio.sleep(4)
        processes.go_on("one")
        await trio.sleep(1.25)
        nursery.cancel_scope.cancel()

    def of(name: str) -> list[float]:
        return [at_s - begun_s for who, at_s in ticks if who == name]

    assert of("one") == [1.0, 5.5, 6.5]
    assert of("two") == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


async def test_what_came_in_is_there_when_it_goes_on(autojump_clock: object) -> None:
    """Nothing of it is lost, and its order stays."""
    processes = Processes()
    send, receive = trio.open_memory_channel[int](10)
    got: list[int] = []

    async def reader() -> None:
        become("reader")
        async for number in receive:
            got.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.sleep(1)
        processes.stop("reader")
        for number in range(5):
            await send.send(number)
            await trio.sleep(1)
        assert got == []
        processes.go_on("reader")
        await send.aclose()
    assert got == list(range(5))


async def test_a_wait_that_ended_meanwhile_is_noticed_late(autojump_clock: object) -> None:
    """As a deadline is by a process that did not run when it passed."""
    processes, begun_s = Processes(), trio.current_time()
    seen: list[tuple[bool, float]] = []

    async def waits() -> None:
        become("waits")
        with trio.move_on_after(1) as scope:
            await trio.sleep_forever()
        seen.append((scope.cancelled_caught, trio.current_time() - begun_s))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits)
        await trio.sleep(0.5)
        processes.stop("waits")
        nursery.start_soon(partial(trio.sleep, 2.5))
        await trio.sleep(2.5)
        processes.go_on("waits")
    assert seen == [(True, 3.0)]
