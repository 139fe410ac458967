"""What a watch's thread tells, and how it reaches who watches: all of it, in order, bounded, with the end at the end."""

import threading

import pytest
import trio

from ringfs.meta.etcd.interface import Change, EtcdUnavailable, KeyValue
from ringfs.meta.etcd.watching import Told


def change(number: int) -> Change:
    return Change(KeyValue(b"%d" % number, b"", number, number, 1, 0), False)


async def in_thread(told: Told, first: int, stop: int) -> bool:
    """Tell changes one by one; whether the last was still wanted."""

    def tell() -> bool:
        return [told.tell([change(number)]) for number in range(first, stop)][-1]

    return await trio.to_thread.run_sync(tell)


def numbers(changes: list[Change]) -> list[int]:
    return [each.pair.mod_revision for each in changes]


async def test_what_was_told_meanwhile_comes_together() -> None:
    """Nothing is left out, in order."""
    told = Told()
    await in_thread(told, 0, 5)
    assert numbers(await told.receive()) == [0, 1, 2, 3, 4]
    await in_thread(told, 5, 7)
    assert numbers(await told.receive()) == [5, 6]


async def test_who_waits_is_woken() -> None:
    """By a thread, as often as there is something."""
    told, received = Told(), list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, told, 0, 1000)
        with trio.fail_after(60):
            while len(received) < 1000:
                received += numbers(await told.receive())
    assert received == list(range(1000))


async def test_the_end_comes_after_what_was_told() -> None:
    """And again whenever it is asked."""
    told = Told()
    await in_thread(told, 0, 1)
    told.fail(EtcdUnavailable("gone"))
    assert numbers(await told.receive()) == [0]
    for _ in range(2):
        with pytest.raises(EtcdUnavailable, match="gone"):
            await told.receive()


async def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    """Whatever comes during or after it is there next time."""
    told = Told()
    with trio.move_on_after(0):
        await told.receive()
    await in_thread(told, 0, 3)
    with trio.move_on_after(0):
        await told.receive()
    assert numbers(await told.receive()) == [0, 1, 2]


async def test_a_thread_does_not_run_ahead_without_bound() -> None:
    """It waits until something was taken; and is let go when nobody takes any more."""
    told, told_all = Told(), threading.Event()

    def tell() -> bool:
        for number in range(64):
            assert told.tell([change(number)])
        told_all.set()
        return told.tell([change(64)]) and told.tell([change(65)])

    async with trio.open_nursery() as nursery:
        answered: list[bool] = []

        async def run() -> None:
            answered.append(await trio.to_thread.run_sync(tell))

        nursery.start_soon(run)
        await trio.to_thread.run_sync(told_all.wait)
        assert numbers(await told.receive()) == list(range(64))
        with trio.fail_after(60):
            rest = list[int]()
            while rest != [64, 65]:
                rest += numbers(await told.receive())
    assert answered == [True]


async def test_a_thread_that_waits_for_room_is_let_go() -> None:
    """When the watch ends."""
    told = Told()
    await in_thread(told, 0, 64)
    async with trio.open_nursery() as nursery:
        answered: list[bool] = []

        async def run() -> None:
            answered.append(await in_thread(told, 64, 65))

        nursery.start_soon(run)
        told.close()
    assert answered == [False]
