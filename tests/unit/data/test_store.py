"""The store: put, get in ranges, delete by verdict, renewed births, groups of syncs, freed space."""

import os
import threading
from pathlib import Path

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import MIB, OBJECT_BYTES_MAX, PUT_THREADS
from ringfs.data import checkpointer, recovery
from ringfs.data.segment_log import SegmentSizes
from ringfs.data.stored_part import Tables
from tests.support.residency import resident_bytes
from tests.support.stores import EIO, SMALL, Faults, TickingClock, any_part, content_of, made, opened, put, running, tickets_given
from tests.support.waiting import until

BLOCK = 65536


@pytest.mark.parametrize("size_bytes", [1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK + 333, OBJECT_BYTES_MAX])
async def test_what_was_put_is_got(tmp_path: Path, size_bytes: int) -> None:
    """Every size, whole, now and after the next start."""
    thing = made(1, size_bytes)
    sizes = SegmentSizes(segment_bytes=32 * MIB, segment_bytes_min=MIB, reserve_bytes=0)
    async with running(tmp_path, sizes) as store:
        assert await put(store, thing)
        assert await content_of(store, thing) == thing.content
    async with running(tmp_path, sizes) as store:
        assert await content_of(store, thing) == thing.content


async def test_ranges_of_blocks(tmp_path: Path) -> None:
    """Any run of blocks, clamped to the object's end; the table comes with it, also for no blocks; past the end is refused."""
    thing = made(2, 5 * BLOCK + 100)
    async with running(tmp_path) as store:
        await put(store, thing)
    async with running(tmp_path) as store:
        # The first get has to read the table, with and without block 0.
        for first, count in [(2, 2), (0, 1), (5, 1), (3, 128), (0, 6), (1, 0)]:
            got = await store.get(thing.oid, None, first, count)
            assert (got.stored, got.tables) == (thing.stored, thing.tables)
            assert got.content == thing.content[first * BLOCK : (first + count) * BLOCK], (first, count)
        with pytest.raises(Refused) as refused:
            await store.get(thing.oid, None, 6, 1)
        assert refused.value.code is Code.INVALID


def _reads_without_waiting(directory: Path) -> bool:
    """Whether its file system can say what is in the page cache."""
    (directory / "probe").write_bytes(b"probe")
    with (directory / "probe").open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(5)], 0, os.RWF_NOWAIT)
        except OSError:
            return False
        finally:
            (directory / "probe").unlink()
    return True


async def test_gets_that_need_no_waiting(tmp_path: Path) -> None:
    """Little that the page cache has is got at once, and is the same; anything else is left to get(), wrong bytes too."""
    if not _reads_without_waiting(tmp_path):
        pytest.skip("this file system has no RWF_NOWAIT: everything is left to get()")
    thing, large = made(20, 5 * BLOCK), made(21, 20 * BLOCK)
    async with running(tmp_path) as store:
        await put(store, thing)
        await put(store, large)
        for block in range(5):
            waited = await store.get(thing.oid, None, block, 1)
            assert store.get_now(thing.oid, None, block, 1) == waited
        assert store.get_now(large.oid, None, 0, 128) is None
        assert store.get_now(thing.oid, None, 5, 1) is None
        assert store.get_now(made(22).oid, None, 0, 1) is None
    (segment,) = (tmp_path / "segments").iterdir()
    async with running(tmp_path) as store:
        await store.get(made(20, 5 * BLOCK).oid, None, 0, 1)
        with segment.open("r+b") as file:
            file.seek(4096 + 4096 + 2 * BLOCK)
            file.write(b"rot")
        assert store.get_now(thing.oid, None, 2, 1) is None
        with pytest.raises(Refused) as refused:
            await store.get(thing.oid, None, 2, 1)
        assert refused.value.code is Code.CORRUPT
        assert store.get_now(thing.oid, None, 0, 1) == await store.get(thing.oid, None, 0, 1)


async def test_what_is_not_held(tmp_path: Path) -> None:
    """Get and verify say NOT_HELD, delete says no."""
    thing = made(3)
    async with running(tmp_path) as store:
        assert not store.holds(thing.oid)
        for ask in (store.get(thing.oid, None, 0, 1), store.verify(thing.oid)):
            with pytest.raises(Refused) as refused:
                await ask
            assert refused.value.code is Code.NOT_HELD
        assert await store.delete([(thing.oid, 1 << 62)]) == [False]


async def test_a_put_is_checked_first(tmp_path: Path) -> None:
    """A table that does not prove the id, or content that differs from the table, is refused, and nothing is held."""
    thing, other = made(4), made(5)
    wrong = bytearray(thing.content)
    wrong[100_000] ^= 1
    async with running(tmp_path) as store:
        for table, content in [(other.table, thing.content), (thing.table, bytes(wrong)), (thing.table[:-20], thing.content)]:
            with pytest.raises(Refused) as refused:
                await store.put(thing.stored, Tables(table), memoryview(bytearray(content)))
            assert refused.value.code is Code.CORRUPT
        assert not store.holds(thing.oid)
        assert store.figures().used_bytes == 0
        assert await put(store, thing)
        assert await content_of(store, thing) == thing.content


