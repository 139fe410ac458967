"""A disk that fails, or is full: refused at once, said in the trouble, nothing acknowledged that is not there; recovery."""

import gc
import shutil
import threading
from pathlib import Path

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.store import StoreFailed, StoreFull
from ringfs.base.limits import GET_THREADS, GIB, MIB
from ringfs.data import checkpointer
from ringfs.data.records import WrongBytes
from ringfs.data.segment_log import SegmentSizes
from ringfs.data.stored_part import StoredPart
from tests.support.stores import EIO, ENOSPC, Faults, content_of, made, put, running, tickets_given

THING, OTHER, THIRD = made(1), made(2), made(3)


async def refusal_of_put(store: object, thing: object = OTHER) -> Code:
    """Which one it is; there must be one."""
    with pytest.raises(Refused) as refused:
        await put(store, thing)  # type: ignore[arg-type]
    return refused.value.code


@pytest.mark.parametrize("kind", ["on_write", "on_sync"])
async def test_an_io_error_fails_the_disk_for_good(tmp_path: Path, kind: str) -> None:
    """The put is refused and so is every later write, even when the disk seems well again; reads go on; a start tries anew."""
    faults = Faults()
    async with running(tmp_path, faults=faults) as store:
        await put(store, THING)
        setattr(faults, kind, EIO)
        assert await refusal_of_put(store) is Code.DISK_FAILED
        setattr(faults, kind, None)
        syncs = faults.sync_count
        assert await refusal_of_put(store) is Code.DISK_FAILED
        assert await refusal_of_put(store, THING) is Code.DISK_FAILED
        with pytest.raises(Refused) as refused:
            await store.delete([(THING.oid, 1 << 61)])
        assert refused.value.code is Code.DISK_FAILED
        assert faults.sync_count == syncs, "a failed fdatasync is not asked again"
        assert not store.holds(OTHER.oid)
        assert await content_of(store, THING) == THING.content
        assert store.health.trouble.startswith("disk failed: ")
        assert store.figures().free_bytes == 0
    async with running(tmp_path) as store:
        assert store.health.trouble == ""
        assert await content_of(store, THING) == THING.content
        assert await put(store, OTHER) in (True, False)
        assert await content_of(store, OTHER) == OTHER.content


async def test_all_who_wait_for_a_failed_sync_are_refused(tmp_path: Path) -> None:
    """Both those whose sync failed and those who gathered for the next one."""
    faults, gate = Faults(), threading.Event()
    refused: list[Code] = []
    async with running(tmp_path, faults=faults) as store:
        await put(store, THING)
        faults.on_sync, faults.before_sync = EIO, gate.wait  # type: ignore[assignment]
        faults.sync_count, before = 0, tickets_given(store)

        async def put_in_vain(seed: int) -> None:
            refused.append(await refusal_of_put(store, made(seed)))

        async with trio.open_nursery() as nursery:
            for seed in range(10, 16):
                nursery.start_soon(put_in_vain, seed)
            try:
                with trio.fail_after(120):
                    while tickets_given(store) < before + 6 + 1:
                        await trio.lowlevel.checkpoint()
            finally:
                gate.set()
        assert refused == [Code.DISK_FAILED] * 6
        assert faults.sync_count == 1, "the kernel tells of a failure only once"
        assert store.figures().part_count == 1


async def test_a_sync_that_failed_is_told_to_all_after_it(tmp_path: Path) -> None:
    """The kernel says it once, and then that all is well: puts that share a segment with a failed punch must not believe that."""
    faults = Faults()
    async with running(tmp_path, faults=faults) as store:
        await put(store, THING)
        segment = store._segments.opened(1)
        segment.sync_written()
        faults.on_sync = EIO
        with pytest.raises(OSError, match="Input/output error"):
            segment.sync_written()
        faults.on_sync, faults.sync_count = None, 0
        with pytest.raises(OSError, match="a sync failed before"):
            segment.sync_written()
        assert await refusal_of_put(store) is Code.DISK_FAILED
        assert faults.sync_count == 0


