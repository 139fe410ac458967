"""A flipped bit anywhere in a record, or a truncated segment: never wrong bytes, and verify says what is wrong."""

from pathlib import Path

import pytest

from ringfs.base.errors import Code, Refused
from ringfs.data.store import ObjectStore
from tests.support.stores import Made, content_of, made, put, running

BLOCK = 65536
THING = made(1, 3 * BLOCK + 100)
NEIGHBOUR = made(2, BLOCK)
#: The record stands first in the first segment.
RECORD = 4096
CONTENT = RECORD + 4096


def flip(directory: Path, offset: int, bit: int = 3) -> None:
    """One bit of the first segment."""
    (segment,) = (directory / "segments").iterdir()
    with segment.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


async def got(store: ObjectStore, thing: Made, first: int = 0, count: int = 128) -> bytes | Code:
    """The bytes, or why not."""
    try:
        return bytes((await store.get(thing.oid, thing.part, first, count)).content)
    except Refused as refused:
        return refused.code


@pytest.mark.parametrize("part", [0, 8, 10, 12, 16, 24, 32, 52, 56, 60, 64, 95, 200, 4095])
async def test_head(tmp_path: Path, part: int) -> None:
    """Fields, code, padding of the head: verify reports the header; content that its id proves may still be given."""
    async with running(tmp_path) as store:
        await put(store, THING)
        flip(tmp_path, RECORD + part)
        findings = await store.verify(THING.oid)
        assert (findings.header_ok, findings.bad_blocks) == (False, [])
        assert store.health.corrupt_count == 1
    async with running(tmp_path) as store:
        assert await got(store, THING) == THING.content


@pytest.mark.parametrize("part", [96, 96 + 39, 96 + 79])
async def test_table(tmp_path: Path, part: int) -> None:
    """A wrong table proves nothing: CORRUPT whatever is asked for, once the proven one is not remembered any more."""
    async with running(tmp_path) as store:
        await put(store, THING)
    flip(tmp_path, RECORD + part)
    async with running(tmp_path) as store:
        for first, count in [(0, 128), (0, 1), (2, 1)]:
            assert await got(store, THING, first, count) is Code.CORRUPT
        findings = await store.verify(THING.oid)
        assert (findings.header_ok, findings.bad_blocks) == (False, [])
        assert "4 reads of corrupt objects" in store.health.trouble


@pytest.mark.parametrize(("offset", "block"), [(0, 0), (BLOCK - 1, 0), (BLOCK, 1), (3 * BLOCK + 99, 3)])
async def test_content(tmp_path: Path, offset: int, block: int) -> None:
    """A wrong block is refused, the others are given; verify names it."""
    async with running(tmp_path) as store:
        await put(store, THING)
        flip(tmp_path, CONTENT + offset)
        assert await got(store, THING) is Code.CORRUPT
        for index in range(4):
            expected = Code.CORRUPT if index == block else THING.content[index * BLOCK : (index + 1) * BLOCK]
            assert await got(store, THING, index, 1) == expected
        findings = await store.verify(THING.oid)
        assert (findings.header_ok, findings.bad_blocks) == (True, [block])


async def test_padding(tmp_path: Path) -> None:
    """The zeros behind the content are no part of the object, but verify sees them."""
    async with running(tmp_path) as store:
        await put(store, THING)
        flip(tmp_path, CONTENT + 3 * BLOCK + 100)
        assert await got(store, THING) == THING.content
        findings = await store.verify(THING.oid)
        assert (findings.header_ok, findings.bad_blocks) == (False, [])


async def test_several_bad_blocks(tmp_path: Path) -> None:
    """Verify names all of them."""
    async with running(tmp_path) as store:
        await put(store, THING)
        flip(tmp_path, CONTENT + 5)
        flip(tmp_path, CONTENT + 2 * BLOCK + 5)
        assert (await store.verify(THING.oid)).bad_blocks == [0, 2]


@pytest.mark.parametrize("keep", [RECORD + 100, CONTENT, CONTENT + BLOCK + 10])
async def test_truncated_segment(tmp_path: Path, keep: int) -> None:
    """What lies behind the cut is CORRUPT, and lost from the next start on, which says so; the node goes on taking puts."""
    async with running(tmp_path) as store:
        await put(store, THING)
        (segment,) = (tmp_path / "segments").iterdir()
        with segment.open("r+b") as file:
            file.truncate(keep)
        assert await got(store, THING) is Code.CORRUPT
    async with running(tmp_path) as store:
        assert await got(store, THING) is Code.NOT_HELD
        assert store.health.lost_count == 1
        assert await put(store, NEIGHBOUR)
        assert await content_of(store, NEIGHBOUR) == NEIGHBOUR.content
        assert await put(store, THING)
        assert await content_of(store, THING) == THING.content


async def test_damaged_segment_header(tmp_path: Path) -> None:
    """Without it nobody knows whether the segment was cut short; nothing else depends on it while the disk's identity is there."""
    async with running(tmp_path) as store:
        await put(store, THING)
    flip(tmp_path, 20)
    for path in (tmp_path / "index").iterdir():
        path.unlink()
    async with running(tmp_path) as store:
        assert await content_of(store, THING) == THING.content
