"""The block cache: verified bytes of immutable objects, bounded, fetched once however many readers wait for them.

Keyed by object and place in it, so nothing here ever becomes stale. No task per fetch: whoever waits is called back.
"""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from ringfs.base.errors import Refused, again
from ringfs.base.limits import BLOCK_BYTES
from ringfs.base.lru import BoundedCache
from ringfs.client.later import Later
from ringfs.objects.objects import OnContent

log = structlog.get_logger("ringfs.client.blocks")

#: Streams fetch whole units; random reads single blocks.
UNIT_BLOCKS = 16
UNIT_BYTES = UNIT_BLOCKS * BLOCK_BYTES
#: Fetches ahead of a reader that may be under way at once.
_AHEAD_MAX = 16

#: fetch_soon(object, first_block, block_count, on_content) gets verified bytes of whole blocks.
FetchSoon = Callable[[bytes, int, int, OnContent], None]
Key = tuple[bytes, int, int]


class BlockCache:
    """See the module."""

    def __init__(self, fetch_soon: FetchSoon, bytes_max: int) -> None:
        self._fetch_soon = fetch_soon
        #: (object, first block, block count) → bytes; count is UNIT_BLOCKS for whole units (shorter at an object's end), else 1.
        self._cache: BoundedCache[Key, memoryview] = BoundedCache(bytes_max)
        #: Who waits for what is being fetched.
        self._under_way: dict[Key, list[OnContent]] = {}

    @property
    def size_bytes(self) -> int:
        """What it holds now."""
        return self._cache.size_bytes

    def cached(self, oid: bytes, start: int, stop: int) -> memoryview | None:
        """Bytes start … stop-1 of an object if they lie within one cached unit or block."""
        block = start // BLOCK_BYTES
        unit = block - block % UNIT_BLOCKS
        key = (oid, unit, UNIT_BLOCKS)
        found = self._cache.get(key)
        base = unit * BLOCK_BYTES
        if found is None:
            found = self._cache.get((oid, block, 1))
            base = block * BLOCK_BYTES
        elif stop == base + len(found):
            # A stream has passed it: it goes before what was fetched ahead and nobody has read yet.
            self._cache.demote(key)
        if found is None or stop > base + len(found):
            return None
        return found[start - base : stop - base]

    def peek(self, oid: bytes, first_block: int, block_count: int) -> memoryview | None:
        """Exactly these blocks of an object, if they are one cached unit or block."""
        found = self._cache.get((oid, first_block, 1 if block_count == 1 else UNIT_BLOCKS))
        return found if found is not None and len(found) > (block_count - 1) * BLOCK_BYTES >= len(found) - BLOCK_BYTES else None

    def remember(self, oid: bytes, parts: Sequence[memoryview]) -> None:
        """Keep a copy of an object that was just put: small files are often read soon after they were written."""
        whole = memoryview(b"".join(parts))
        for start in range(0, len(whole), UNIT_BYTES):
            unit = memoryview(bytes(whole[start : start + UNIT_BYTES]))
            self._cache.put(_key(oid, start, stream=True), unit, len(unit))

    async def read(self, oid: bytes, start: int, stop: int, *, stream: bool) -> list[memoryview]:
        """The buffers that make up start … stop-1, fetched as needed: whole units for a stream, else blocks. Raises Refused."""
        parts: list[memoryview | Refused | None] = []
        missing: list[tuple[int, int, int]] = []
        while start < stop:
            step = UNIT_BYTES if stream else BLOCK_BYTES
            edge = min(stop, start - start % step + step)
            part = self.cached(oid, start, edge)
            if part is None and stop - start > BLOCK_BYTES and not stream:
                stream = True
                continue
            if part is None:
                missing.append((len(parts), start, edge))
            parts.append(part)
            start = edge
        if missing:
            await self._fill(oid, parts, missing, stream=stream)
        return [_or_raised(part) for part in parts]

    async def _fill(
        self, oid: bytes, parts: list[memoryview | Refused | None], missing: list[tuple[int, int, int]], *, stream: bool
    ) -> None:
        """Fetch the missing parts (index, start, stop), all at once."""
        left = len(missing)
        filled: Later[None] = Later()

        def fill(index: int, part: memoryview | Refused) -> None:
            nonlocal left
            parts[index] = part
            left -= 1
            if not left:
                filled.arrive(None)

        for index, start, stop in missing:
            self.get_soon(oid, start, stop, partial(fill, index), stream=stream)
        await filled.wait()

    def get_soon(self, oid: bytes, start: int, stop: int, on_part: OnContent, *, stream: bool) -> None:
        """Fetch bytes start … stop-1, which lie within one unit if it is a stream's, else within one block."""
        key = _key(oid, start, stream=stream)
        unit = _key(oid, start, stream=True)

        def arrived(base: int, content: memoryview | Refused) -> None:
            on_part(content if isinstance(content, Refused) else content[start - base : stop - base])

        def joined(base: int, content: memoryview | Refused) -> None:
            if isinstance(content, Refused):
                # That was somebody else's attempt: this reader makes one of its own.
                self._want(key, partial(arrived, key[1] * BLOCK_BYTES))
            else:
                arrived(base, content)

        for coming in (unit, key):
            if coming in self._under_way:
                self._want(coming, partial(joined, coming[1] * BLOCK_BYTES))
                return
        self._want(key, partial(arrived, key[1] * BLOCK_BYTES))

    def prefetch(self, oid: bytes, start: int) -> bool:
        """Begin to fetch the unit that holds byte start, unless it is here or coming. False if too much is under way."""
        key = _key(oid, start, stream=True)
        if key in self._under_way or key in self._cache:
            return True
        if len(self._under_way) >= _AHEAD_MAX:
            return False
        self._want(key, partial(_came_ahead, oid))
        return True

    def _want(self, key: Key, on_content: OnContent) -> None:
        waiting = self._under_way.get(key)
        if waiting is not None:
            waiting.append(on_content)
            return
        self._under_way[key] = [on_content]
        self._fetch_soon(*key, partial(self._arrived, key))

    def _arrived(self, key: Key, content: memoryview | Refused) -> None:
        waiting = self._under_way.pop(key)
        if not isinstance(content, Refused):
            self._cache.put(key, content, len(content))
        for on_content in waiting:
            on_content(content)


def _came_ahead(oid: bytes, content: memoryview | Refused) -> None:
    if isinstance(content, Refused):
        # Nobody asked yet: whoever does will fetch it again and get the refusal.
        log.info("read-ahead failed", object=oid.hex(), reason=str(content))


def _or_raised(part: memoryview | Refused | None) -> memoryview:
    assert part is not None, "every part was filled"
    if isinstance(part, Refused):
        raise again(part)
    return part


def _key(oid: bytes, start: int, *, stream: bool) -> Key:
    block = start // BLOCK_BYTES
    return (oid, block - block % UNIT_BLOCKS, UNIT_BLOCKS) if stream else (oid, block, 1)
