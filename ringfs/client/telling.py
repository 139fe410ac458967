"""What the metadata service is told without waiting for its answer, in order, however little room the connection has.

Nothing of it outlives the connection that it was told on. Not here: what is told (coherence.py, locks.py), the connection itself
(metadata.py).
"""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import structlog
import trio

from ringfs.base.errors import ConnectionLost, Refused, Retry
from ringfs.wire.messages.session import Query
from ringfs.wire.rpc import Answer, RpcClient

log = structlog.get_logger("ringfs.client.telling")

#: After this long what the service was too busy for is told again.
_AGAIN_S = 0.1


class Line(Protocol):
    """The way to the service (metadata.py)."""

    session: int

    @property
    def live_client(self) -> RpcClient | None:
        """The connection, unless it is lost."""
        ...

    @property
    def newest_client(self) -> RpcClient | None:
        """The connection that was made last, also while the session is being resumed on it, and when it is lost."""
        ...

    @property
    def newest_session(self) -> int:
        """The session on it; 0 before there is one."""
        ...

    def send_ahead(self, client: RpcClient) -> bool:
        """Send what was done ahead; whether all is sent."""
        ...

    async def connected(self) -> RpcClient:
        """The connection, once what was done ahead has been sent on it."""
        ...

    def turned_away(self, client: RpcClient, refused: Refused) -> bool:
        """Whether the connection leads nowhere any more, as a refusal on it says; then it is given up."""
        ...

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Run something beside."""
        ...


class Teller:
    """See the module. `all_told` is called when nothing waits any more."""

    def __init__(self, line: Line, all_told: Callable[[], None]) -> None:
        self._line = line
        self._all_told = all_told
        #: Told while this connection had no room, the first one on its way; at most a close and an open of each inode.
        self._untold: deque[Any] = deque()

    def __bool__(self) -> bool:
        """Whether something waits to be told."""
        return bool(self._untold)

    def tell(self, operation: Any) -> bool:
        """Send a question whose answer does not matter, after those told before. False: there is no connection to send it on."""
        client = self._line.live_client
        if client is None:
            return False
        if not self._untold and client.has_room and self._line.send_ahead(client):
            client.call_soon(Query(self._line.session, operation), partial(self._told, client, operation))
        else:
            self._tell_later(client, operation)
        return True

    def forget(self) -> None:
        """The connection is lost."""
        self._untold = deque()

    def _tell_later(self, client: RpcClient, operation: Any) -> None:
        self._untold.append(operation)
        if len(self._untold) == 1:
            self._line.start_soon(self._tell_rest, client, self._untold)

    def _told(self, client: RpcClient, operation: Any, answer: Answer | Refused | ConnectionLost) -> None:
        if not isinstance(answer, Refused) or self._line.turned_away(client, answer):
            return
        if answer.code.retry is Retry.RESEND and client is self._line.live_client:
            self._tell_later(client, operation)

    async def _tell_rest(self, client: RpcClient, untold: deque[Any]) -> None:
        while untold:
            try:
                await self._line.connected()
                await client.call(Query(self._line.session, untold[0]))
            except ConnectionLost:
                return
            except Refused as refused:
                if self._line.turned_away(client, refused):
                    return
                if refused.code.retry is Retry.RESEND:
                    await trio.sleep(_AGAIN_S)
                    continue
                log.info("what was told was refused", reason=str(refused))
            untold.popleft()
        self._all_told()
