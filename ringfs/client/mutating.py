"""Transactions that the metadata service is asked for: each takes effect once, however often the connection is lost.

One that is unanswered then is sent again on the next connection, under its request number. Not here: the connection and the session
(metadata.py), what is done ahead of the service (ahead.py), which numbers are in use (window.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import trio

from ringfs.base.errors import Code, ConnectionLost, Refused, Retry, kept
from ringfs.client.patience import bounded
from ringfs.client.window import RequestWindow
from ringfs.wire.messages.session import Mutate
from ringfs.wire.rpc import Answer, NoAnswer, RpcClient

#: After this long a request is sent again that the service was too busy for.
_RESEND_S = 0.1

#: Told what became of a transaction: its answer, or a Refused.
OnDone = Callable[[Any], None]


class Line(Protocol):
    """The way to the service (metadata.py)."""

    session: int

    @property
    def live_client(self) -> RpcClient | None:
        """The connection, unless it is lost."""
        ...

    @property
    def has_untold(self) -> bool:
        """Whether something is to be told first."""
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

    def void_leases(self) -> None:
        """Nothing that was cached until now may be used."""
        ...

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Run something beside."""
        ...


@dataclass(slots=True)
class _Mutation:
    """A transaction under its number, from when it is first sent until it is answered or given up."""

    operation: Any
    urgent: bool
    session: int
    number: int
    #: The numbers of its session that are unanswered: it is one of them.
    unanswered: dict[int, None]
    #: When the application gets EIO (trio's clock).
    until_s: float


class Mutator:
    """See the module."""

    def __init__(self, line: Line, window: RequestWindow, wait_s: float) -> None:
        self._line = line
        self._window = window
        #: How long a transaction waits for a leader.
        self._wait_s = wait_s
        #: Who waits because the window is full, or something is to be told first.
        self.waiters = trio.lowlevel.ParkingLot()

    async def mutate(self, operation: Any, *, urgent: bool, session: int) -> Any:
        """See MetadataLink."""
        client = self._client_now(urgent=urgent)
        if client is None:
            with bounded(self._wait_s):
                client = await self._wait_client(urgent=urgent)
        if session not in (0, self._line.session):
            raise Refused(Code.NO_SESSION, f"session {session}")
        return await self._ask(self._begin(operation, urgent=urgent), client)

    def mutate_soon(self, operation: Any, on_done: OnDone, *, session: int) -> None:
        """See MetadataLink."""
        client = self._client_now(urgent=True)
        if client is None or not client.has_urgent_room or session != self._line.session:
            self._line.start_soon(self._mutate_then, operation, on_done, session)
            return
        mutation = self._begin(operation, urgent=True)
        on_answer = partial(self._answered, client, mutation, on_done)
        client.call_soon(self._message(mutation), on_answer, urgent=True, patience_s=self._wait_s)

    async def _mutate_then(self, operation: Any, on_done: OnDone, session: int) -> None:
        try:
            answer = await self.mutate(operation, urgent=True, session=session)
        except Refused as refused:
            answer = kept(refused)
        on_done(answer)

    def _answered(self, client: RpcClient, mutation: _Mutation, on_done: OnDone, answer: Answer | Refused | ConnectionLost) -> None:
        if isinstance(answer, Answer):
            self._end(mutation, is_answered=True)
            on_done(answer.message)
        elif isinstance(answer, Refused) and _is_final(answer):
            self._end(mutation, is_answered=self._is_known(client, answer))
            on_done(answer)
        else:
            pause_s = self._pause_s(client, answer) if isinstance(answer, Refused) else 0.0
            self._line.start_soon(self._ask_again, mutation, on_done, pause_s)

    async def _ask_again(self, mutation: _Mutation, on_done: OnDone, pause_s: float) -> None:
        try:
            answer = await self._ask(mutation, None, pause_s)
        except Refused as refused:
            answer = kept(refused)
        on_done(answer)

    # --- one transaction ----------------------------------------------------------------------------------------------

    def _begin(self, operation: Any, *, urgent: bool) -> _Mutation:
        window = self._window
        number = window.take()
        window.unanswered[number] = None
        until_s = trio.current_time() + self._wait_s
        return _Mutation(operation, urgent, self._line.session, number, window.unanswered, until_s)

    def _message(self, mutation: _Mutation) -> Mutate:
        return Mutate(mutation.session, mutation.number, self._window.first, mutation.operation)

    async def _ask(self, mutation: _Mutation, client: RpcClient | None, pause_s: float = 0.0) -> Any:
        """Ask on that connection, if any, then on each one that follows."""
        is_answered = False
        try:
            while True:
                if client is None:
                    client = await self._next_client(mutation, pause_s)
                pause_s = 0.0
                patience_s = mutation.until_s - trio.current_time()
                try:
                    answer = await client.call(self._message(mutation), urgent=mutation.urgent, patience_s=patience_s)
                    is_answered = True
                    return answer.message
                except ConnectionLost:
                    pass
                except Refused as refused:
                    if _is_final(refused):
                        is_answered = self._is_known(client, refused)
                        raise
                    pause_s = self._pause_s(client, refused)
                client = None
        finally:
            self._end(mutation, is_answered=is_answered)

    def _end(self, mutation: _Mutation, *, is_answered: bool) -> None:
        del mutation.unanswered[mutation.number]
        self.waiters.unpark_all()
        if not is_answered:
            # Whether it took effect, and when it will, is not known: nobody recalls from us what we changed ourselves.
            self._line.void_leases()

    def _is_known(self, client: RpcClient, refused: Refused) -> bool:
        """Whether a final refusal says that the transaction did not happen."""
        self._line.turned_away(client, refused)
        return not isinstance(refused, NoAnswer)

    def _pause_s(self, client: RpcClient, refused: Refused) -> float:
        """How long to wait before it is sent again: not at all, if that goes to another server."""
        return 0.0 if self._line.turned_away(client, refused) else _RESEND_S

    # --- the connection ---------------------------------------------------------------------------------------------

    def _may_send(self, *, urgent: bool) -> bool:
        return self._window.has_urgent_room if urgent else self._window.has_room and not self._line.has_untold

    def _client_now(self, *, urgent: bool) -> RpcClient | None:
        """The connection, if a transaction may be sent on it without waiting."""
        client = self._line.live_client
        if client is None or not self._line.send_ahead(client) or not self._may_send(urgent=urgent):
            return None
        return client

    async def _wait_client(self, *, urgent: bool) -> RpcClient:
        client = await self._line.connected()
        while not self._may_send(urgent=urgent):
            await self.waiters.park()
            client = await self._line.connected()
        return client

    async def _next_client(self, mutation: _Mutation, pause_s: float) -> RpcClient:
        """The connection to send it again on. Refused NO_SESSION if its session has ended."""
        with bounded(max(0.0, mutation.until_s - trio.current_time())):
            if pause_s:
                await trio.sleep(pause_s)
            client = await self._line.connected()
        if self._line.session != mutation.session:
            raise Refused(Code.NO_SESSION, f"session {mutation.session}")
        return client


def _is_final(refused: Refused) -> bool:
    return refused.code.retry is not Retry.RESEND
