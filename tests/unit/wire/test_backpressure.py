"""A peer that does not read, or does not answer, makes the other side wait and never grow; then everything goes on."""

from functools import partial

import pytest
import trio
import trio.testing

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import (
    FRAME_PAYLOAD_BYTES_MAX,
    MIB,
    PAYLOAD_STALL_S,
    RECEIVED_PAYLOAD_BYTES_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    REQUESTS_URGENT,
    UNSENT_BYTES_MAX,
)
from ringfs.wire.messages.cluster import ClusterMap, GetMap, MapChanged, Pair
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.data import Get, Put, PutDone
from ringfs.wire.messages.session import Heartbeat
from ringfs.wire.rpc import Request, RpcClient, serve_stream
from ringfs.wire.server import PayloadBudget
from tests.support.answering import KEY, Answering, connected
from tests.support.raw_peer import RawPeer
from tests.support.streams import Link

GET = Get(bytes(20), 0, 128, False)
PAYLOAD = bytes(MIB)
PUT = Put(bytes(20), MIB, b"")
ORDINARY = REQUESTS_IN_FLIGHT_MAX - REQUESTS_URGENT
UNSENT_ALLOWED = UNSENT_BYTES_MAX + 2 * MIB


class Keeping(Answering):
    """Keeps everything."""

    def handle(self, request: Request) -> None:
        """See Handler."""
        self.handled.append(request.message)
        self.kept.append(request)


async def test_requests_in_flight() -> None:
    """Callers wait for slots while a server does not answer; urgent requests have slots of their own; nobody is forgotten."""
    handler = Keeping()
    answered = []

    async def ask(client: RpcClient, number: int) -> None:
        await client.call(Heartbeat(number))
        answered.append(number)

    async with connected(handler) as (client, _), trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(ask, client, number)
        await trio.testing.wait_all_tasks_blocked()
        assert len(handler.kept) == ORDINARY
        assert not client.has_room
        refused: list[object] = []
        client.call_soon(Heartbeat(1), refused.append)
        assert [type(answer) for answer in refused] == [Refused]
        nursery.start_soon(partial(client.call, GetMap(), urgent=True))
        await trio.testing.wait_all_tasks_blocked()
        assert handler.kept[-1].message == GetMap()
        handler.kept.pop().reply(ClusterMap(1, "", []))
        while handler.kept:
            handler.kept.pop(0).reply(Done())
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(answered) == list(range(1000))


async def test_server_stops_reading_at_too_many_requests() -> None:
    """A client that breaks the rule is not read from until it has fewer requests unanswered."""
    handler, link = Keeping(), Link(capacity_bytes=20_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, KEY, link.server)
        peer = await RawPeer.greet(link.client)
        frames = b"".join(peer.request(number, Heartbeat(number)) for number in range(1, 3001))
        nursery.start_soon(link.client.send_all, frames)
        await trio.testing.wait_all_tasks_blocked()
        assert len(handler.kept) == REQUESTS_IN_FLIGHT_MAX
        handler.kept.pop(0).reply(Done())
        await trio.testing.wait_all_tasks_blocked()
        assert len(handler.kept) == REQUESTS_IN_FLIGHT_MAX
        while handler.kept:
            handler.kept.pop(0).reply(Done())
            await trio.testing.wait_all_tasks_blocked()
        assert [frame.number for frame in await peer.answers(3000)] == list(range(1, 3001))
        nursery.cancel_scope.cancel()


async def test_client_does_not_read() -> None:
    """What a server has to say to a peer that does not read is bounded, and it takes no more from it; reading mends it."""
    handler, link = Answering(PAYLOAD), Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, KEY, link.server)
        peer = await RawPeer.greet(link.client)
        await link.client.send_all(b"".join(peer.request(number, GET) for number in range(1, 201)))
        await trio.testing.wait_all_tasks_blocked()
        most = handler.peers[0]._connection.unsent_bytes
        assert most + MIB >= UNSENT_BYTES_MAX
        assert most <= UNSENT_ALLOWED
        assert len(handler.handled) <= UNSENT_ALLOWED // MIB + 2
        assert not handler.peers[0].has_room
        assert [len(frame.payload) for frame in await peer.answers(200)] == [MIB] * 200
        assert handler.peers[0].has_room
        nursery.cancel_scope.cancel()


