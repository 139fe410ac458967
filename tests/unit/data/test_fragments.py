"""Fragments in the store: every part by itself, beside others of its object; gets that name a part or none; dropping; rot."""

import itertools
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.base.errors import Code, Refused
from ringfs.data.store import Got, ObjectStore
from ringfs.data.stored_part import Tables
from ringfs.ring.parts import COPY, Part
from tests.support.stores import Made, TickingClock, any_part, content_of, fragment_of, made, put, running

BLOCK = 65536
#: 13 blocks: under ec:4+2 fragments of 4, 4, 4 and 1 blocks, parity of 4.
THING = made(1, 12 * BLOCK + 100)
PARTS = [THING, *(fragment_of(THING, 4, 2, number) for number in range(6))]


async def code_of(store: ObjectStore, part: Part | None, first_block: int, block_count: int = 1, thing: Made = THING) -> Code:
    """Why a get is refused; it must be."""
    with pytest.raises(Refused) as refused:
        await store.get(thing.oid, part, first_block, block_count)
    return refused.value.code


async def test_parts_of_one_object_are_held_by_themselves(tmp_path: Path) -> None:
    """Each is fresh once, found again after starts with and without the index, listed in order, verified."""
    for start in ("first", "again", "rebuilt"):
        if start == "rebuilt":
            shutil.rmtree(tmp_path / "index")
        async with running(tmp_path) as store:
            if start == "first":
                assert [await put(store, each) for each in PARTS] == [True] * 7
                assert [await put(store, each) for each in PARTS] == [False] * 7
            assert [key for key, _ in store.page(b"", 100)[0]] == [each.stored.key for each in PARTS]
            assert [key for key, _ in store.parts(THING.oid)] == [each.stored.key for each in PARTS]
            for each in PARTS:
                assert await content_of(store, each) == each.content
                assert (await store.verify(each.oid, each.part)).is_intact
            assert store.figures().part_count == 7


async def test_pages_begin_behind_a_part_or_an_object(tmp_path: Path) -> None:
    """After an id and a part: the next part; after an id alone: the next object."""
    other = min((made(seed, 100) for seed in range(2, 50)), key=lambda each: each.oid if each.oid > THING.oid else b"\xff")
    async with running(tmp_path) as store:
        for each in [*PARTS, other]:
            await put(store, each)
        assert store.page(PARTS[2].stored.key, 2) == (store.page(b"", 5)[0][3:], True)
        assert [key for key, _ in store.page(THING.oid, 10)[0]] == [other.stored.key]


async def test_empty_fragments(tmp_path: Path) -> None:
    """Behind the object's end a data fragment has no bytes: it is held, listed, got and verified all the same."""
    small = made(3, BLOCK + 1)
    empty = fragment_of(small, 4, 2, 2)
    assert empty.content == b""
    async with running(tmp_path) as store:
        assert await put(store, empty)
    async with running(tmp_path) as store:
        assert not await put(store, empty)
        assert store.get_now(small.oid, empty.part, 0, 5) == await store.get(small.oid, empty.part, 0, 5)
        assert await content_of(store, empty) == b""
        assert (await store.verify(small.oid, empty.part)).is_intact
        assert await code_of(store, empty.part, 1, thing=small) is Code.INVALID
        assert await store.delete([(small.oid, 1 << 61)]) == [True]
        assert store.figures().used_bytes == 0


async def both_ways(store: ObjectStore, part: Part | None, first_block: int, block_count: int) -> Got:
    """What get() says; if get_now() says anything, it is the same."""
    got = await store.get(THING.oid, part, first_block, block_count)
    assert store.get_now(THING.oid, part, first_block, block_count) in (None, got)
    return got


