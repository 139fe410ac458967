"""Outbox keeps order and counts; both transports carry bytes and turn every failure into ConnectionLost."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from ringfs.base.errors import ConnectionLost
from ringfs.wire.transport import Outbox, SocketTransport, StreamTransport, receive_exactly, send_all, transport_on
from tests.support.streams import Link


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 50)), st.booleans())
def test_outbox_gives_what_it_got(buffers: list[bytes], steps: list[int], joined: bool) -> None:
    """Whatever is sent of head() or head_bytes(), the bytes leave once and in order, and unsent_bytes is exact."""
    outbox = Outbox()
    for buffer in buffers:
        outbox.append(buffer)
    left = b"".join(buffers)
    for step in steps:
        assert outbox.unsent_bytes == len(left)
        if not left:
            break
        head = bytes(outbox.head_bytes()) if joined else b"".join(map(bytes, outbox.head()))
        assert head
        assert left.startswith(head)
        count = min(step, len(head))
        outbox.sent(count)
        left = left[count:]


def test_outbox_bounds_one_send() -> None:
    """However many buffers wait, one send is given at most 64 of them."""
    outbox = Outbox()
    for _ in range(1000):
        outbox.append(b"x")
    assert len(outbox.head()) == 64
    outbox.clear()
    assert (outbox.unsent_bytes, list(outbox.head())) == (0, [])


async def tcp_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two connected TCP streams."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await trio.testing.open_stream_to_socket_listener(listener)
        return client, await listener.accept()


async def exchange(one: StreamTransport | SocketTransport, other: StreamTransport | SocketTransport) -> None:
    """A megabyte and more each way at once, in many buffers."""
    data = bytes(range(256)) * 6000
    outboxes = [Outbox(), Outbox()]
    for outbox in outboxes:
        for start in range(0, len(data), 5000):
            outbox.append(memoryview(data)[start : start + 5000])

    async def send(transport: StreamTransport | SocketTransport, outbox: Outbox) -> None:
        transport.send_now(outbox)
        while outbox.unsent_bytes:
            await transport.send(outbox)

    async def receive(transport: StreamTransport | SocketTransport) -> None:
        assert await receive_exactly(transport, len(data)) == data

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, one, outboxes[0])
        nursery.start_soon(send, other, outboxes[1])
        nursery.start_soon(receive, one)
        nursery.start_soon(receive, other)
    await one.aclose()
    with pytest.raises(ConnectionLost, match="the peer closed"):
        await receive_exactly(other, 1)
    await other.aclose()


async def test_tcp() -> None:
    """A TCP stream is used through its socket, and closed for good."""
    client, server = await tcp_pair()
    one, other = transport_on(client), transport_on(server)
    assert isinstance(one, SocketTransport)
    assert isinstance(other, SocketTransport)
    await exchange(one, other)
    assert client.socket.fileno() == -1


async def test_memory() -> None:
    """Any other stream works as well."""
    link = Link(capacity_bytes=10_000)
    one, other = transport_on(link.client), transport_on(link.server)
    assert isinstance(one, StreamTransport)
    assert isinstance(other, StreamTransport)
    await exchange(one, other)


async def test_reset_is_connection_lost() -> None:
    """A reset TCP connection is ConnectionLost for receiving and for sending."""
    client, server = await tcp_pair()
    one = transport_on(client)
    server.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await server.aclose()
    with pytest.raises(ConnectionLost, match="reset"):
        await receive_exactly(one, 1)
    with pytest.raises(ConnectionLost, match=r"pipe|reset"):
        await send_all(one, b"x" * 100_000)
    await one.aclose()


async def test_cut_is_connection_lost() -> None:
    """The same for streams."""
    link = Link()
    one = transport_on(link.client)
    link.cut()
    with pytest.raises(ConnectionLost, match="cut"):
        await receive_exactly(one, 1)
    with pytest.raises(ConnectionLost, match="cut"):
        await send_all(one, b"x")
