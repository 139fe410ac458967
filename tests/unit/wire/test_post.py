"""Answers that become due at one moment on many connections: all leave, whatever becomes of one of the connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from ringfs.wire.messages.common import Done
from ringfs.wire.messages.data import Blocks, Get
from ringfs.wire.messages.session import Heartbeat
from ringfs.wire.rpc import Peer, Request, open_client, serve_tcp
from tests.support.answering import KEY

CLIENTS = 8
#: More than a socket takes without waiting.
LARGE_BYTES = 6 * 1024 * 1024


class Keeping:
    """A handler that keeps requests until all clients have asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.all_asked = trio.Event()

    def connected(self, peer: Peer) -> None:
        """See Handler."""

    def disconnected(self, peer: Peer) -> None:
        """See Handler."""

    def handle(self, request: Request) -> None:
        """See Handler."""
        self.requests.append(request)
        if len(self.requests) == CLIENTS:
            self.all_asked.set()


@asynccontextmanager
async def asked() -> AsyncIterator[tuple[Keeping, list[object]]]:
    """All clients have asked, each on a connection of its own; their answers are in the list at the end."""
    handler, answers = Keeping(), list[object]()

    async def ask(address: str, index: int) -> None:
        async with open_client(address, KEY, name="tester") as client:
            question = Heartbeat(1) if index else Get(bytes(20), 0, 128, False)
            answers.append((await client.call(question, timeout_s=60)).message)

    async with trio.open_nursery() as server:
        address = await server.start(serve_tcp, handler, KEY, "127.0.0.1:0")
        async with trio.open_nursery() as nursery:
            for index in range(CLIENTS):
                nursery.start_soon(ask, address, index)
            await handler.all_asked.wait()
            yield handler, answers
        server.cancel_scope.cancel()


@pytest.mark.parametrize("closed", [None, 0, CLIENTS - 1])
async def test_all_leave(closed: int | None) -> None:
    """Also if one of the connections, the first that had something to send or another, is ended in the same moment."""
    async with asked() as (handler, answers):
        for request in handler.requests:
            request.reply(Done())
        if closed is not None:
            handler.requests[closed].peer.close()
    assert answers == [Done()] * CLIENTS


async def test_one_that_has_to_wait_holds_nobody_up() -> None:
    """A large answer to one of them, which its socket does not take at once, and small ones to the others."""
    async with asked() as (handler, answers):
        large = next(request for request in handler.requests if isinstance(request.message, Get))
        large.reply(Blocks(LARGE_BYTES, b""), [bytes(LARGE_BYTES)])
        for request in handler.requests:
            if request is not large:
                request.reply(Done())
    assert sorted(type(answer).__name__ for answer in answers) == ["Blocks", *["Done"] * (CLIENTS - 1)]