async def test_gets_of_a_part(tmp_path: Path) -> None:
    """Blocks count from the part's beginning and end with it; other parts do not stand in for it."""
    async with running(tmp_path) as store:
        for each in PARTS[1:]:
            await put(store, each)
    async with running(tmp_path) as store:
        for each, first, count in itertools.product(PARTS[1:], (0, 1, 3), (0, 1, 2, 128)):
            if first and first * BLOCK >= len(each.content):
                assert await code_of(store, each.part, first, count) is Code.INVALID
                continue
            got = await both_ways(store, each.part, first, count)
            assert (got.stored, got.tables) == (each.stored, each.tables)
            assert got.content == each.content[first * BLOCK : (first + count) * BLOCK]
        assert await code_of(store, COPY, 0) is Code.NOT_HELD
        assert await code_of(store, Part(2, 1, 0), 0) is Code.NOT_HELD


async def test_gets_of_the_object(tmp_path: Path) -> None:
    """Without a part: blocks of the object, from the fragment that has all of them; else the table and no bytes."""
    async with running(tmp_path) as store:
        await put(store, PARTS[6])
        got = await both_ways(store, None, 0, 1)
        assert (got.stored, got.tables, len(got.content)) == (PARTS[6].stored, PARTS[6].tables, 0)
        await put(store, PARTS[2])
        await put(store, PARTS[4])
        for first, count, held in [(4, 4, 2), (5, 2, 2), (12, 1, 4), (12, 50, 4), (7, 2, 0), (0, 1, 0), (8, 5, 0)]:
            got = await both_ways(store, None, first, count)
            assert got.content == (THING.content[first * BLOCK : (first + count) * BLOCK] if held else b"")
            assert got.stored == PARTS[held or 2].stored
        assert await code_of(store, None, 13) is Code.INVALID
        await put(store, THING)
        got = await both_ways(store, None, 7, 2)
        assert got.stored.part == COPY
        assert got.content == THING.content[7 * BLOCK : 9 * BLOCK]


async def test_puts_of_fragments_are_checked(tmp_path: Path) -> None:
    """Wrong bytes, another fragment's bytes, a wrong table, an own table that is wrong, missing or not wanted: CORRUPT."""
    data, parity = PARTS[1], PARTS[5]
    bad = bytes([parity.content[0] ^ 1]) + parity.content[1:]
    wrong = [
        (data, data.tables, PARTS[2].content),
        (data, Tables(parity.own_table + THING.table[len(parity.own_table) :]), data.content),
        (data, Tables(THING.table, parity.own_table), data.content),
        (parity, parity.tables, bad),
        (parity, Tables(THING.table), parity.content),
        (parity, Tables(THING.table, parity.own_table[:-20]), parity.content),
        (parity, Tables(THING.table[:-20], parity.own_table), parity.content),
    ]
    async with running(tmp_path) as store:
        for each, tables, content in wrong:
            with pytest.raises(Refused) as refused:
                await store.put(each.stored, tables, memoryview(content))
            assert refused.value.code is Code.CORRUPT
        assert store.figures().used_bytes == store.figures().part_count == 0


async def test_other_parity_takes_the_place_of_parity(tmp_path: Path) -> None:
    """Nothing here proves which of two parity fragments is right, so the last put counts."""
    other = made(9, 4 * BLOCK)
    tables = Tables(THING.table, other.table)
    async with running(tmp_path) as store:
        await put(store, PARTS[5])
        assert await store.put(PARTS[5].stored, tables, memoryview(other.content))
        got = await store.get(THING.oid, PARTS[5].part, 0, 128)
        assert got.tables == tables
        assert got.content == other.content
        assert store.health.trouble == ""