@pytest.mark.parametrize("is_rotten", [False, True])
async def test_failed_reads_keep_no_memory(tmp_path: Path, is_rotten: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither errors nor, in their frames, buffers wait for the collector of cycles: a dying disk fails thousands of reads."""
    faults = Faults()
    async with running(tmp_path, faults=faults) as store:
        await put(store, THING)
        if is_rotten:
            monkeypatch.setattr(StoredPart, "first_bad_block", lambda *_: 0)
        else:
            faults.on_read = EIO
        gc.collect()
        gc.disable()
        try:
            for _ in range(4 * GET_THREADS):
                with pytest.raises(Refused):
                    await store.get(THING.oid, None, 0, 1)
                if not is_rotten:
                    with pytest.raises(Refused):
                        await store.verify(THING.oid)
            # An idle thread may have the last one that it raised.
            left = [each for each in gc.get_objects() if isinstance(each, WrongBytes | OSError)]
            assert len(left) <= GET_THREADS
            assert all(each.__traceback__ is None for each in left)
        finally:
            gc.enable()


async def test_a_read_error_costs_that_read(tmp_path: Path) -> None:
    """DISK_FAILED for the get, counted; puts go on."""
    faults = Faults()
    async with running(tmp_path, faults=faults) as store:
        await put(store, THING)
        faults.on_read = EIO
        for ask in (store.get(THING.oid, None, 0, 1), store.verify(THING.oid)):
            with pytest.raises(Refused) as refused:
                await ask
            assert refused.value.code is Code.DISK_FAILED
        assert store.health.trouble == "2 read errors"
        assert await put(store, OTHER)
        faults.on_read = None
        assert await content_of(store, THING) == THING.content


@pytest.mark.parametrize("kind", ["on_write", "on_create"])
async def test_no_space_is_refused_and_forgotten(tmp_path: Path, kind: str) -> None:
    """ENOSPC where it is not expected: DISK_FULL, nothing held; when there is space, everything goes on, also after a start."""
    faults = Faults()
    async with running(tmp_path, faults=faults) as store:
        if kind == "on_write":
            await put(store, THING)
        setattr(faults, kind, ENOSPC)
        assert await refusal_of_put(store) is Code.DISK_FULL
        assert store.health.trouble == "disk full"
        assert not store.holds(OTHER.oid)
        setattr(faults, kind, None)
        assert await put(store, OTHER)
        assert await put(store, THIRD)
    async with running(tmp_path) as store:
        assert store.health.trouble == ""
        assert await content_of(store, OTHER) == OTHER.content
        assert await content_of(store, THIRD) == THIRD.content


async def test_a_full_disk_recovers_by_itself(tmp_path: Path) -> None:
    """The reserve is kept, gets and deletes go on, and what a delete frees takes puts again."""
    sizes = SegmentSizes(segment_bytes=16 * MIB, segment_bytes_min=MIB, reserve_bytes=GIB)
    faults = Faults()
    things = [made(seed, MIB) for seed in range(20)]
    async with running(tmp_path, sizes, faults=faults) as store:
        faults.free_bytes = GIB + 16 * MIB
        for thing in things[:15]:
            await put(store, thing)
        faults.free_bytes = GIB + 1000
        assert await refusal_of_put(store, things[15]) is Code.DISK_FULL
        assert store.health.trouble == "disk full"
        assert store.figures().free_bytes < MIB
        assert await content_of(store, things[0]) == things[0].content
        assert await store.delete([(thing.oid, 1 << 61) for thing in things[:10]]) == [True] * 10
        faults.free_bytes = GIB + 10 * MIB
        assert store.figures().free_bytes >= 10 * MIB
        assert store.health.trouble == "", "noticed without a put"
        assert await put(store, things[15])
        assert await content_of(store, things[15]) == things[15].content


async def test_the_configured_capacity_is_a_cap(tmp_path: Path) -> None:
    """Puts beyond it are refused, smaller ones still fit, deletes make room."""
    sizes = SegmentSizes(segment_bytes=16 * MIB, segment_bytes_min=MIB, reserve_bytes=0, capacity_bytes=3 * MIB)
    things = [made(seed, MIB) for seed in range(4)]
    async with running(tmp_path, sizes) as store:
        for thing in things[:2]:
            await put(store, thing)
        assert await refusal_of_put(store, things[2]) is Code.DISK_FULL
        assert (store.figures().free_bytes, store.figures().size_bytes) == (MIB - 2 * 4096, 3 * MIB)
        assert await put(store, THING)
        assert store.health.trouble == "disk full"
        await store.delete([(things[0].oid, 1 << 61)])
        assert await put(store, things[2])


async def test_the_size_of_a_disk(tmp_path: Path) -> None:
    """Its file system's, with what others have there; also under a capacity that it does not have. Nothing once it failed."""
    for capacity_bytes in (None, 1 << 60):
        async with running(tmp_path, SegmentSizes(capacity_bytes=capacity_bytes)) as store:
            assert store.figures().size_bytes == shutil.disk_usage(tmp_path).total
    store.health.fail("for the test")
    assert store.figures().size_bytes == 0


async def test_an_index_without_room_refuses_puts_and_keeps_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While checkpoints find no space changes stay in memory, up to a bound; deletes wait; afterwards everything goes on."""
    monkeypatch.setattr(checkpointer, "INTERVAL_S", 0.01)
    monkeypatch.setattr(checkpointer, "_PENDING_BYTES_MAX", 1)
    async with running(tmp_path) as store:
        await put(store, THING)
        real = store._checkpointer._kv.checkpoint

        async def full(_marks: object) -> None:
            await trio.lowlevel.checkpoint()
            raise StoreFull("no space")

        monkeypatch.setattr(store._checkpointer._kv, "checkpoint", full)
        assert await refusal_of_put(store) is Code.DISK_FULL
        deleted: list[bool] = []

        async def delete() -> None:
            deleted.extend(await store.delete([(THING.oid, 1 << 61)]))

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(delete)
                while store.health.trouble != "disk full":
                    await trio.lowlevel.checkpoint()
                assert deleted == []
                monkeypatch.setattr(store._checkpointer._kv, "checkpoint", real)
        assert deleted == [True]
        monkeypatch.setattr(checkpointer, "_PENDING_BYTES_MAX", 1 << 20)
        assert await put(store, OTHER)


async def test_an_index_that_fails_fails_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the checkpoint is refused; nothing is acknowledged."""
    async with running(tmp_path) as store:
        await put(store, THING)

        async def failed(_marks: object) -> None:
            await trio.lowlevel.checkpoint()
            raise StoreFailed("i/o error")

        monkeypatch.setattr(store._checkpointer._kv, "checkpoint", failed)
        with pytest.raises(Refused) as refused:
            await store.delete([(THING.oid, 1 << 61)])
        assert refused.value.code is Code.DISK_FAILED
        assert store.health.trouble == "disk failed: index: i/o error"
    async with running(tmp_path) as store:
        assert await content_of(store, THING) == THING.content, "a delete that was not acknowledged did not happen"
