"""Reading: whatever mix of holes, inline bytes, objects and dirty bytes a file is, what is read is the file."""

import random

import pytest
import trio

from ringfs.base.checksums import Buffer, plain_digest
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, CHUNK_BYTES, OBJECT_BYTES_MAX
from ringfs.client.blocks import BlockCache
from ringfs.client.inodes import Inode
from ringfs.client.reader import Reader, Stream
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import HOLE, INLINE, Extent
from tests.support.fetching import fetched_by
from tests.support.file_model import difference, overwritten


class Shelf:
    """Objects that blocks are fetched from, some time later."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.stored: dict[bytes, bytes] = {}
        self.fetched_bytes = 0
        self.refuse = False

    def store(self, content: bytes) -> bytes:
        """The object's id."""
        oid = plain_digest(content, 20)
        self.stored[oid] = content
        return oid

    async def fetch(self, oid: bytes, first: int, count: int) -> memoryview:
        """See BlockCache."""
        await trio.sleep(self.draw.random())
        if self.refuse:
            raise Refused(Code.IO)
        found = memoryview(self.stored[oid])[first * BLOCK_BYTES : (first + count) * BLOCK_BYTES]
        self.fetched_bytes += len(found)
        return found


def new_inode(size_bytes: int) -> Inode:
    """An inode of that size."""
    return Inode(7, Attributes(7, 0o100644, 0, 0, 1, size_bytes, size_bytes, 0, 1, 2, 3, 4, 5, 0, 0))


def random_extents(draw: random.Random, shelf: Shelf, base: int, content: bytes) -> list[Extent]:
    """Extents that stand for the bytes of content, which begin at base in the file; zeros may be a hole."""
    extents = []
    at = 0
    while at < len(content):
        length = min(draw.choice([1, 100, 5000, 70_000, 200_000]), len(content) - at)
        data = content[at : at + length]
        kind = HOLE if not any(data) else draw.choice([INLINE, 0])
        if kind == INLINE:
            extents.append(Extent(base + at, length, INLINE, data))
        elif kind == 0:
            ahead = draw.randbytes(draw.choice([0, 1, BLOCK_BYTES, 100_000]))
            oid = shelf.store(ahead + data + draw.randbytes(draw.choice([0, 1, 1000])))
            extents.append(Extent(base + at, length, len(ahead), oid))
        at += length
    return extents


