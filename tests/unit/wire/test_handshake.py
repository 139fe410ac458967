"""The handshake: both sides prove the key, or nothing is begun. Golden words; every way to get it wrong."""

from collections.abc import Callable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.base.checksums import derived_key
from ringfs.base.errors import Code, ConnectionLost, PeerBrokeProtocol, Refused
from ringfs.wire.handshake import FrameKeys, greet_client, greet_server
from ringfs.wire.transport import receive_exactly, send_all, transport_on
from tests.support.streams import Link

KEY = bytes(range(32))
HELLO = b"RINGFS\x00\x02" + b"c" * 32 + b"\x02me"
CHALLENGE = b"RINGFS\x00\x02" + b"s" * 32


def entropy(letter: bytes) -> Callable[[int], bytes]:
    """Not random at all."""
    return lambda count: letter * count


def derived(what: str) -> bytes:
    """As docs/formats/wire.md defines the proofs and keys."""
    return derived_key(f"ringfs 2026 wire v1: {what}", KEY + HELLO + CHALLENGE)


async def server_says(words: bytes) -> FrameKeys:
    """What a client makes of a server that says words."""
    link = Link()
    await link.server.send_all(words)
    link.to_client.end()
    return await greet_server(transport_on(link.client), KEY, "me", entropy(b"c"))


async def client_says(words: bytes) -> tuple[FrameKeys, str]:
    """What a server makes of a client that says words."""
    link = Link()
    await link.client.send_all(words)
    link.to_server.end()
    return await greet_client(transport_on(link.server), KEY, entropy(b"s"))


async def test_golden_words() -> None:
    """The words of both sides, and the keys that follow, byte by byte."""
    keys = FrameKeys(derived("frames to the server"), derived("frames to the client"))
    assert await server_says(CHALLENGE + derived("proof of the server")) == keys
    assert await client_says(HELLO + derived("proof of the client")) == (keys, "me")
    assert derived("proof of the server").hex() == "46332a35d076512531ebd71b78f1a7c89855ba751c9d934557e1b658814c378d"
    assert derived("frames to the client").hex() == "1ccfee46f32ffd10df5e9786dacc06731c2f71b07316318617486b543a0ce618"


async def meet() -> tuple[FrameKeys, FrameKeys, str]:
    """The client's keys, the server's, and the name it was told, with real nonces."""
    link = Link()
    server_side: list[tuple[FrameKeys, str]] = []

    async def serve() -> None:
        server_side.append(await greet_client(transport_on(link.server), KEY))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        client_keys = await greet_server(transport_on(link.client), KEY, "héllo")
    return client_keys, *server_side[0]


async def test_both_sides_agree() -> None:
    """Client and server come to the same keys, one for each direction, and to others the next time."""
    client_keys, server_keys, name = await meet()
    assert client_keys == server_keys
    assert client_keys.to_server != client_keys.to_client
    assert name == "héllo"
    assert (await meet())[0] != client_keys


async def test_long_name() -> None:
    """A name is cut to what a hello can hold."""
    link = Link()
    link.to_client.end()
    with pytest.raises(ConnectionLost):
        await greet_server(transport_on(link.client), KEY, "n" * 1000)
    assert link.to_server.sent_bytes == 8 + 32 + 1 + 255


async def test_server_with_another_key() -> None:
    """The client learns that it is the wrong cluster, and proves nothing to it."""
    link = Link()
    await link.server.send_all(CHALLENGE + bytes(32))
    with pytest.raises(Refused) as refused:
        await greet_server(transport_on(link.client), KEY, "me")
    assert refused.value.code is Code.WRONG_CLUSTER
    assert link.to_server.sent_bytes == len(HELLO)


async def test_client_with_another_key() -> None:
    """A wrong proof is refused; so is the server's own proof sent back to it."""
    for proof in (bytes(32), derived("proof of the server"), derived("frames to the server")):
        with pytest.raises(PeerBrokeProtocol, match="does not have the cluster key"):
            await client_says(HELLO + proof)


async def test_other_version() -> None:
    """A server tells a client of another version its own, and nothing more; a client names the version it met."""
    link = Link()
    client, server = transport_on(link.client), transport_on(link.server)
    await send_all(client, b"RINGFS\x00\x03" + b"whatever")
    with pytest.raises(PeerBrokeProtocol, match="version 3, not 2"):
        await greet_client(server, KEY)
    await server.aclose()
    assert await receive_exactly(client, 8) == b"RINGFS\x00\x02"
    with pytest.raises(ConnectionLost):
        await receive_exactly(client, 1)
    with pytest.raises(PeerBrokeProtocol, match="version 3, not 2"):
        await server_says(b"RINGFS\x00\x03")


async def test_not_ringfs() -> None:
    """A peer that speaks another protocol gets no answer at all."""
    link = Link()
    await link.client.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(PeerBrokeProtocol, match="does not speak ringfs"):
        await greet_client(transport_on(link.server), KEY)
    assert link.to_client.sent_bytes == 0
    with pytest.raises(PeerBrokeProtocol, match="does not speak ringfs"):
        await server_says(b"HTTP/1.1 400 Bad Request")


@settings(deadline=None)
@given(st.integers(0, len(HELLO) + 31))
def test_cut_anywhere(length: int) -> None:
    """A client that stops anywhere in its words is a lost connection."""

    async def check() -> None:
        with pytest.raises(ConnectionLost):
            await client_says((HELLO + derived("proof of the client"))[:length])

    trio.run(check)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(HELLO) + 32))
def test_garbage_from_anywhere(garbage: bytes, true_bytes: int) -> None:
    """Whatever follows true words, the server ends with one of the two refusals unless the words were all true."""
    words = HELLO + derived("proof of the client")

    async def check() -> None:
        said = words[:true_bytes] + garbage
        if said.startswith(words):
            await client_says(said)
        else:
            with pytest.raises((ConnectionLost, PeerBrokeProtocol)):
                await client_says(said)

    trio.run(check)
