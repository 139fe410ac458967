"""How much room there is, in the cluster and under quotas, and whether a close should therefore wait for what is dirty."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.inodes import Inode
from ringfs.wire.messages.queries import FsFigures, StatFs

#: Less free space than this is scarce; how often we ask.
_SCARCE_BYTES = 1 << 30
_INTERVAL_S = 5.0


class Space:
    """See the module. ask: a question to the metadata service."""

    def __init__(self, ask: Callable[[Any], Awaitable[tuple[Any, int]]]) -> None:
        self._ask = ask
        #: So little is free that what is written should be flushed before a close is answered, for ENOSPC to be seen in time.
        self.is_scarce = False
        #: Some directory of the cluster has a quota.
        self._has_quotas = False

    async def figures(self, number: int) -> FsFigures:
        """Space and inodes for an inode: the cluster's, or those of the narrowest quota above it."""
        figures: FsFigures
        figures, _ = await self._ask(StatFs(number))
        if number == ROOT_INODE:
            self.is_scarce = figures.free_bytes < _SCARCE_BYTES
        self._has_quotas = figures.quota_count > 0
        return figures

    async def must_flush(self, inode: Inode) -> bool:
        """Whether what is dirty may not fit: then it is flushed before a close is answered, which can tell of it."""
        if not inode.dirty:
            return False
        if self.is_scarce or not self._has_quotas:
            return self.is_scarce
        try:
            return (await self.figures(inode.number)).free_bytes < _SCARCE_BYTES
        except Refused as refused:
            if refused.code is not Code.STALE:
                raise
            return False

    async def watch(self) -> None:
        """Keep is_scarce true to the facts, for ever."""
        while True:
            # Refused: nobody answered for a long time. What was known last is as good as anything.
            with contextlib.suppress(Refused):
                await self.figures(ROOT_INODE)
            await trio.sleep(_INTERVAL_S)
