"""The block cache: right bytes whatever is asked, one fetch for many readers, bounded."""

import random

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES
from ringfs.client.blocks import UNIT_BLOCKS, UNIT_BYTES, BlockCache
from tests.support.fetching import fetched_by

_OID = b"o" * 20
_CONTENT = random.Random(1).randbytes(2 * UNIT_BYTES + BLOCK_BYTES + 17)


class _Fetcher:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.refuse = False

    async def __call__(self, oid: bytes, first_block: int, block_count: int) -> memoryview:
        self.calls.append((first_block, block_count))
        await trio.sleep(1)
        if self.refuse:
            raise Refused(Code.IO)
        return memoryview(_CONTENT)[first_block * BLOCK_BYTES : (first_block + block_count) * BLOCK_BYTES]


async def test_any_range_is_right(autojump_clock: trio.testing.MockClock) -> None:
    """Streams and random reads of any range give the object's bytes."""
    draw = random.Random(2)
    fetch = _Fetcher()
    async with trio.open_nursery() as nursery:
        cache = BlockCache(fetched_by(fetch, nursery), 3 * UNIT_BYTES)
        for _ in range(60):
            start = draw.randrange(len(_CONTENT))
            stop = min(len(_CONTENT), start + draw.choice([1, 100, BLOCK_BYTES, 3 * BLOCK_BYTES, UNIT_BYTES]))
            parts = await cache.read(_OID, start, stop, stream=draw.random() < 0.5)
            assert b"".join(parts) == _CONTENT[start:stop]
            assert cache.size_bytes <= 3 * UNIT_BYTES


async def test_exactly_what_is_cached_can_be_peeked_at(autojump_clock: trio.testing.MockClock) -> None:
    """Whole units and single blocks, also the last ones, which are shorter; nothing else, and nothing that is not there."""
    async with trio.open_nursery() as nursery:
        cache = BlockCache(fetched_by(_Fetcher(), nursery), 3 * UNIT_BYTES)
        await cache.read(_OID, 0, 10, stream=True)
        await cache.read(_OID, 2 * UNIT_BYTES, len(_CONTENT), stream=True)
        await cache.read(_OID, UNIT_BYTES, UNIT_BYTES + 1, stream=False)
    assert bytes(cache.peek(_OID, 0, UNIT_BLOCKS) or b"") == _CONTENT[:UNIT_BYTES]
    assert bytes(cache.peek(_OID, 2 * UNIT_BLOCKS, 2) or b"") == _CONTENT[2 * UNIT_BYTES :]
    assert bytes(cache.peek(_OID, UNIT_BLOCKS, 1) or b"") == _CONTENT[UNIT_BYTES:][:BLOCK_BYTES]
    for first, count in ((0, 1), (0, 8), (1, 1), (2 * UNIT_BLOCKS, 1), (2 * UNIT_BLOCKS, 3), (UNIT_BLOCKS, UNIT_BLOCKS)):
        assert cache.peek(_OID, first, count) is None


async def test_readers_share_a_fetch(autojump_clock: trio.testing.MockClock) -> None:
    """Ten readers of one unit, prefetched already, cause one fetch."""
    fetch = _Fetcher()
    async with trio.open_nursery() as nursery:
        cache = BlockCache(fetched_by(fetch, nursery), 3 * UNIT_BYTES)
        assert cache.prefetch(_OID, 5)
        async with trio.open_nursery() as readers:
            for index in range(10):
                readers.start_soon(lambda at: cache.read(_OID, at, at + 10, stream=True), index * 1000)
        assert fetch.calls == [(0, UNIT_BLOCKS)]
        assert bytes(cache.cached(_OID, 0, 10) or b"") == _CONTENT[:10]


async def test_a_failed_prefetch_is_nobodys_error_and_a_failed_read_is_its_readers(autojump_clock: trio.testing.MockClock) -> None:
    """Read-ahead that fails is forgotten; the reader that asks gets the refusal, and the next one the bytes."""
    fetch = _Fetcher()
    fetch.refuse = True
    async with trio.open_nursery() as nursery:
        cache = BlockCache(fetched_by(fetch, nursery), 3 * UNIT_BYTES)
        cache.prefetch(_OID, 0)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Refused):
            await cache.read(_OID, 0, 10, stream=True)
        fetch.refuse = False
        assert b"".join(await cache.read(_OID, 0, 10, stream=True)) == _CONTENT[:10]


async def test_what_was_put_is_remembered() -> None:
    """A small object is read back without a fetch; every unit of it is found."""
    fetch = _Fetcher()
    async with trio.open_nursery() as nursery:
        cache = BlockCache(fetched_by(fetch, nursery), 3 * UNIT_BYTES)
        whole = memoryview(_CONTENT)
        cache.remember(_OID, [whole[:100], whole[100:]])
        assert (
            b"".join(await cache.read(_OID, UNIT_BYTES - 10, UNIT_BYTES + 10, stream=False))
            == _CONTENT[UNIT_BYTES - 10 : UNIT_BYTES + 10]
        )
        assert bytes(cache.cached(_OID, len(_CONTENT) - 5, len(_CONTENT)) or b"") == _CONTENT[-5:]
        assert not fetch.calls


async def test_what_a_stream_has_passed_goes_before_what_it_will_read(autojump_clock: trio.testing.MockClock) -> None:
    """A unit that was read to its end is let go of first, so that units fetched ahead are not fetched twice."""
    fetch = _Fetcher()
    async with trio.open_nursery() as nursery:
        cache = BlockCache(fetched_by(fetch, nursery), 2 * UNIT_BYTES)
        await cache.read(_OID, 0, UNIT_BYTES, stream=True)
        cache.prefetch(_OID, UNIT_BYTES)
        await trio.sleep(2)
        assert cache.cached(_OID, 0, UNIT_BYTES) is not None
        cache.prefetch(_OID, 2 * UNIT_BYTES)
        await trio.sleep(2)
        assert cache.cached(_OID, UNIT_BYTES, 2 * UNIT_BYTES) is not None
        assert len(fetch.calls) == 3
