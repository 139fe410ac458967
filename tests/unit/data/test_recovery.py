"""Opening a store: from the index and its mark, without an index, over torn ends, damage and missing segments."""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.child import in_child
from ringfs.base.limits import MIB
from ringfs.data.recovery import doubt_index
from ringfs.data.store import ObjectStore
from tests.support.stores import Faults, Made, TickingClock, content_of, made, opened, put, running

THINGS = [made(seed, 100_000 + seed) for seed in range(12)]
#: Record sizes of THINGS: a head and 25 pages.
RECORD = 4096 + 25 * 4096


def snapshot(directory: Path, copy: Path) -> Path:
    """The disk as a crash now would leave it (the lock apart)."""
    shutil.copytree(directory, copy)
    return copy


def segments(directory: Path) -> list[Path]:
    """Ascending."""
    return sorted((directory / "segments").iterdir())


def remove_index(directory: Path) -> None:
    """As if it had never been."""
    shutil.rmtree(directory / "index")


@contextmanager
def patched(path: Path, offset: int, data: bytes) -> Iterator[None]:
    """The file with other bytes at offset, while the block lasts."""
    with path.open("r+b") as file:
        file.seek(offset)
        before = file.read(len(data))
        file.seek(offset)
        file.write(data)
    yield
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(before)


def position_in(store: ObjectStore, thing: Made) -> int:
    """Where its record is."""
    entry = store._index.get(thing.stored.key)
    assert entry is not None
    return entry.position


async def assert_holds(store: ObjectStore, things: list[Made]) -> None:
    """Exactly these, whole."""
    assert {key for key, _ in store.page(b"", 1000)[0]} == {thing.stored.key for thing in things}
    for thing in things:
        assert await content_of(store, thing) == thing.content