async def test_delete_and_drop(tmp_path: Path) -> None:
    """Delete takes all parts that are not newer than the verdict; drop takes the parts named, unless they were put again since."""
    clock = TickingClock()
    async with running(tmp_path, clock=clock) as store:
        for each in PARTS[:4]:
            await put(store, each)
        births = {key: entry.birth_ns for key, entry in store.parts(THING.oid)}
        await put(store, PARTS[2])
        assert await store.drop([(key, births[key]) for key in list(births)[:3]]) == 2
        assert [key for key, _ in store.parts(THING.oid)] == [PARTS[2].stored.key, PARTS[3].stored.key]
        assert await store.drop([(PARTS[0].stored.key, births[PARTS[0].stored.key])]) == 1, "it is gone already"
        assert await store.delete([(THING.oid, births[PARTS[2].stored.key])]) == [False]
        assert await store.delete([(THING.oid, births[PARTS[3].stored.key])]) == [True]
        assert await store.delete([(THING.oid, 1 << 61)]) == [True]
        assert store.figures().used_bytes == 0
    shutil.rmtree(tmp_path / "index")
    async with running(tmp_path) as store:
        assert store.page(b"", 10) == ([], False)


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize(("offset", "bad_blocks"), [(8192 + 5, [0]), (8192 + 3 * BLOCK, [3]), (4096 + 96, None)])
async def test_rot(tmp_path: Path, number: int, offset: int, bad_blocks: list[int] | None) -> None:
    """A bad block of data or parity is named by its number in the part; a bad table is a bad head. A put heals it."""
    each = fragment_of(THING, 4, 2, number)
    async with running(tmp_path) as store:
        await put(store, each)
        flip(tmp_path, offset)
        findings = await store.verify(THING.oid, each.part)
        assert (findings.header_ok, findings.bad_blocks) == (bad_blocks is not None, bad_blocks or [])
    async with running(tmp_path) as store:
        assert await code_of(store, each.part, 0, 128) is Code.CORRUPT
        assert await put(store, each)
        assert await content_of(store, each) == each.content


async def test_a_parity_fragment_needs_its_whole_head(tmp_path: Path) -> None:
    """Its own table is proven by nothing else: a flipped bit in it is CORRUPT, not other bytes."""
    async with running(tmp_path) as store:
        await put(store, PARTS[5])
    flip(tmp_path, 4096 + 96 + 13 * 20 + 7)
    async with running(tmp_path) as store:
        for count in (0, 1, 128):
            assert await code_of(store, PARTS[5].part, 0, count) is Code.CORRUPT
        assert not (await store.verify(THING.oid, PARTS[5].part)).header_ok


def flip(directory: Path, offset: int) -> None:
    """One bit of the first segment."""
    (segment,) = (directory / "segments").iterdir()
    with segment.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 8]), offset)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
async def test_any_parts_are_recovered_as_they_were_put(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever parts of whatever objects are put, renewed and deleted: a crash leaves them as acknowledged, with the index or
    without."""
    disk = tmp_path_factory.mktemp("disk")
    sizes = data.draw(st.lists(st.sampled_from([1, 4096, BLOCK, BLOCK + 1, 5 * BLOCK, 9 * BLOCK - 1]), min_size=1, max_size=4))
    wholes = [made(number, size) for number, size in enumerate(sizes)]
    forms = st.sampled_from([(0, 0), (2, 1), (4, 2), (7, 3)])
    held: dict[bytes, Made] = {}
    chance = random.Random(data.draw(st.integers(0, 1 << 30)))
    async with running(disk) as store:
        for _ in range(data.draw(st.integers(1, 12))):
            whole, (k, m) = chance.choice(wholes), data.draw(forms)
            part = fragment_of(whole, k, m, chance.randrange(k + m)) if k else whole
            assert await put(store, part) == (part.stored.key not in held)
            held[part.stored.key] = part
            if chance.random() < 0.2:
                assert await store.delete([(whole.oid, 1 << 61)]) == [True]
                held = {key: each for key, each in held.items() if each.oid != whole.oid}
        crashed = Path(shutil.copytree(disk, disk.with_name(disk.name + "-crashed")))
    for rebuild in (False, True):
        if rebuild:
            shutil.rmtree(crashed / "index")
        async with running(crashed) as store:
            assert [key for key, _ in store.page(b"", 1000)[0]] == sorted(held)
            for part in held.values():
                assert await content_of(store, part) == part.content
            assert store.health.trouble == ""


def test_any_part_is_always_the_same() -> None:
    """What the crash tests rely on."""
    assert {any_part(made(seed, 70_000)).part.form for seed in range(40)} == {"", "ec:2+1", "ec:4+2", "ec:8+3"}
    assert any_part(made(5, 70_000)) == any_part(made(5, 70_000))
