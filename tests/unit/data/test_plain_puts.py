"""Puts that are begun in a plain call: when they are, and that what they meet without a task of their own is not lost.

That they do what other puts do is what the other tests of the store show: their put() asks for them first.
"""

import gc
import threading
import weakref
from pathlib import Path

import pytest
import trio
import trio.testing

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import MIB, PUT_THREADS
from ringfs.data.index import Index, IndexDamaged
from ringfs.data.store import ObjectStore
from tests.support.stores import EIO, Faults, Made, content_of, made, opened, put, running
from tests.support.waiting import until

THING, OTHER = made(1), made(2)


def begun(store: ObjectStore, thing: Made, told: list[Refused | None]) -> bool:
    """Whether a put was begun; how it ends is told."""
    return store.put_soon(thing.stored, thing.tables, memoryview(bytearray(thing.content)), told.append)


async def test_what_has_to_wait_first_is_not_begun(tmp_path: Path) -> None:
    """No segment yet, none with room, the part held already, or no thread free; then nothing of it stays behind."""
    faults, gate = Faults(), threading.Event()
    told: list[Refused | None] = []
    async with running(tmp_path, faults=faults) as store:
        assert not begun(store, THING, told)
        assert await put(store, THING)
        assert not begun(store, THING, told)
        large = made(3, 5 * MIB)
        assert not begun(store, large, told)
        faults.before_sync = gate.wait  # type: ignore[assignment]
        try:
            assert all(begun(store, made(10 + number, 1000), told) for number in range(PUT_THREADS))
            tail = store._log._tail
            assert not begun(store, OTHER, told)
            assert store._log._tail == tail
        finally:
            gate.set()
        await store._put_threads.wait_idle()
        assert told == [None] * PUT_THREADS
        assert begun(store, OTHER, told)
    assert told == [None] * (PUT_THREADS + 1)


async def test_closing_waits_for_those_that_were_begun(tmp_path: Path) -> None:
    """Nothing is closed under a thread, and what was written is in the index that is left behind."""
    faults, gate = Faults(), threading.Event()
    told: list[Refused | None] = []
    store = await opened(tmp_path, faults=faults)
    assert await put(store, THING)
    faults.before_sync = gate.wait  # type: ignore[assignment]
    assert begun(store, OTHER, told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.close)
        await trio.testing.wait_all_tasks_blocked()
        assert (told, len(nursery.child_tasks)) == ([], 1)
        gate.set()
    assert told == [None]
    async with running(tmp_path) as store:
        assert await content_of(store, OTHER) == OTHER.content
        assert store.health.index_built_ns == 0


async def test_a_failing_disk_is_told(tmp_path: Path) -> None:
    """By the call if it is known to have failed, else by what is told."""
    faults = Faults()
    told: list[Refused | None] = []
    async with running(tmp_path, faults=faults) as store:
        assert await put(store, THING)
        faults.on_sync = EIO
        assert begun(store, OTHER, told)
        await store._put_threads.wait_idle()
        (refused,) = told
        assert refused is not None
        assert (refused.code, refused.detail) == (Code.DISK_FAILED, "fdatasync: Input/output error")
        with pytest.raises(Refused):
            begun(store, OTHER, told)


class Owner(bytearray):
    """Memory that can be watched."""


@pytest.mark.parametrize("fault", ["", "on_write", "on_sync"])
async def test_a_refused_put_keeps_no_memory(tmp_path: Path, fault: str) -> None:
    """Its payload is let go without the collector of cycles, which comes by seldom."""
    faults = Faults()
    told: list[Refused | None] = []
    async with running(tmp_path, faults=faults) as store:
        assert await put(store, THING)
        gc.collect()
        gc.disable()
        try:
            owner = Owner(OTHER.content if fault else OTHER.content[::-1])
            watched = weakref.ref(owner)
            if fault:
                setattr(faults, fault, EIO)
            assert store.put_soon(OTHER.stored, OTHER.tables, memoryview(owner), told.append)
            del owner
            with trio.fail_after(10):
                await until(lambda: watched() is None)
        finally:
            gc.enable()
    (refused,) = told
    assert refused is not None
    assert refused.code is (Code.DISK_FAILED if fault else Code.CORRUPT)


def damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """No part can be added to an index any more."""

    def add(*_: object) -> None:
        raise IndexDamaged("for the test")

    monkeypatch.setattr(Index, "add", add)


async def test_a_damaged_index_ends_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a task had met it; the put is not answered."""
    told: list[Refused | None] = []

    async def run() -> None:
        async with running(tmp_path) as store:
            assert await put(store, THING)
            damage(monkeypatch)
            assert begun(store, OTHER, told)
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as raised, trio.fail_after(10):
        await run()
    assert raised.group_contains(IndexDamaged)
    assert told == []


async def test_a_damaged_index_met_while_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not made durable: the next start takes up from the segments what was written."""
    told: list[Refused | None] = []
    store = await opened(tmp_path)
    assert await put(store, THING)
    with monkeypatch.context() as patched:
        damage(patched)
        assert begun(store, OTHER, told)
        await store.close()
    assert told == []
    assert store.health.failure == "a put: IndexDamaged('for the test')"
    async with running(tmp_path) as store:
        assert await content_of(store, OTHER) == OTHER.content