async def test_the_tail_behind_the_mark_is_found(tmp_path: Path) -> None:
    """A crash before any checkpoint loses no put."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with running(disk) as store:
        for thing in THINGS:
            await put(store, thing)
        crashed = snapshot(disk, tmp_path / "crashed")
    async with running(crashed) as store:
        await assert_holds(store, THINGS)
        assert store.health.trouble == ""
        assert await put(store, made(50))
    async with running(crashed) as store:
        await assert_holds(store, [*THINGS, made(50)])


async def test_a_rebuilt_index_says_the_same(tmp_path: Path) -> None:
    """Without an index: the same objects in the same places with the same births, the same figures."""
    clock = TickingClock()
    async with running(tmp_path, clock=clock) as store:
        for thing in [*THINGS, *(made(100 + seed, MIB) for seed in range(6))]:
            await put(store, thing)
        await put(store, THINGS[3])
        await put(store, THINGS[3])
        await store.delete([(THINGS[5].oid, 1 << 61)])
        before, figures = store.page(b"", 1000), store.figures()
    remove_index(tmp_path)
    async with running(tmp_path, clock=clock) as store:
        assert store.page(b"", 1000) == before
        after = store.figures()
        assert (after.used_bytes, after.part_count, after.segment_count) == (
            figures.used_bytes,
            figures.part_count,
            figures.segment_count,
        )
        assert store.health.trouble == ""


@pytest.mark.parametrize("damage", ["garbage", "empty file", "truncated", "wild pointers"])
async def test_a_damaged_index_is_rebuilt(tmp_path: Path, damage: str) -> None:
    """LMDB's file overwritten, cut, or with pages that point to where nothing is: found out at the start, and built anew."""
    async with running(tmp_path) as store:
        for thing in THINGS:
            await put(store, thing)
    data = tmp_path / "index" / "data.mdb"
    match damage:
        case "garbage":
            data.write_bytes(b"\xaa" * data.stat().st_size)
        case "empty file":
            data.write_bytes(b"")
        case "truncated":
            with data.open("r+b") as file:
                file.truncate(data.stat().st_size // 8192 * 4096)
        case "wild pointers":
            pages = bytearray(data.read_bytes())
            # Behind the two meta pages: the places of nodes in each page begin at its 16th byte.
            for page in range(2 * 4096, len(pages), 4096):
                pages[page + 16 : page + 64] = b"\xff" * 48
            data.write_bytes(pages)
    async with running(tmp_path) as store:
        await assert_holds(store, THINGS)


def test_damage_in_any_page_of_the_index_costs_nothing(tmp_path: Path) -> None:
    """A bit flips anywhere, above all in what LMDB looks at first: everything is there, and can be changed, and that twice.

    In a child each time: it would not be an exception that ends it.
    """
    things = [made(seed, 100) for seed in range(40)]

    async def fill() -> Path:
        (disk := tmp_path / "disk").mkdir()
        async with running(disk) as store:
            for number, thing in enumerate(things):
                await put(store, thing)
                if number % 10 == 9:
                    await store.delete([(things[number].oid, 1 << 61)])
            return snapshot(disk, tmp_path / "crashed")

    async def use(disk: Path) -> None:
        kept = [thing for number, thing in enumerate(things) if number % 10 != 9]
        for number in (9, 19):
            async with running(disk) as store:
                await assert_holds(store, kept)
                assert await store.delete([(kept.pop(0).oid, 1 << 61)]) == [True]
                assert await put(store, things[number])
                kept.append(things[number])

    def used(disk: Path) -> bytes:
        trio.run(use, disk)
        return b"well"

    crashed = trio.run(fill)
    draw, data = random.Random(1), (crashed / "index" / "data.mdb").read_bytes()
    for page in range(len(data) // 4096):
        for end in (40, 160, 4096):
            damaged = bytearray(data)
            damaged[page * 4096 + draw.randrange(end)] ^= 1 << draw.randrange(8)
            disk = snapshot(crashed, tmp_path / "damaged")
            (disk / "index" / "data.mdb").write_bytes(damaged)
            assert in_child(partial(used, disk)) == b"well", f"page {page}"
            shutil.rmtree(disk)


async def test_an_index_of_another_disk_is_not_used(tmp_path: Path) -> None:
    """Nor one whose figures do not add up."""
    one, other = tmp_path / "one", tmp_path / "other"
    for disk, things in ((one, THINGS[:5]), (other, THINGS[5:])):
        disk.mkdir()
        async with running(disk) as store:
            for thing in things:
                await put(store, thing)
    remove_index(one)
    shutil.copytree(other / "index", one / "index")
    async with running(one) as store:
        await assert_holds(store, THINGS[:5])


async def test_an_index_of_an_older_version_is_rebuilt(tmp_path: Path) -> None:
    """Its keys had no part: they are not taken for anything."""
    async with running(tmp_path) as store:
        for thing in THINGS:
            await put(store, thing)
        for thing in THINGS:
            entry = store._index._view.get(b"o" + thing.stored.key)
            assert entry is not None
            store._index._view.delete(b"o" + thing.stored.key)
            store._index._view.put(b"o" + thing.oid, entry)
        header = store._index._view.get(b"h")
        assert header is not None
        store._index._view.put(b"h", b"\0\1" + header[2:])
        await store._checkpointer._kv.checkpoint({})
        old = snapshot(tmp_path, tmp_path.with_name("old"))
    async with running(old) as store:
        await assert_holds(store, THINGS)


@pytest.mark.parametrize("keep", [1, 4096, 4097, 50_000, RECORD - 4096])
async def test_a_torn_record_at_the_end_is_cut(tmp_path: Path, keep: int) -> None:
    """Of the last record only some first bytes were written: it is gone without loss, and its place is used again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with running(disk) as store:
        for thing in THINGS[:3]:
            await put(store, thing)
        crashed = snapshot(disk, tmp_path / "crashed")
    torn = 4096 + 2 * RECORD + keep
    with segments(crashed)[0].open("r+b") as file:
        file.seek(torn)
        file.write(bytes(RECORD - keep))
    without_index = snapshot(crashed, tmp_path / "without index")
    remove_index(without_index)
    for directory in (crashed, without_index):
        async with running(directory) as store:
            await assert_holds(store, THINGS[:2])
            assert store.health.lost_count == 0
            assert await put(store, THINGS[4])
            assert store.figures().segment_count == 1
        async with running(directory) as store:
            await assert_holds(store, [*THINGS[:2], THINGS[4]])


@pytest.mark.parametrize("part", [0, 4096 + 5000])
async def test_a_torn_record_at_the_end_of_an_earlier_segment(tmp_path: Path, part: int) -> None:
    """Writes into two segments were under way: it is no loss either, and is not there at any later start."""
    disk = tmp_path / "disk"
    disk.mkdir()
    things = [made(seed, MIB) for seed in range(5)]
    async with running(disk) as store:
        for thing in things:
            await put(store, thing)
        last = max((entry.position, key) for key, entry in store.page(b"", 10)[0] if entry.position >> 32 == 1)
        crashed = snapshot(disk, tmp_path / "crashed")
    with segments(crashed)[0].open("r+b") as file:
        file.seek((last[0] & 0xFFFF_FFFF) + part)
        file.write(b"\xff" * 4096)
    rest = [thing for thing in things if thing.stored.key != last[1]]
    async with running(crashed) as store:
        await assert_holds(store, rest)
        assert store.health.lost_count == 0
    remove_index(crashed)
    async with running(crashed) as store:
        await assert_holds(store, rest)
        assert store.health.lost_count == 0


@pytest.mark.parametrize("offset", [10, 4096 + 10])
async def test_an_acknowledged_record_at_the_end_is_never_cut_off(tmp_path: Path, offset: int) -> None:
    """A row may point behind the mark. If what it points to is damaged, its place is not given to others."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with running(disk) as store:
        await put(store, THINGS[0])
        await put(store, THINGS[1])
        position = position_in(store, THINGS[1])
        store._index.flush(position)
        await store._checkpointer._kv.checkpoint({})
        crashed = snapshot(disk, tmp_path / "crashed")
    with segments(crashed)[0].open("r+b") as file:
        file.seek(position + offset & 0xFFFF_FFFF)
        file.write(b"\xff")
    async with running(crashed) as store:
        assert store.health.lost_count == 1
        assert not (await store.verify(THINGS[1].oid)).header_ok or (await store.verify(THINGS[1].oid)).bad_blocks
        await put(store, THINGS[2])
        await put(store, THINGS[3])
        await store.delete([(THINGS[1].oid, 1 << 61)])
        await assert_holds(store, [THINGS[0], *THINGS[2:4]])
    async with running(crashed) as store:
        await assert_holds(store, [THINGS[0], *THINGS[2:4]])


async def test_a_gap_between_whole_records(tmp_path: Path) -> None:
    """Writes go side by side: a record may be durable and acknowledged behind one that never was. Nothing counts as lost."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with running(disk) as store:
        for thing in THINGS[:3]:
            await put(store, thing)
        crashed = snapshot(disk, tmp_path / "crashed")
    with segments(crashed)[0].open("r+b") as file:
        file.seek(4096 + RECORD)
        file.write(bytes(RECORD))
    async with running(crashed) as store:
        await assert_holds(store, [THINGS[0], THINGS[2]])
        assert store.health.lost_count == 0


@pytest.mark.parametrize("offset", [0, 40, 2000])
async def test_a_damaged_head_in_the_middle_costs_its_object_only(tmp_path: Path, offset: int) -> None:
    """A rebuild skips it, counts it, and finds all the others."""
    async with running(tmp_path) as store:
        for thing in THINGS:
            await put(store, thing)
    remove_index(tmp_path)
    with patched(segments(tmp_path)[0], 4096 + 4 * RECORD + offset, b"\xff"):
        async with running(tmp_path) as store:
            await assert_holds(store, THINGS[:4] + THINGS[5:])
            assert store.health.trouble == "1 objects lost to damage"


async def test_content_is_never_taken_for_a_record(tmp_path: Path) -> None:
    """An object that holds a copy of a segment: with its head damaged, the records in its content are not found."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with running(disk) as store:
        for thing in THINGS[:3]:
            await put(store, thing)
        inner = segments(disk)[0].read_bytes()[: 4096 + 3 * RECORD]
        table = block_table(inner)
        outer = Made(object_id(len(inner), table), table, inner, len(inner))
        await put(store, outer)
        await store.delete([(thing.oid, 1 << 61) for thing in THINGS[:3]])
        await put(store, THINGS[7])
    remove_index(disk)
    with patched(segments(disk)[0], 4096 + 3 * RECORD, b"\xff"):
        async with running(disk) as store:
            await assert_holds(store, [THINGS[7]])
            assert store.health.lost_count == 1


async def test_a_missing_segment_loses_its_objects_only(tmp_path: Path) -> None:
    """The index does not go on saying "held" for what is gone."""
    things = [made(seed, MIB) for seed in range(9)]
    async with running(tmp_path) as store:
        for thing in things:
            await put(store, thing)
        held: dict[int, list[Made]] = {1: [], 2: [], 3: []}
        for thing in things:
            held[position_in(store, thing) >> 32].append(thing)
    segments(tmp_path)[1].unlink()
    async with running(tmp_path) as store:
        await assert_holds(store, held[1] + held[3])
        assert store.health.lost_count == len(held[2]) > 0
    async with running(tmp_path) as store:
        assert store.health.lost_count == 0, "it was said once"
        await assert_holds(store, held[1] + held[3])


async def test_an_index_that_is_built_anew_says_so(tmp_path: Path) -> None:
    """Not on a new disk. What was in a segment that is gone as well, nobody can say: that is a reason to look for everything."""
    async with running(tmp_path) as store:
        assert (store.health.index_built_ns, store.health.loss_count) == (0, 0)
        for seed in range(9):
            await put(store, made(seed, MIB))
    async with running(tmp_path) as store:
        assert (store.health.index_built_ns, store.health.loss_count) == (0, 0)
    doubt_index(tmp_path)
    segments(tmp_path)[1].unlink()
    async with running(tmp_path) as store:
        health = store.health
        assert health.index_built_ns > 0
        assert "damaged" in health.index_fault
        assert (health.lost_count, health.loss_count) == (0, 1)
    remove_index(tmp_path)
    async with running(tmp_path) as store:
        assert store.health.index_fault == "there was none"
    async with running(tmp_path) as store:
        assert store.health.loss_count == 0, "it was said once"


async def test_the_missing_active_segment(tmp_path: Path) -> None:
    """Even the one that was appended to: puts go on in a new one."""
    async with running(tmp_path) as store:
        await put(store, THINGS[0])
    segments(tmp_path)[0].unlink()
    async with running(tmp_path) as store:
        assert store.health.lost_count == 1
        assert await put(store, THINGS[1])
    async with running(tmp_path) as store:
        await assert_holds(store, [THINGS[1]])


async def test_a_crash_between_the_steps_of_a_delete(tmp_path: Path) -> None:
    """After the checkpoint, before the holes: the next start punches them, and the object stays deleted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with running(disk) as store:
        for thing in THINGS:
            await put(store, thing)
    store = await opened(disk)
    store._index.remove(THINGS[0].stored.key)
    store._index.flush(store._log.mark)
    await store._checkpointer._kv.checkpoint({})
    crashed = snapshot(disk, tmp_path / "crashed")
    await store.close()
    async with running(crashed) as store:
        await assert_holds(store, THINGS[1:])
        assert store._index.punches == {}
    with segments(crashed)[0].open("rb") as file:
        file.seek(4096)
        assert file.read(RECORD) == bytes(RECORD)


async def test_a_crash_around_each_hole(tmp_path: Path) -> None:
    """A hole is punched only when no durable row points to it: a crash just before or after finds nothing held that is gone."""
    disk = tmp_path / "disk"
    disk.mkdir()
    faults = Faults()
    copies: list[Path] = []

    def crash() -> None:
        copies.append(snapshot(disk, tmp_path / f"crashed{len(copies)}"))

    async with running(disk, faults=faults) as store:
        for thing in THINGS[:4]:
            await put(store, thing)
        await put(store, THINGS[1])
        faults.around_punch = crash
        await store.delete([(THINGS[1].oid, 1 << 61), (THINGS[2].oid, 1 << 61)])
    assert len(copies) == 6
    for copy in copies:
        async with running(copy) as store:
            await assert_holds(store, [THINGS[0], THINGS[3]])


async def test_an_unknown_old_segment_is_taken_up(tmp_path: Path) -> None:
    """A segment file that the index does not know is scanned, wherever its number stands."""
    async with running(tmp_path) as store:
        for seed in range(9):
            await put(store, made(seed, MIB))
        before = store.page(b"", 1000)
        number = 1
        for key, entry in before[0]:
            if entry.position >> 32 == number:
                store._index.remove(key)
        store._index.forget_punches(list(store._index.punches))
        store._index.segments.pop(number)
        store._index._changed.add(number)
    async with running(tmp_path) as store:
        assert store.page(b"", 1000) == before


async def test_concurrent_puts_and_a_crash_at_any_moment(tmp_path: Path) -> None:
    """Copies of the disk taken while puts and deletes run: what had been acknowledged by then is held in each of them."""
    disk = tmp_path / "disk"
    disk.mkdir()
    acknowledged: list[Made] = []
    async with running(disk) as store:

        async def put_some(start: int) -> None:
            for seed in range(start, start + 10):
                thing = made(seed, 20_000 + seed)
                await put(store, thing)
                acknowledged.append(thing)

        async with trio.open_nursery() as nursery:
            for start in (0, 100, 200, 300):
                nursery.start_soon(put_some, start)
            for number in range(5):
                while len(acknowledged) < number * 8:
                    await trio.lowlevel.checkpoint()
                held = list(acknowledged)
                crashed = await trio.to_thread.run_sync(snapshot, disk, tmp_path / f"crashed{number}")
                async with running(crashed) as copy:
                    for thing in held:
                        assert await content_of(copy, thing) == thing.content


@pytest.mark.parametrize("has_index", [True, False])
async def test_a_segment_that_was_cut_short(tmp_path: Path, has_index: bool) -> None:
    """What lay before the cut is held, what it went through or lay behind it is lost, and said to be; the store goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    async with running(disk) as store:
        for thing in THINGS:
            await put(store, thing)
        cut = position_in(store, THINGS[7]) % (1 << 32) + 5000
    os.truncate(segments(disk)[0], cut)
    if not has_index:
        remove_index(disk)
    async with running(disk) as store:
        await assert_holds(store, THINGS[:7])
        assert store.health.lost_count >= 1
        for thing in THINGS:
            await put(store, thing)
        await assert_holds(store, THINGS)
    async with running(disk) as store:
        await assert_holds(store, THINGS)
