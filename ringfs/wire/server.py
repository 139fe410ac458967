"""The answering side of RPC: connections, requests that can be answered later, pushes, and what one peer may cost.

A handler never blocks and is never called concurrently: it answers a request in a plain call, or keeps it and answers later.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import structlog
import trio

from ringfs.base.address import join_address, split_address
from ringfs.base.checksums import Buffer
from ringfs.base.errors import Code, ConnectionLost, PeerBrokeProtocol, UserError
from ringfs.base.limits import (
    CONNECTIONS_MAX,
    HANDSHAKE_TIMEOUT_S,
    PAYLOAD_SMALL_BYTES,
    RECEIVED_PAYLOAD_BYTES_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    UNSENT_BYTES_MAX,
)
from ringfs.wire.connection import Connection, Post
from ringfs.wire.frames import KIND_PUSH, KIND_REPLY, KIND_REQUEST, Frame, FrameReader, FrameSealer
from ringfs.wire.handshake import FrameKeys, greet_client
from ringfs.wire.messages.common import Refusal
from ringfs.wire.transport import Transport, transport_on

log = structlog.get_logger("ringfs.wire")

_DETAIL_CHARS_MAX = 1000


class Handler(Protocol):
    """What a server does. An exception from any of these is a bug: it ends the server."""

    def connected(self, peer: "Peer") -> None:
        """A peer that has the cluster key."""
        ...

    def handle(self, request: "Request") -> None:
        """Answer the request (reply or refuse), now or later. Raising PeerBrokeProtocol instead ends the connection."""
        ...

    def disconnected(self, peer: "Peer") -> None:
        """The peer is gone, its tasks have ended. Requests still unanswered may be forgotten, or answered to nobody."""
        ...


class PayloadBudget:
    """Memory for large payloads of unanswered requests, shared by the connections of one server. First come, first served."""

    def __init__(self, limit_bytes: int = RECEIVED_PAYLOAD_BYTES_MAX) -> None:
        self._free_bytes = limit_bytes
        #: Who waits for how much; the first one is served before any other.
        self._waiting: deque[tuple[trio.Event, int]] = deque()

    async def take(self, size: int) -> None:
        """Wait for size bytes of it."""
        if not self._waiting and size <= self._free_bytes:
            self._free_bytes -= size
            return
        served = (trio.Event(), size)
        self._waiting.append(served)
        try:
            await served[0].wait()
        except trio.Cancelled:
            self._waiting.remove(served)
            self._serve()
            raise

    def give(self, size: int) -> None:
        """Give size bytes back."""
        self._free_bytes += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][1] <= self._free_bytes:
            event, size = self._waiting.popleft()
            self._free_bytes -= size
            event.set()


class Peer:
    """A connected client, as a handler sees it."""

    def __init__(self, handler: Handler, name: str, budget: PayloadBudget, post: Post) -> None:
        #: What the client called itself, and its address.
        self.name = name
        #: The handler's own.
        self.state: Any = None
        self._handler = handler
        self._budget = budget
        self._post = post
        #: Both set before the handler gets this object.
        self._connection: Connection
        self._nursery: trio.Nursery
        #: Requests handed to the handler and not answered yet.
        self._unanswered_count = 0
        #: What of the budget is taken for them, and for a payload on its way.
        self._taken_bytes = 0

    # --- for the handler ------------------------------------------------------------------------------------------------

    def push(self, message: Any) -> None:
        """Send a message that has no answer. A peer that lets too much pile up loses its connection."""
        if self._connection.unsent_bytes > 2 * UNSENT_BYTES_MAX:
            self.close("it does not take what is pushed to it")
        self._connection.send(KIND_PUSH, 0, message)

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> bool:
        """Start a task that ends with the connection. Its exceptions are bugs. False: the connection is just ending, before
        `disconnected` is called; nobody waits for anything any more."""
        try:
            self._nursery.start_soon(function, *arguments)
        except RuntimeError:
            # trio has no other way to tell that a nursery has closed.
            return False
        return True

    def close(self, reason: str = "closed by the server") -> None:
        """End the connection."""
        self._connection.close(reason)

    @property
    def has_room(self) -> bool:
        """Whether a large answer may be sent without piling up."""
        return self._connection.has_room

    async def wait_room(self) -> None:
        """Wait until has_room, or the end of the connection."""
        await self._connection.wait_room()

    # --- Owner of the connection ----------------------------------------------------------------------------------------

    def handle_frame(self, frame: Frame) -> None:
        """See Owner."""
        if frame.kind != KIND_REQUEST or not frame.number:
            raise PeerBrokeProtocol(f"a frame of kind {frame.kind}, number {frame.number} to a server")
        self._unanswered_count += 1
        self._handler.handle(Request(frame.message, frame.payload, self, frame.number))

    def may_receive(self) -> bool:
        """See Owner."""
        return self._unanswered_count < REQUESTS_IN_FLIGHT_MAX and self._connection.has_room

    async def admit(self, payload_bytes: int) -> None:
        """See Owner."""
        await self._budget.take(payload_bytes)
        self._taken_bytes += payload_bytes

    def answer(self, number: int, message: Any, payload: Sequence[Buffer], taken_bytes: int, at_once: bool) -> None:
        """Send the answer of a request; nobody gets it if the connection has ended."""
        if self._connection.end_reason is not None:
            return
        self._unanswered_count -= 1
        if taken_bytes:
            self._give_back(taken_bytes)
        self._connection.send(KIND_REPLY, number, message, payload, at_once=at_once)
        self._connection.look_again()

    def _give_back(self, taken_bytes: int) -> None:
        self._taken_bytes -= taken_bytes
        self._budget.give(taken_bytes)

    # --- life -----------------------------------------------------------------------------------------------------------

    async def run(self, transport: Transport, keys: FrameKeys) -> None:
        """Serve the connection until it ends."""
        sealer, reader = FrameSealer(keys.to_client), FrameReader(keys.to_server)
        self._connection = connection = Connection(transport, sealer, reader, self, self._post)
        try:
            async with trio.open_nursery() as self._nursery:
                connection.start(self._nursery)
                self._handler.connected(self)
                await connection.receive_loop()
        finally:
            connection.close("the server stops")
            self._give_back(self._taken_bytes)
            self._handler.disconnected(self)
        if connection.broke_protocol:
            log.warning("connection refused", peer=self.name, reason=connection.end_reason)
        else:
            log.info("connection ended", peer=self.name, reason=connection.end_reason)


class Request:
    """Something that a peer asks. It is answered exactly once, by reply or refuse, now or later, from any task."""

    __slots__ = ("_number", "_taken_bytes", "message", "payload", "peer")

    def __init__(self, message: Any, payload: memoryview, peer: Peer, number: int) -> None:
        self.message = message
        #: Memory of its own.
        self.payload = payload
        self.peer = peer
        #: 0 once it was answered.
        self._number = number
        self._taken_bytes = size if (size := len(payload)) > PAYLOAD_SMALL_BYTES else 0

    def reply(self, message: Any, payload: Sequence[Buffer] = (), *, at_once: bool = False) -> None:
        """Answer. The payload's buffers must not change afterwards. at_once: other answers are not likely to be due now too."""
        number, self._number = self._number, 0
        assert number, "a request is answered once"
        self.peer.answer(number, message, payload, self._taken_bytes, at_once)

    def refuse(self, code: Code, detail: str = "") -> None:
        """Answer with a refusal; detail is for people."""
        self.reply(Refusal(code.number, detail[:_DETAIL_CHARS_MAX]))


