"""Waiting in a test for what other tasks or threads bring about."""

from collections.abc import Callable

import trio


async def until(condition: Callable[[], object]) -> None:
    """Let others run until it holds; the caller bounds it with trio.fail_after. Not for tests under a virtual clock."""
    while not condition():
        await trio.lowlevel.checkpoint()