async def test_putting_again_renews_the_birth(tmp_path: Path) -> None:
    """The second put is not fresh, takes 4 KiB, and a verdict between the two no longer deletes; so also after starts."""
    thing, clock = made(6), TickingClock()
    async with running(tmp_path, clock=clock) as store:
        assert await put(store, thing)
        used_bytes = store.figures().used_bytes
        verdict_ns = clock.wall_ns()
        for _ in range(3):
            assert not await put(store, thing)
            assert store.figures().used_bytes == used_bytes + 4096
        assert await store.delete([(thing.oid, verdict_ns)]) == [False]
    for remove_index in (False, True):
        if remove_index:
            _remove_index(tmp_path)
        async with running(tmp_path, clock=clock) as store:
            assert await store.delete([(thing.oid, verdict_ns)]) == [False]
            assert await content_of(store, thing) == thing.content
    async with running(tmp_path, clock=clock) as store:
        assert await store.delete([(thing.oid, clock.wall_ns())]) == [True]
        assert not store.holds(thing.oid)


def _remove_index(directory: Path) -> None:
    for path in (directory / "index").iterdir():
        path.unlink()
    (directory / "index").rmdir()


async def test_births_grow_though_the_clock_is_set_back(tmp_path: Path) -> None:
    """A put after the clock was set back is newer than a verdict on the put before."""
    thing, clock = made(7), TickingClock(now_ns=10**9)
    async with running(tmp_path, clock=clock) as store:
        await put(store, thing)
        ((_, entry),) = store.page(b"", 10)[0]
        clock.now_ns = 1000
        await put(store, thing)
        assert await store.delete([(thing.oid, entry.birth_ns)]) == [False]


async def test_delete_gives_the_space_back(tmp_path: Path) -> None:
    """When delete returns, the file system has the bytes again; a segment without live records is gone."""
    things = [made(seed, MIB) for seed in range(8)]
    async with running(tmp_path) as store:
        for thing in things:
            await put(store, thing)
        before = _allocated(tmp_path)
        assert await store.delete([(things[6].oid, 1 << 62)]) == [True]
        assert _allocated(tmp_path) <= before - MIB
        assert store.figures().segment_count == 3
        assert await store.delete([(thing.oid, 1 << 62) for thing in things]) == [True] * 6 + [False, True]
        assert store.figures().segment_count <= 1
        assert len(list((tmp_path / "segments").iterdir())) <= 1
        assert store.figures().part_count == store.figures().used_bytes == 0
    async with running(tmp_path) as store:
        assert store.page(b"", 10) == ([], False)


async def test_a_store_without_parts_takes_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After everything was deleted the segments take less than 1 % of what they took, the one that was appended to included; also
    after starts. Puts go on."""
    monkeypatch.setattr(checkpointer, "INTERVAL_S", 0.01)
    sizes = SegmentSizes(segment_bytes=16 * MIB, segment_bytes_min=MIB, reserve_bytes=0)
    parts = [any_part(made(seed, size)) for seed, size in enumerate([100, 5000, BLOCK, MIB, 3 * MIB] * 8)]
    async with running(tmp_path, sizes) as store:
        for part in [*parts, *parts[::3]]:
            await put(store, part)
        full_bytes = _allocated(tmp_path)
        await store.drop([(part.stored.key, 1 << 61) for part in parts[::2]])
        await store.delete([(part.oid, 1 << 61) for part in parts])
        with trio.fail_after(120):
            await until(lambda: store.figures().segment_count == 0)
        assert _allocated(tmp_path) < full_bytes / 100
    for number in range(2):
        async with running(tmp_path, sizes) as store:
            assert _allocated(tmp_path) < full_bytes / 100
            assert store.figures().segment_count == 0
            assert await put(store, parts[number])
            assert await content_of(store, parts[number]) == parts[number].content
            assert await store.delete([(parts[number].oid, 1 << 61)]) == [True]
            with trio.fail_after(120):
                await until(lambda: store.figures().segment_count == 0)
        assert store.health.trouble == ""


async def test_a_segment_that_is_appended_to_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as there are puts it is not made anew after each delete."""
    monkeypatch.setattr(checkpointer, "INTERVAL_S", 1000)
    async with running(tmp_path) as store:
        for seed in range(5):
            await put(store, made(seed))
            assert await store.delete([(made(seed).oid, 1 << 61)]) == [True]
            assert [path.name for path in (tmp_path / "segments").iterdir()] == ["00000001.segment"]


def _allocated(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in (directory / "segments").iterdir())


