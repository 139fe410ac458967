"""A BlockCache's fetch from a coroutine function, as tests like to write it."""

from collections.abc import Awaitable, Callable

import trio

from ringfs.base.errors import Refused
from ringfs.client.blocks import FetchSoon
from ringfs.objects.objects import OnContent


def fetched_by(fetch: Callable[[bytes, int, int], Awaitable[memoryview]], nursery: trio.Nursery) -> FetchSoon:
    """Each fetch is a task in nursery."""

    async def run(oid: bytes, first_block: int, block_count: int, on_content: OnContent) -> None:
        try:
            content: memoryview | Refused = await fetch(oid, first_block, block_count)
        except Refused as refused:
            content = refused
        on_content(content)

    def soon(oid: bytes, first_block: int, block_count: int, on_content: OnContent) -> None:
        nursery.start_soon(run, oid, first_block, block_count, on_content)

    return soon