@pytest.mark.parametrize("seed", range(8))
async def test_any_mix_reads_as_the_file(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Reads of any range, as a stream or not, with and without waiting, give the same bytes as a plain file."""
    draw = random.Random(seed)
    shelf = Shelf(draw)
    base = draw.choice([0, CHUNK_BYTES - 300_000])
    content = b"".join(draw.randbytes(60_000) if draw.random() < 0.7 else bytes(50_000) for _ in range(10))
    extents = random_extents(draw, shelf, base, content[: CHUNK_BYTES - base])
    extents += random_extents(draw, shelf, base + len(content[: CHUNK_BYTES - base]), content[CHUNK_BYTES - base :])
    loads: list[int] = []

    async def load(inode: Inode, first: int, count: int) -> None:
        await trio.sleep(1)
        loads.append(first)
        inside = [each for each in extents if first <= each.offset // CHUNK_BYTES < first + count]
        inode.extents.load(first, count, inside)

    inode = new_inode(base + len(content))
    now = content
    for _ in range(draw.randrange(6)):
        data = draw.randbytes(draw.choice([1, 1000, 40_000]))
        at = draw.randrange(len(content) + 10_000)
        now = overwritten(now, at, data)
        inode.dirty.live.write(base + at, data)
        if draw.random() < 0.5:
            inode.dirty.take(0, draw.randrange(base + len(now)))
            inode.dirty.take(0, 1 << 60)
    async with trio.open_nursery() as nursery:
        reader = Reader(
            BlockCache(fetched_by(shelf.fetch, nursery), draw.choice([1, 300_000, 4 << 20])), load, draw.choice([0, 1 << 20])
        )
        stream = Stream()
        for _ in range(60):
            at = draw.choice([draw.randrange(len(now) + 5000), stream.next_offset - base if stream.next_offset > base else 0])
            size_bytes = draw.choice([1, 4096, 128 * 1024, 1 << 20])
            expected = now[at : at + size_bytes]
            at_once = reader.read_nowait(inode, base + at, size_bytes, Stream())
            found = bytes(await reader.read(inode, base + at, size_bytes, stream if draw.random() < 0.7 else Stream()))
            assert not difference(found, expected), f"seed {seed}: {at} + {size_bytes}: {difference(found, expected)}"
            assert at_once is None or bytes(at_once) == expected, f"seed {seed}"
        nursery.cancel_scope.cancel()
    assert len(loads) == len(set(loads)), "what is loaded is not loaded again"


async def test_a_stream_is_read_ahead_and_once(autojump_clock: trio.testing.MockClock) -> None:
    """A sequential reader's bytes are fetched once, ahead of it, and then found without waiting."""
    draw = random.Random(1)
    shelf = Shelf(draw)
    content = draw.randbytes(OBJECT_BYTES_MAX)
    inode = new_inode(len(content))
    inode.extents.load(0, 1, [Extent(0, len(content), 0, shelf.store(content))])
    at_once = 0

    async def load(_inode: Inode, _first: int, _count: int) -> None:
        raise AssertionError("it is loaded")

    async with trio.open_nursery() as nursery:
        reader = Reader(BlockCache(fetched_by(shelf.fetch, nursery), 32 << 20), load, 4 << 20)
        stream = Stream()
        for at in range(0, len(content), 128 * 1024):
            found = reader.read_nowait(inode, at, 128 * 1024, stream)
            at_once += found is not None
            if found is None:
                found = await reader.read(inode, at, 128 * 1024, stream)
            assert bytes(found) == content[at : at + 128 * 1024]
            await trio.sleep(0.5)
    assert shelf.fetched_bytes == len(content)
    assert at_once > 50


async def test_a_file_that_is_cut_while_its_extents_are_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    """If the answer says that the file is shorter now, no zeros are read in place of what is gone."""
    inode = new_inode(100_000)

    async def load(inode: Inode, first: int, count: int) -> None:
        await trio.sleep(1)
        inode.attributes.size_bytes = 10
        inode.extents.load(first, count, [Extent(0, 10, INLINE, b"0123456789")])

    async with trio.open_nursery() as nursery:
        reader = Reader(BlockCache(fetched_by(Shelf(random.Random(1)).fetch, nursery), 1 << 20), load, 0)
        assert bytes(await reader.read(inode, 5, 50_000, Stream())) == b"56789"
        inode.extents.clear()
        inode.attributes.size_bytes = 100_000
        assert bytes(await reader.read(inode, 50, 50_000, Stream())) == b""


async def test_a_refusal_reaches_the_reader(autojump_clock: trio.testing.MockClock) -> None:
    """Bytes that cannot be had are EIO, never zeros; inline bytes beside them are still read."""
    shelf = Shelf(random.Random(1))
    inode = new_inode(200_000)
    oid = shelf.store(b"x" * 100_000)
    inode.extents.load(0, 1, [Extent(0, 100_000, 0, oid), Extent(100_000, 10, INLINE, b"0123456789")])
    shelf.refuse = True

    async def load(_inode: Inode, _first: int, _count: int) -> None:
        raise AssertionError("it is loaded")

    async with trio.open_nursery() as nursery:
        reader = Reader(BlockCache(fetched_by(shelf.fetch, nursery), 1 << 20), load, 0)
        with pytest.raises(Refused):
            await reader.read(inode, 99_990, 20, Stream())
        assert bytes(await reader.read(inode, 100_000, 12, Stream())) == b"0123456789\0\0"


async def test_a_read_without_a_task(autojump_clock: trio.testing.MockClock) -> None:
    """read_soon hands on the bytes at once if they are here, once they came if they lie in one block, and None if they cannot be
    had; what takes more than one block, or has dirty bytes in it, is left to read()."""
    shelf = Shelf(random.Random(1))
    content = random.Random(2).randbytes(40 * BLOCK_BYTES)
    inode = new_inode(len(content))
    inode.extents.load(0, 1, [Extent(0, len(content), 0, shelf.store(content))])
    got: list[bytes | None] = []

    def on_read(found: Buffer | None) -> None:
        got.append(None if found is None else bytes(found))

    async def load(_inode: Inode, _first: int, _count: int) -> None:
        raise AssertionError("it is loaded")

    async with trio.open_nursery() as nursery:
        reader = Reader(BlockCache(fetched_by(shelf.fetch, nursery), 32 << 20), load, 0)
        at = 30 * BLOCK_BYTES + 100
        assert reader.read_soon(inode, at, 50, Stream(), on_read)
        assert got == []
        await trio.sleep(2)
        assert reader.read_soon(inode, at + 1, 50, Stream(), on_read)
        assert got == [content[at : at + 50], content[at + 1 : at + 51]]
        assert not reader.read_soon(inode, 34 * BLOCK_BYTES - 10, 20, Stream(), on_read)
        shelf.refuse = True
        assert reader.read_soon(inode, 38 * BLOCK_BYTES, 10, Stream(), on_read)
        await trio.sleep(2)
        assert got[2:] == [None]
        inode.dirty.live.write(35 * BLOCK_BYTES, b"dirty")
        assert not reader.read_soon(inode, 35 * BLOCK_BYTES, 10, Stream(), on_read)
        assert reader.read_soon(inode, len(content), 10, Stream(), on_read)
        assert got[3:] == [b""]
