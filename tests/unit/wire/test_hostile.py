"""Whatever a peer sends, at any point: it costs that peer its connection and the server one logged line, and nobody else."""

import contextlib
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from structlog.typing import EventDict

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import CONNECTIONS_MAX, FRAME_BODY_BYTES_MAX, HANDSHAKE_TIMEOUT_S
from ringfs.wire.frames import KIND_PUSH, KIND_REPLY
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.session import Heartbeat
from ringfs.wire.rpc import Request, client_on
from ringfs.wire.server import Server
from tests.support.answering import KEY, Answering
from tests.support.raw_peer import RawPeer
from tests.support.streams import Link

Attack = Callable[[Link], Awaitable[None]]


async def attacked(attack: Attack) -> list[EventDict]:
    """What a server logs that is attacked on one connection while it serves another."""
    server, good, bad = Server(Answering(), KEY), Link(), Link()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, good.server, "good")
            async with client_on(good.client, KEY, name="good") as client:
                await client.call(Heartbeat(1))
                async with trio.open_nursery() as attacked_only:
                    attacked_only.start_soon(server.serve, bad.server, "bad")
                    await attack(bad)
                assert bad.server.is_closed
                assert (await client.call(Heartbeat(2))).message == Done()
                seen = list(logs)
            nursery.cancel_scope.cancel()
    return seen


async def refused(attack: Attack, reason: str) -> None:
    """The attack ends with one warning that gives a reason."""
    (line,) = await attacked(attack)
    assert (line["log_level"], line["event"]) == ("warning", "connection refused")
    assert reason in line["reason"]


def after_greeting(make: Callable[[RawPeer], bytes]) -> Attack:
    """An attack by a peer that has the key."""

    async def attack(link: Link) -> None:
        peer = await RawPeer.greet(link.client)
        await link.client.send_all(make(peer))
        await peer.wait_end()

    return attack


def nonsense(kind: int, number: int, body: bytes) -> Callable[[RawPeer], bytes]:
    """A frame whose code is right."""
    return lambda peer: b"".join(map(bytes, peer.sealer.seal(kind, number, body, 0)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda peer: b"GET / HTTP/1.1\r\n" * 10, "unknown version, or no frame"),
        (lambda peer: b"RFS\x02" + bytes(100), "unknown version"),
        (lambda peer: b"RFS\x01" + bytes(20) + (FRAME_BODY_BYTES_MAX + 1).to_bytes(4, "big") + bytes(20), "too large"),
        (lambda peer: peer.request(1, Heartbeat(1))[:-1] + b"\xff", "wrong code"),
        (lambda peer: peer.request(1, Heartbeat(1)) * 2, "replayed"),
        (lambda peer: [peer.request(number, Heartbeat(1)) for number in (1, 2)][1], "lost or reordered"),
        (lambda peer: peer.request(0, Heartbeat(1)), "number 0"),
        (lambda peer: peer.request(1, Heartbeat(1), kind=KIND_REPLY), "kind 2"),
        (lambda peer: peer.request(1, Heartbeat(1), kind=KIND_PUSH), "kind 3"),
        (lambda peer: peer.request(1, Heartbeat(1), kind=99), "kind 99"),
        (nonsense(1, 1, b""), "malformed msgpack"),
        (nonsense(1, 1, b"\x92\x01"), "malformed msgpack"),
        (nonsense(1, 1, b"\x90"), "begins with its tag"),
        (nonsense(1, 1, b"\x91\xcd\xff\xff"), "unknown message 0xffff"),
        (nonsense(1, 1, b"\x91\xcd\x02\x05"), "Heartbeat has 1 fields, not 0"),
        (nonsense(1, 1, b"\x92\xcd\x02\x05\xa1x"), "not an integer"),
    ],
)
async def test_bad_frames(make: Callable[[RawPeer], bytes], reason: str) -> None:
    """Every kind of malformed frame is named in the one line."""
    await refused(after_greeting(make), reason)


async def test_wrong_key_wrong_version_and_noise() -> None:
    """Before the handshake is done nothing but a refusal happens."""

    async def noise(link: Link) -> None:
        await link.client.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")

    async def version(link: Link) -> None:
        await link.client.send_all(b"RINGFS\x00\x09" + bytes(100))

    async def wrong_proof(link: Link) -> None:
        await link.client.send_all(b"RINGFS\x00\x02" + bytes(33) + bytes(32))

    await refused(noise, "does not speak ringfs")
    await refused(version, "version 9, not 2")
    await refused(wrong_proof, "does not have the cluster key")