async def test_deleting_and_putting_again(tmp_path: Path) -> None:
    """An id that was deleted can be put again, and is then held as if never deleted, also after a rebuild."""
    thing = made(8)
    async with running(tmp_path) as store:
        for _ in range(3):
            assert await put(store, thing)
            assert await store.delete([(thing.oid, 1 << 61)]) == [True]
        assert await put(store, thing)
    _remove_index(tmp_path)
    async with running(tmp_path) as store:
        assert await content_of(store, thing) == thing.content
        assert store.figures().part_count == 1


async def test_puts_of_one_id_at_once(tmp_path: Path) -> None:
    """However they interleave, one record is live in the end."""
    thing = made(9)
    async with running(tmp_path) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(put, store, thing)
        assert store.figures().part_count == 1
        assert store.figures().used_bytes <= 4096 + 4096 * 50 + 4096
        assert await content_of(store, thing) == thing.content


async def test_one_sync_for_all_that_wait(tmp_path: Path) -> None:
    """While a sync runs, all puts written meanwhile gather for the next one."""
    faults, gate = Faults(), threading.Event()
    async with running(tmp_path, faults=faults) as store:
        await put(store, made(99))
        faults.sync_count = 0
        faults.before_sync = gate.wait  # type: ignore[assignment]
        before = tickets_given(store)
        async with trio.open_nursery() as nursery:
            for seed in range(PUT_THREADS):
                nursery.start_soon(put, store, made(seed, 1000))
            try:
                with trio.fail_after(120):
                    while tickets_given(store) < before + PUT_THREADS + 1:
                        await trio.lowlevel.checkpoint()
                assert faults.sync_count == 1
                assert store.figures().part_count == 1, "nothing counts before its sync has returned"
            finally:
                gate.set()
        assert faults.sync_count == 2
        assert store.figures().part_count == PUT_THREADS + 1


async def test_more_segments_than_descriptors(tmp_path: Path) -> None:
    """Segments are closed when unused for longest and opened again when needed."""
    things = [made(seed, MIB) for seed in range(12)]
    async with running(tmp_path) as store:
        store._segments._open_max = 2
        for thing in things:
            await put(store, thing)
        for thing in things:
            assert await content_of(store, thing) == thing.content
        assert len(store._segments._open) <= 3


async def test_gets_race_with_deletes(tmp_path: Path) -> None:
    """A get whose object is deleted under it gives the right bytes or NOT_HELD, never CORRUPT."""
    thing = made(10, 20 * BLOCK)
    outcomes = set()
    async with running(tmp_path) as store:

        async def get() -> None:
            try:
                assert await content_of(store, thing) == thing.content
                outcomes.add("bytes")
            except Refused as refused:
                outcomes.add(refused.code.name)

        for _ in range(10):
            await put(store, thing)
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(get)
                nursery.start_soon(store.delete, [(thing.oid, 1 << 61)])
        assert outcomes <= {"bytes", "NOT_HELD"}
        assert "bytes" in outcomes
        assert store.health.trouble == ""


async def test_a_put_over_a_rotten_copy_heals_it(tmp_path: Path) -> None:
    """A copy that is held but wrong does not stand for a new put: the new bytes are stored in its place."""
    thing = made(11)
    async with running(tmp_path) as store:
        await put(store, thing)
        (segment,) = (tmp_path / "segments").iterdir()
        with segment.open("r+b") as file:
            file.seek(4096 + 4096 + 10)
            file.write(b"rot")
        assert await put(store, thing)
        assert store.health.corrupt_count == 1
        assert await content_of(store, thing) == thing.content
        assert (await store.verify(thing.oid)).bad_blocks == []


async def test_a_put_over_an_unreadable_copy_heals_it(tmp_path: Path) -> None:
    """The same if the held copy cannot be read."""
    thing, faults = made(12), Faults()
    async with running(tmp_path, faults=faults) as store:
        await put(store, thing)
        faults.on_read = EIO
        assert await put(store, thing)
        faults.on_read = None
        assert await content_of(store, thing) == thing.content


async def test_closing_without_running(tmp_path: Path) -> None:
    """A store that was only opened closes cleanly."""
    store = await opened(tmp_path, SMALL)
    assert store.figures().part_count == 0
    await store.close()


async def test_an_index_that_was_read_does_not_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The running store looks to it, and goes on answering."""
    monkeypatch.setattr(recovery, "INDEX_MAPPED_BYTES_MAX", 0)
    things, file = [made(seed, 100) for seed in range(20)], tmp_path / "index" / "data.mdb"
    async with running(tmp_path) as store:
        for thing in things:
            await put(store, thing)
    async with running(tmp_path) as store:
        for _ in range(2):
            assert len(store.page(b"", 100)[0]) == len(things)
            assert resident_bytes(file) > 0
            await until(lambda: resident_bytes(file) == 0)