async def test_wait_room() -> None:
    """A handler's task can wait until a peer takes large answers, and is woken when it is gone as well."""
    handler, link = Keeping(), Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, KEY, link.server)
        peer = await RawPeer.greet(link.client)
        await link.client.send_all(b"".join(peer.request(number, GET) for number in range(1, 41)))
        await trio.testing.wait_all_tasks_blocked()
        sent = []

        async def answer_all() -> None:
            for request in handler.kept:
                await request.peer.wait_room()
                request.reply(Done(), [PAYLOAD])
                sent.append(request)

        nursery.start_soon(answer_all)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) <= UNSENT_ALLOWED // MIB + 1
        await peer.answers(5)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) < 40
        await link.client.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == 40


async def test_server_does_not_take_payloads() -> None:
    """A server takes so many bytes of payload, a client keeps so many unsent, all others wait; then all are served."""
    handler, count = Keeping(), 200

    async with connected(handler) as (client, _), trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(client.call, PUT, [PAYLOAD])
        await trio.testing.wait_all_tasks_blocked()
        assert len(handler.kept) == RECEIVED_PAYLOAD_BYTES_MAX // MIB
        assert client._connection.unsent_bytes <= UNSENT_ALLOWED
        assert len(client._pending) < 100
        answered = 0
        while handler.kept:
            handler.kept.pop(0).reply(PutDone(True))
            answered += 1
            await trio.testing.wait_all_tasks_blocked()
        assert answered == count


async def test_calls_that_wait_for_room_end_with_the_connection() -> None:
    """Whoever waits for a slot or for room learns that the connection is lost."""
    lost = []

    async def ask(client: RpcClient) -> None:
        with pytest.raises(ConnectionLost):
            await client.call(PUT, [PAYLOAD])
        lost.append(client)

    async with connected(Keeping()) as (client, link), trio.open_nursery() as nursery:
        for _ in range(ORDINARY + 50):
            nursery.start_soon(ask, client)
        await trio.testing.wait_all_tasks_blocked()
        link.cut()
    assert len(lost) == ORDINARY + 50


async def test_timeout_while_waiting_for_room(autojump_clock: trio.testing.MockClock) -> None:
    """A call's timeout counts from its beginning, not from when it could be sent."""
    async with connected(Keeping()) as (client, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ConnectionLost):
                await client.call(Heartbeat(1))

        for _ in range(ORDINARY):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        with pytest.raises(ConnectionLost, match="takes no more requests"):
            await client.call(Heartbeat(2), timeout_s=3)
        assert trio.current_time() - start == pytest.approx(3)


async def test_cancelled_while_waiting_for_room() -> None:
    """A caller that gives up while it waits takes no slot with it."""
    handler = Keeping()
    async with connected(handler) as (client, _), trio.open_nursery() as nursery:
        for _ in range(ORDINARY):
            nursery.start_soon(client.call, Heartbeat(1))
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as impatient:
            for _ in range(20):
                impatient.start_soon(client.call, Heartbeat(2))
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        for request in handler.kept:
            request.reply(Done())
        await trio.testing.wait_all_tasks_blocked()
        assert client._slots.value == ORDINARY


async def test_cancelled_while_waiting_for_unsent_bytes() -> None:
    """The same for one that has its slot already and waits until others' bytes are sent."""
    handler = Keeping()
    async with connected(handler) as (client, _), trio.open_nursery() as nursery:
        while client._connection.has_room:
            nursery.start_soon(client.call, PUT, [PAYLOAD])
            await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as impatient:
            for _ in range(20):
                impatient.start_soon(client.call, PUT, [PAYLOAD])
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        while handler.kept:
            handler.kept.pop().reply(PutDone(True))
            await trio.testing.wait_all_tasks_blocked()
        assert client._slots.value == ORDINARY


