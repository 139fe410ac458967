"""Recalls as the metadata service pushes them: each is obeyed by a task, then confirmed if the connection is still there."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.client.telling import Line
from ringfs.wire.messages.session import Recall, RecallDone

log = structlog.get_logger("ringfs.client.recalls")

_WAITING_MAX = 4096


class Recalls:
    """See the module. obey(recall) returns when it may be confirmed."""

    def __init__(self, line: Line, obey: Callable[[Recall], Awaitable[None]]) -> None:
        self._line = line
        self._obey_it = obey
        self._send, self._receive = trio.open_memory_channel[Recall](_WAITING_MAX)
        #: How many have arrived.
        self.seen = 0

    def arrived(self, recall: Recall) -> None:
        """The service sent it."""
        self.seen += 1
        self._send.send_nowait(recall)

    async def run(self) -> None:
        """Obey, for ever."""
        async with trio.open_nursery() as nursery:
            async for recall in self._receive:
                nursery.start_soon(self._obey, recall)

    async def _obey(self, recall: Recall) -> None:
        client = self._line.live_client
        await self._obey_it(recall)
        if client is not None and client is self._line.live_client:
            try:
                await client.call(RecallDone(self._line.session, recall.serial), urgent=True)
            except (ConnectionLost, Refused) as error:
                log.info("a recall was not confirmed", serial=recall.serial, reason=str(error))