async def test_nothing_is_handled_after_the_end() -> None:
    """Once a connection is closed, requests that arrived together with the last one are not handled."""

    class Closing(Answering):
        def handle(self, request: Request) -> None:
            super().handle(request)
            request.peer.close()

    handler, link = Closing(), Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(handler, KEY).serve, link.server, "")
        peer = await RawPeer.greet(link.client)
        await link.client.send_all(b"".join(peer.request(number, Heartbeat(number)) for number in (1, 2, 3)))
        await peer.wait_end()
    assert handler.handled == [Heartbeat(1)]


@pytest.mark.parametrize("length", [0, 5, 8, 40, 41, 50, 72])
async def test_half_a_handshake(length: int, autojump_clock: trio.testing.MockClock) -> None:
    """A peer that begins a handshake and stops has as long as the timeout, and no longer."""
    start = trio.current_time()

    async def attack(link: Link) -> None:
        await link.client.send_all((b"RINGFS\x00\x02" + bytes(33) + bytes(32))[:length])

    await refused(attack, "the handshake took over")
    assert trio.current_time() - start == pytest.approx(HANDSHAKE_TIMEOUT_S)


async def test_too_many_connections() -> None:
    """Past the limit a connection is closed at once; when others end there is room again."""
    server, handler = Server(Answering(), KEY), Answering()
    links = [Link() for _ in range(CONNECTIONS_MAX + 1)]
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            for link in links:
                nursery.start_soon(server.serve, link.server, "many")
            await trio.testing.wait_all_tasks_blocked()
            assert sum(link.server.is_closed for link in links) == 1
            assert [line["reason"] for line in logs] == [f"there are {CONNECTIONS_MAX} already"]
            for link in links:
                link.cut()
            await trio.testing.wait_all_tasks_blocked()
            late = Link()
            nursery.start_soon(server.serve, late.server, "late")
            async with client_on(late.client, KEY, name="late") as client:
                await client.call(Heartbeat(1))
    assert not handler.peers


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 3), st.binary(min_size=1, max_size=300), st.integers(1, 100), st.integers(0, 60))
def test_random_bytes_anywhere(true_frames: int, garbage: bytes, piece_bytes: int, true_bytes: int) -> None:
    """Random bytes after any number of correct frames, and after any part of one, in any pieces: one line, nobody else hurt."""

    async def attack(link: Link) -> None:
        link.to_server.piece_bytes_max = piece_bytes
        peer = await RawPeer.greet(link.client)
        frames = [peer.request(number, Heartbeat(number)) for number in range(1, true_frames + 2)]
        await link.client.send_all(b"".join(frames[:-1]) + frames[-1][:true_bytes] + garbage)
        link.to_server.end()
        await peer.wait_end()

    async def check() -> None:
        (line,) = await attacked(attack)
        assert line["event"] in ("connection refused", "connection ended"), line

    trio.run(check, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.integers(1, 100))
def test_random_bytes_instead_of_a_handshake(garbage: bytes, piece_bytes: int) -> None:
    """The same for a peer without the key."""

    async def attack(link: Link) -> None:
        link.to_server.piece_bytes_max = piece_bytes
        await link.client.send_all(garbage)
        link.to_server.end()

    async def check() -> None:
        (line,) = await attacked(attack)
        assert line["event"] == "connection refused", line

    trio.run(check, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 400))
def test_a_flipped_bit_anywhere(position: int) -> None:
    """One flipped bit anywhere in what a correct client sends: its connection, one line at most, nobody else."""

    async def attack(link: Link) -> None:
        link.to_server.flip_at = position
        with contextlib.suppress(ConnectionLost, Refused, trio.BrokenResourceError):
            peer = await RawPeer.greet(link.client)
            for number in range(1, 6):
                await link.client.send_all(peer.request(number, Heartbeat(number)))
            link.to_server.end()
            await peer.wait_end()
        await link.client.aclose()

    async def check() -> None:
        (line,) = await attacked(attack)
        assert line["event"] in ("connection refused", "connection ended"), line

    trio.run(check, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 500), st.sampled_from(["flip", "cut", "drop"]))
def test_a_server_gone_mad(position: int, fault: str) -> None:
    """Whatever becomes of what a server sends, from any byte on: a client's caller gets answers, ConnectionLost or Refused."""

    async def check() -> None:
        link = Link()
        if fault == "flip":
            link.to_client.flip_at = position
        elif fault == "cut":
            link.to_client.cut_after_bytes = position
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server(Answering(), KEY).serve, link.server, "mad")
            with contextlib.suppress(ConnectionLost, Refused):
                async with client_on(link.client, KEY, name="tester") as client:
                    for number in range(10):
                        if fault == "drop" and number == position // 50:
                            link.drop()
                        assert (await client.call(Heartbeat(number), timeout_s=120)).message == Done()
            assert link.client.is_closed
            nursery.cancel_scope.cancel()

    trio.run(check, clock=trio.testing.MockClock(autojump_threshold=0))