async def test_pushes_to_a_peer_that_does_not_read() -> None:
    """Pushes pile up to a bound; past it the peer loses its connection."""
    handler, link = Answering(), Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, KEY, link.server)
        await RawPeer.greet(link.client)
        await trio.testing.wait_all_tasks_blocked()
        (peer,) = handler.peers
        for _ in range(100):
            peer.push(Pair(b"", PAYLOAD))
            assert peer._connection.unsent_bytes <= 2 * UNSENT_BYTES_MAX + 2 * MIB
        await trio.testing.wait_all_tasks_blocked()
        assert handler.gone == [peer]
        peer.push(MapChanged(ClusterMap(1, "", [])))


async def test_stalled_payload(autojump_clock: trio.testing.MockClock) -> None:
    """A payload that does not get on ends its connection and gives its memory back; slow ones are waited for."""
    handler, link = Answering(), Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, KEY, link.server)
        peer = await RawPeer.greet(link.client)
        frame = peer.request(1, Put(bytes(20), FRAME_PAYLOAD_BYTES_MAX, b""), bytes(FRAME_PAYLOAD_BYTES_MAX))
        for start in range(0, len(frame), MIB):
            await link.client.send_all(frame[start : start + MIB])
            await trio.sleep(PAYLOAD_STALL_S * 0.9)
        assert (await peer.answers(1))[0].message == PutDone(True)
        frame = peer.request(2, PUT, PAYLOAD)
        await link.client.send_all(frame[:-1])
        start_s = trio.current_time()
        await peer.wait_end()
        assert trio.current_time() - start_s == pytest.approx(PAYLOAD_STALL_S)
    assert handler.peers[0]._budget._free_bytes == RECEIVED_PAYLOAD_BYTES_MAX


async def test_idle_peer(autojump_clock: trio.testing.MockClock) -> None:
    """An authenticated peer may be silent for a week, even with half a frame sent; its requests are answered then."""
    handler, link = Answering(), Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, handler, KEY, link.server)
        peer = await RawPeer.greet(link.client)
        for number in (1, 2):
            frame = peer.request(number, Heartbeat(1))
            await link.client.send_all(frame[:20])
            await trio.sleep(7 * 86_400)
            await link.client.send_all(frame[20:])
            assert (await peer.answers(1))[0].message == Done()
        nursery.cancel_scope.cancel()


async def test_budget_comes_back_from_a_lost_peer() -> None:
    """Payloads of a peer that is gone are not counted any more, answered or not, and answering them late changes nothing."""
    handler = Keeping()
    async with connected(handler) as (client, link):
        for _ in range(3):
            client.call_soon(PUT, lambda answer: None, [PAYLOAD])
        await trio.testing.wait_all_tasks_blocked()
        budget = handler.peers[0]._budget
        handler.kept[0].reply(PutDone(True))
        assert budget._free_bytes == RECEIVED_PAYLOAD_BYTES_MAX - 2 * MIB
        link.cut()
        await trio.testing.wait_all_tasks_blocked()
        handler.kept[1].reply(PutDone(True))
        assert budget._free_bytes == RECEIVED_PAYLOAD_BYTES_MAX


async def test_budget_is_first_come_first_served() -> None:
    """A large wish is not overtaken by smaller ones behind it, unless it is given up."""
    budget = PayloadBudget(10)
    await budget.take(7)
    order = []

    async def take(size: int) -> None:
        await budget.take(size)
        order.append(size)

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as impatient:
            impatient.start_soon(take, 8)
            await trio.testing.wait_all_tasks_blocked()
            for size in (3, 1):
                nursery.start_soon(take, size)
                await trio.testing.wait_all_tasks_blocked()
            assert order == []
            impatient.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert order == [3]
        budget.give(9)
    assert order == [3, 1]
    budget.give(1)
    await budget.take(9)