class Server:
    """What the connections of one server share."""

    def __init__(self, handler: Handler, key: bytes) -> None:
        self._handler = handler
        self._key = key
        self._budget = PayloadBudget()
        self._post = Post()
        self._connection_count = 0

    async def serve(self, stream: trio.abc.Stream, origin: str) -> None:
        """One connection from beginning to end. Whatever its peer does costs one logged line and nothing else."""
        transport = transport_on(stream)
        self._connection_count += 1
        try:
            if self._connection_count > CONNECTIONS_MAX:
                log.warning("connection refused", peer=origin, reason=f"there are {CONNECTIONS_MAX} already")
            elif (greeting := await self._greet(transport, origin)) is not None:
                keys, name = greeting
                await Peer(self._handler, f"{name} {origin}".strip(), self._budget, self._post).run(transport, keys)
        finally:
            self._connection_count -= 1
            await transport.aclose()

    async def serve_accepted(self, stream: trio.SocketStream) -> None:
        """The same for a stream that a listener accepted."""
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:
            # It is gone already; the handshake will say so.
            host, port = "", 0
        await self.serve(stream, join_address(host, port))

    async def _greet(self, transport: Transport, origin: str) -> tuple[FrameKeys, str] | None:
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
            try:
                return await greet_client(transport, self._key)
            except (ConnectionLost, PeerBrokeProtocol) as error:
                log.warning("connection refused", peer=origin, reason=str(error))
                return None
        log.warning("connection refused", peer=origin, reason=f"the handshake took over {HANDSHAKE_TIMEOUT_S:g} s")
        return None


async def serve_tcp(
    handler: Handler, key: bytes, address: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve on "host:port" (port 0: any free one) until cancelled; started with the actual address. Raises UserError."""
    host, port = split_address(address)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise UserError(f"cannot listen on {address}: {error.strerror or error}; is another server running?") from error
    actual_port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, Server(handler, key).serve_accepted, listeners)
        task_status.started(join_address(host, actual_port))


async def serve_stream(handler: Handler, key: bytes, stream: trio.abc.Stream, *, name: str = "") -> None:
    """Serve one connection over a stream that is connected already, until it ends; closes it."""
    await Server(handler, key).serve(stream, name)
