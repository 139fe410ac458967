"""A server's handler for tests of the wire: a few requests it answers at once, one it refuses, others it keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ringfs.base.errors import Code
from ringfs.wire.messages.cluster import GetMap, GetStatus
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.data import Blocks, Get, Put, PutDone
from ringfs.wire.messages.session import Heartbeat
from ringfs.wire.rpc import OnPush, Peer, Request, RpcClient, client_on, serve_stream
from tests.support.streams import Link

KEY = bytes(range(32))


class Answering:
    """Heartbeat: Done. Put: PutDone. Get: Blocks and `content`. GetStatus: refused. Anything else is kept in `kept`."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.kept: list[Request] = []
        self.handled: list[object] = []
        self.payloads: list[memoryview] = []
        self.peers: list[Peer] = []
        self.gone: list[Peer] = []

    def connected(self, peer: Peer) -> None:
        """See Handler."""
        self.peers.append(peer)

    def disconnected(self, peer: Peer) -> None:
        """See Handler."""
        self.gone.append(peer)

    def handle(self, request: Request) -> None:
        """See Handler."""
        self.handled.append(request.message)
        match request.message:
            case Heartbeat():
                request.reply(Done())
            case Put():
                self.payloads.append(request.payload)
                request.reply(PutDone(True))
            case Get():
                request.reply(Blocks(len(self.content) or 1, b""), [self.content])
            case GetStatus():
                request.refuse(Code.NOT_LEADER, "meta2 leads")
            case _:
                self.kept.append(request)


@asynccontextmanager
async def connected(
    handler: Answering, link: Link | None = None, on_push: OnPush | None = None
) -> AsyncIterator[tuple[RpcClient, Link]]:
    """A client of handler over a link."""
    link = link or Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, KEY, link.server)
        async with client_on(link.client, KEY, name="tester", on_push=on_push) as client:
            yield client, link
        nursery.cancel_scope.cancel()


__all__ = ["KEY", "Answering", "GetMap", "GetStatus", "Heartbeat", "connected"]
