"""What failed leaves nothing in memory: errors are data, and data holds no frames, which would hold buffers until the collector of
cycles comes by. In a mount that is seldom; two lost nodes once cost one 400 MiB of fragments that nobody wanted any more."""

import gc
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import MIB
from ringfs.objects.decoding import Gathering
from ringfs.objects.racing import Failed, Race
from tests.support.nodes import MemoryNode
from tests.support.shelf import Shelf, empty, fail, fill, shelf, spoil_content

CONTENT = random.Random(4).randbytes(2 * MIB)
KINDS = (Race, Gathering, Failed, Refused, ConnectionLost)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only what nothing refers to any more is freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left() -> list[Any]:
    """What there is of those that failed, or held what others asked for."""
    return [each for each in gc.get_objects() if isinstance(each, KINDS)]


async def read_all(at: Shelf, oid: bytes) -> list[type]:
    """Fetch every block, twice: the types of what came."""
    return [type(await at.fetched(oid, first, 8)) for _ in range(2) for first in range(0, 32, 8)]


@pytest.mark.parametrize("spoil", [empty, fail, spoil_content])
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_reads(count: int, spoil: Callable[[MemoryNode], None], no_collector: None, autojump_clock: Any) -> None:
    """Decoded, or refused with three of six gone."""
    before = left()
    async with shelf(6, default_class="ec:4+2") as at:
        oid = await at.put(CONTENT, "ec:4+2")
        for node in at.order(CONTENT)[:count]:
            spoil(node)
        assert set(await read_all(at, oid)) == ({memoryview} if count < 3 else {memoryview, Refused})
        # What is still on its way may end.
        await trio.sleep(60)
        assert left() == before


async def test_puts(no_collector: None, autojump_clock: Any) -> None:
    """Refused: nobody has room."""
    before = left()
    async with shelf(6, default_class="ec:4+2") as at:
        for node in at.nodes.values():
            fill(node)
        with pytest.raises(Refused):
            await at.put(CONTENT, "ec:4+2")
        await trio.sleep(60)
        assert left() == before
