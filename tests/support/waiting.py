"""Waiting in a test for what other tasks, threads or processes bring about."""

import time
from collections.abc import Callable
from typing import TypeVar

import trio

Found = TypeVar("Found")

#: What has not come by then does not come: a machine that has five times as much to do, or stands still for seconds, is only late.
PATIENCE_S = 120.0
_PAUSE_S = 0.1


async def until(condition: Callable[[], object]) -> None:
    """Let others run until it holds; the caller bounds it with trio.fail_after. Not for tests under a virtual clock."""
    while not condition():
        await trio.lowlevel.checkpoint()


def wait_for(look: Callable[[], Found], is_it: Callable[[Found], object] = bool, patience_s: float = PATIENCE_S) -> Found:
    """What a look shows once it is it. Other processes bring it about. AssertionError if they do not."""
    deadline_s = time.monotonic() + patience_s
    while not is_it(found := look()):
        assert time.monotonic() < deadline_s, f"after {patience_s:g} s still {found}"
        time.sleep(_PAUSE_S)
    return found
