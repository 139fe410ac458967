"""Recalls as the metadata service pushes them: each is obeyed by a task, then confirmed if the connection is still there.

Also while a session is being resumed: two sessions may each have to confirm what the other one waits for.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.client.telling import Line
from ringfs.wire.messages.session import Recall, RecallDone
from ringfs.wire.rpc import RpcClient

log = structlog.get_logger("ringfs.client.recalls")

_WAITING_MAX = 4096


class Recalls:
    """See the module. obey(recall) returns when it may be confirmed."""

    def __init__(self, line: Line, obey: Callable[[Recall], Awaitable[None]]) -> None:
        self._line = line
        self._obey_it = obey
        self._send, self._receive = trio.open_memory_channel[tuple[Recall, RpcClient | None]](_WAITING_MAX)
        #: How many have arrived.
        self.seen = 0

    def arrived(self, recall: Recall) -> None:
        """The service sent it."""
        self.seen += 1
        self._send.send_nowait((recall, self._line.newest_client))

    async def run(self) -> None:
        """Obey, for ever."""
        async with trio.open_nursery() as nursery:
            async for recall, client in self._receive:
                nursery.start_soon(self._obey, recall, client)

    async def _obey(self, recall: Recall, client: RpcClient | None) -> None:
        """client: the connection that it came on."""
        await self._obey_it(recall)
        if client is not None and client is self._line.newest_client and not client.lost.is_set():
            try:
                await client.call(RecallDone(self._line.newest_session, recall.serial), urgent=True)
            except (ConnectionLost, Refused) as error:
                log.info("a recall was not confirmed", serial=recall.serial, reason=str(error))
