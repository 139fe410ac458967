"""The block cache: verified bytes of immutable objects, bounded, fetched once however many readers wait for them.

Keyed by object and place in it, so nothing here ever becomes stale.
"""

from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from ringfs.base.errors import Refused
from ringfs.base.limits import BLOCK_BYTES
from ringfs.client.lru import BoundedCache

log = structlog.get_logger("ringfs.client.blocks")

#: Streams fetch whole units; random reads single blocks.
UNIT_BLOCKS = 16
UNIT_BYTES = UNIT_BLOCKS * BLOCK_BYTES
#: Fetches ahead of a reader that may be under way at once.
_AHEAD_MAX = 16

Fetch = Callable[[bytes, int, int], Awaitable[memoryview]]
Key = tuple[bytes, int, int]


class BlockCache:
    """`fetch(object, first_block, block_count)` gives verified bytes or raises Refused."""

    def __init__(self, fetch: Fetch, bytes_max: int, nursery: trio.Nursery) -> None:
        self._fetch = fetch
        self._nursery = nursery
        #: (object, first block, block count) → bytes; count is UNIT_BLOCKS for whole units (shorter at an object's end), else 1.
        self._cache: BoundedCache[Key, memoryview] = BoundedCache(bytes_max)
        self._under_way: dict[Key, trio.Event] = {}

    @property
    def size_bytes(self) -> int:
        """What it holds now."""
        return self._cache.size_bytes

    def cached(self, oid: bytes, start: int, stop: int) -> memoryview | None:
        """Bytes start … stop-1 of an object if they lie within one cached unit or block."""
        block = start // BLOCK_BYTES
        unit = block - block % UNIT_BLOCKS
        found = self._cache.get((oid, unit, UNIT_BLOCKS))
        base = unit * BLOCK_BYTES
        if found is None:
            found = self._cache.get((oid, block, 1))
            base = block * BLOCK_BYTES
        if found is None or stop > base + len(found):
            return None
        return found[start - base : stop - base]

    def remember(self, oid: bytes, parts: Sequence[memoryview]) -> None:
        """Keep a copy of an object that was just put: small files are often read soon after they were written."""
        whole = memoryview(b"".join(parts))
        for start in range(0, len(whole), UNIT_BYTES):
            unit = memoryview(bytes(whole[start : start + UNIT_BYTES]))
            self._cache.put(_key(oid, start, stream=True), unit, len(unit))

    async def read(self, oid: bytes, start: int, stop: int, *, stream: bool) -> list[memoryview]:
        """The buffers that make up start … stop-1, fetched as needed: whole units for a stream, else single blocks."""
        parts = []
        while start < stop:
            step = UNIT_BYTES if stream else BLOCK_BYTES
            edge = min(stop, start - start % step + step)
            part = self.cached(oid, start, edge)
            if part is None and stop - start > BLOCK_BYTES and not stream:
                stream = True
                continue
            if part is None:
                part = await self._get(oid, start, edge, stream=stream)
            parts.append(part)
            start = edge
        return parts

    async def _get(self, oid: bytes, start: int, stop: int, *, stream: bool) -> memoryview:
        key = _key(oid, start, stream=stream)
        whole_unit = _key(oid, start, stream=True)
        while True:
            waiting = self._under_way.get(whole_unit, self._under_way.get(key))
            if waiting is None:
                content = await self._load(key)
                base = key[1] * BLOCK_BYTES
                return content[start - base : stop - base]
            await waiting.wait()
            part = self.cached(oid, start, stop)
            if part is not None:
                return part

    async def _load(self, key: Key) -> memoryview:
        event = self._under_way[key] = trio.Event()
        try:
            content = await self._fetch(*key)
            self._cache.put(key, content, len(content))
            return content
        finally:
            del self._under_way[key]
            event.set()

    def prefetch(self, oid: bytes, start: int) -> bool:
        """Begin to fetch the unit that holds byte start, unless it is here or coming. False if too much is under way."""
        key = _key(oid, start, stream=True)
        if key in self._under_way or self._cache.get(key) is not None:
            return True
        if len(self._under_way) >= _AHEAD_MAX:
            return False
        self._under_way[key] = trio.Event()
        self._nursery.start_soon(self._ahead, key)
        return True

    async def _ahead(self, key: Key) -> None:
        event = self._under_way[key]
        try:
            content = await self._fetch(*key)
            self._cache.put(key, content, len(content))
        except Refused as refused:
            # Nobody asked yet: whoever does will fetch it again and get the refusal.
            log.info("read-ahead failed", object=key[0].hex(), reason=str(refused))
        finally:
            del self._under_way[key]
            event.set()


def _key(oid: bytes, start: int, *, stream: bool) -> Key:
    block = start // BLOCK_BYTES
    return (oid, block - block % UNIT_BLOCKS, UNIT_BLOCKS) if stream else (oid, block, 1)
