"""Byte transports under a connection: a TCP socket used directly, or any trio stream. No frames here.

Whatever goes wrong below is ConnectionLost, with a reason for people.
"""

import contextlib
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import trio

from ringfs.base.checksums import Buffer
from ringfs.base.errors import ConnectionLost
from ringfs.base.limits import KIB, MIB

#: Buffers given to one sendmsg call; Linux's IOV_MAX is 1024.
_BUFFERS_PER_SEND = 64
#: Bytes given to one send_all call of a stream.
_STREAM_SEND_BYTES = 256 * KIB
#: Successful receives without waiting before others get their turn.
_RECEIVES_IN_A_ROW = 16
_OPTIONS = (
    # The kernel may hold this much of a connection's unsent bytes; trio's 16 KiB would make large payloads crawl.
    (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 4 * MIB),
    # A host that vanished is noticed after 10 + 3 * 5 seconds, with or without something unsent.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
)


class Outbox:
    """Buffers that wait to be sent, in order."""

    __slots__ = ("_buffers", "unsent_bytes")

    def __init__(self) -> None:
        self._buffers: deque[Buffer] = deque()
        #: Sum of the sizes of _buffers.
        self.unsent_bytes = 0

    def append(self, buffer: Buffer) -> None:
        """Add a contiguous buffer of bytes; it must not change until it was sent."""
        if size := len(buffer):
            self._buffers.append(buffer)
            self.unsent_bytes += size

    def head(self) -> Sequence[Buffer]:
        """The first buffers, as many as one send takes; not to be changed."""
        buffers = self._buffers
        return list(buffers) if len(buffers) <= _BUFFERS_PER_SEND else [buffers[index] for index in range(_BUFFERS_PER_SEND)]

    def head_bytes(self) -> Buffer:
        """The first bytes as one buffer: several small buffers joined, or one large one."""
        buffers = self._buffers
        if len(buffers) == 1 or len(buffers[0]) >= _STREAM_SEND_BYTES:
            return memoryview(buffers[0])[:_STREAM_SEND_BYTES]
        return b"".join(self.head())[:_STREAM_SEND_BYTES]

    def sent(self, count: int) -> None:
        """Forget the first count bytes."""
        self.unsent_bytes -= count
        buffers = self._buffers
        while count:
            size = len(buffers[0])
            if count < size:
                buffers[0] = memoryview(buffers[0])[count:]
                return
            buffers.popleft()
            count -= size

    def clear(self) -> None:
        """Forget everything: there is nobody to send it to."""
        self._buffers.clear()
        self.unsent_bytes = 0


class Transport(Protocol):
    """Bytes in both directions. One task receives, one task waits for sending."""

    def receive_now(self, space: memoryview) -> int | None:
        """Put what is there already at the beginning of space; how many bytes, 0 at the end of the stream. None: wait for it,
        because nothing is there, because others are to have their turn, or because the transport can only wait."""
        ...

    async def receive_into(self, space: memoryview) -> int:
        """Wait for bytes and put them at the beginning of space; how many, 0 at the end of the stream."""
        ...

    def send_now(self, outbox: Outbox) -> None:
        """Send as much of outbox as goes without waiting (nothing, if the transport can only wait)."""
        ...

    async def send(self, outbox: Outbox) -> None:
        """Wait until at least some bytes of outbox, which is not empty, were sent."""
        ...

    async def aclose(self) -> None:
        """Close without waiting for the peer."""
        ...


def transport_on(stream: trio.abc.Stream) -> Transport:
    """The transport for a stream."""
    return SocketTransport(stream) if isinstance(stream, trio.SocketStream) else StreamTransport(stream)


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise ConnectionLost(_reason(error)) from error


def _reason(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__


class SocketTransport:
    """A connected TCP socket, used without trio's checkpoint per call where it does not have to wait."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._fd = stream.socket.fileno()
        # A second Python object for the same descriptor, which trio's keeps owning: see aclose.
        self._socket = socket.socket(fileno=self._fd)
        self._socket.setblocking(False)
        # A connection that was reset already may refuse options; using it will tell.
        with contextlib.suppress(OSError):
            for level, option, value in _OPTIONS:
                self._socket.setsockopt(level, option, value)
        #: Whether the last receive filled its space, so that there is probably more.
        self._more_likely = False
        self._receives_in_a_row = 0

    def receive_now(self, space: memoryview) -> int | None:
        """See Transport."""
        if self._receives_in_a_row >= _RECEIVES_IN_A_ROW:
            return None
        try:
            count = self._socket.recv_into(space)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionLost(_reason(error)) from error
        self._receives_in_a_row += 1
        self._more_likely = count == len(space)
        return count

    async def receive_into(self, space: memoryview) -> int:
        """See Transport."""
        count = self.receive_now(space) if self._more_likely else None
        while count is None:
            self._receives_in_a_row = 0
            try:
                await trio.lowlevel.wait_readable(self._fd)
            except (OSError, trio.ClosedResourceError) as error:
                raise ConnectionLost(_reason(error)) from error
            count = self.receive_now(space)
        return count

    def send_now(self, outbox: Outbox) -> None:
        """See Transport."""
        try:
            while outbox.unsent_bytes:
                outbox.sent(self._socket.sendmsg(outbox.head()))
        except BlockingIOError:
            return
        except OSError as error:
            raise ConnectionLost(_reason(error)) from error

    async def send(self, outbox: Outbox) -> None:
        """See Transport."""
        with _lost():
            await trio.lowlevel.wait_writable(self._fd)
        self.send_now(outbox)

    async def aclose(self) -> None:
        """See Transport."""
        self._socket.detach()
        await trio.aclose_forcefully(self._stream)


class StreamTransport:
    """Any trio stream: what tests and simulations use."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    def receive_now(self, space: memoryview) -> int | None:
        """See Transport: a stream can only be waited for."""
        return None

    async def receive_into(self, space: memoryview) -> int:
        """See Transport."""
        with _lost():
            data = await self._stream.receive_some(len(space))
        space[: len(data)] = data
        return len(data)

    def send_now(self, outbox: Outbox) -> None:
        """See Transport: a stream can only be waited for."""

    async def send(self, outbox: Outbox) -> None:
        """See Transport."""
        data = outbox.head_bytes()
        with _lost():
            await self._stream.send_all(data)
        outbox.sent(len(data))

    async def aclose(self) -> None:
        """See Transport."""
        await trio.aclose_forcefully(self._stream)


async def receive_exactly(transport: Transport, count: int) -> bytes:
    """The next count bytes and not one more. Raises ConnectionLost if the stream ends before."""
    buffer = bytearray(count)
    space = memoryview(buffer)
    while space:
        got = await transport.receive_into(space)
        if not got:
            raise ConnectionLost("the peer closed the connection")
        space = space[got:]
    return bytes(buffer)


async def send_all(transport: Transport, data: bytes) -> None:
    """Send data before there is a connection that has an outbox of its own."""
    outbox = Outbox()
    outbox.append(data)
    while outbox.unsent_bytes:
        await transport.send(outbox)
