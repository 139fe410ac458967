"""Calls, callbacks, pushes, refusals, and the end of connections, over links in memory and over TCP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from ringfs.base.errors import Code, ConnectionLost, PeerBrokeProtocol, Refused, UserError
from ringfs.base.limits import FRAME_PAYLOAD_BYTES_MAX, HANDSHAKE_TIMEOUT_S, MIB, PAYLOAD_SMALL_BYTES
from ringfs.wire.messages.cluster import ClusterMap, GetMap, GetStatus, MapChanged
from ringfs.wire.messages.common import Done, Refusal
from ringfs.wire.messages.data import Blocks, Get, Put, PutDone
from ringfs.wire.messages.session import Heartbeat
from ringfs.wire.rpc import Answer, Peer, Request, RpcClient, client_on, open_client, serve_stream, serve_tcp
from tests.support.answering import KEY, Answering, connected
from tests.support.streams import Link, Network

PUSHED = MapChanged(ClusterMap(2, "cluster", []))
GET = Get(bytes(20), 0, 128, False)
CONTENT = bytes(range(256)) * (4 * MIB // 256)


def put(size_bytes: int) -> Put:
    """A request that goes with a payload."""
    return Put(bytes(20), size_bytes, b"")


@asynccontextmanager
async def over_tcp(handler: Answering) -> AsyncIterator[RpcClient]:
    """A client of handler over TCP."""
    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve_tcp, handler, KEY, "127.0.0.1:0")
        async with open_client(address, KEY, name="tester") as client:
            yield client
        nursery.cancel_scope.cancel()


async def exercise(client: RpcClient, handler: Answering) -> None:
    """A bit of everything."""
    assert (await client.call(Heartbeat(1))).message == Done()
    with pytest.raises(Refused) as refused:
        await client.call(GetStatus())
    assert (refused.value.code, refused.value.detail) == (Code.NOT_LEADER, "meta2 leads")
    answer = await client.call(put(len(CONTENT)), [CONTENT[:1000], memoryview(CONTENT)[1000:]])
    assert answer.message == PutDone(True)
    assert handler.payloads.pop() == CONTENT
    answer = await client.call(GET, timeout_s=60)
    assert answer.message == Blocks(len(CONTENT), b"")
    assert answer.payload == CONTENT


async def test_in_memory() -> None:
    """Messages and payloads in both directions over a stream that cannot send without waiting."""
    handler = Answering(CONTENT)
    async with connected(handler) as (client, _):
        await exercise(client, handler)


async def test_over_tcp() -> None:
    """The same over TCP."""
    handler = Answering(CONTENT)
    async with over_tcp(handler) as client:
        await exercise(client, handler)


@pytest.mark.parametrize("piece_bytes", [1, 47, 48, 1460])
async def test_fragments_and_delay(piece_bytes: int, autojump_clock: trio.testing.MockClock) -> None:
    """The same over a slow link that tears everything to pieces."""
    handler = Answering(CONTENT[: 1000 * piece_bytes])
    link = Link(capacity_bytes=5000)
    link.to_client.piece_bytes_max = link.to_server.piece_bytes_max = piece_bytes
    link.delay(0.1)
    async with connected(handler, link) as (client, _):
        payload = CONTENT[: 500 * piece_bytes]
        await client.call(put(len(payload)), [payload])
        assert handler.payloads == [payload]
        assert (await client.call(GET)).payload == handler.content


@pytest.mark.parametrize(
    "size", [0, 1, PAYLOAD_SMALL_BYTES, PAYLOAD_SMALL_BYTES + 1, 50_000, 65_536, 65_537, FRAME_PAYLOAD_BYTES_MAX]
)
async def test_payload_sizes(size: int) -> None:
    """Payloads of every size, those that arrive with their frame and those that do not, twice in a row, both ways."""
    handler = Answering(CONTENT[:1] * size)
    async with over_tcp(handler) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(client.call, put(max(size, 1)), [handler.content])
        assert [bytes(payload) == handler.content for payload in handler.payloads] == [True, True]
        assert (await client.call(GET)).payload == handler.content


async def test_many_at_once_over_tcp() -> None:
    """Many callers share a connection; everybody gets their own answer."""
    handler = Answering()
    numbers: list[int] = []

    async def caller(client: RpcClient, number: int) -> None:
        for _ in range(20):
            size = 1 + number * 1000
            await client.call(put(size), [bytes([number]) * size])
        numbers.append(number)

    async with over_tcp(handler) as client, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(caller, client, number)
    assert sorted(numbers) == list(range(50))
    for payload in handler.payloads:
        assert len(set(payload)) == 1
        assert len(payload) == 1 + payload[0] * 1000


async def test_answers_in_any_order() -> None:
    """A handler may keep requests and answer later, in any order, from anywhere."""
    handler = Answering()
    got: dict[str, object] = {}

    async def ask(client: RpcClient, name: str) -> None:
        got[name] = (await client.call(GetMap())).message

    async with connected(handler) as (client, _), trio.open_nursery() as nursery:
        nursery.start_soon(ask, client, "one")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, client, "two")
        await trio.testing.wait_all_tasks_blocked()
        handler.kept[1].reply(ClusterMap(2, "", []))
        await trio.testing.wait_all_tasks_blocked()
        assert got == {"two": ClusterMap(2, "", [])}
        handler.kept[0].reply(ClusterMap(1, "", []))
    assert got["one"] == ClusterMap(1, "", [])


async def test_callbacks() -> None:
    """call_soon answers through a callback, which may ask again."""
    handler = Answering()
    got: list[object] = []
    done = trio.Event()

    async with connected(handler) as (client, _):

        def again(answer: Answer | Refused | ConnectionLost) -> None:
            assert isinstance(answer, Answer)
            got.append(answer.message)
            client.call_soon(GetStatus(), refused)

        def refused(answer: Answer | Refused | ConnectionLost) -> None:
            got.append(answer)
            done.set()

        assert client.has_room
        client.call_soon(Heartbeat(1), again)
        await done.wait()
    assert got[0] == Done()
    assert isinstance(got[1], Refused)


async def test_refusal_of_an_unknown_number() -> None:
    """A refusal that a newer server knows is an I/O error that names the number."""

    class Newer(Answering):
        def handle(self, request: Request) -> None:
            request.reply(Refusal(4711, "new"))

    async with connected(Newer()) as (client, _):
        with pytest.raises(Refused, match="refusal 4711 new") as refused:
            await client.call(Heartbeat(1))
    assert refused.value.code is Code.IO


async def test_push() -> None:
    """A server's pushes arrive in order, those from connected() first."""

    class Pushing(Answering):
        def connected(self, peer: Peer) -> None:
            super().connected(peer)
            peer.push(PUSHED)

    handler = Pushing()
    got: list[object] = []
    async with connected(handler, on_push=got.append) as (client, _):
        await client.call(Heartbeat(1))
        assert got == [PUSHED]
        handler.peers[0].push(MapChanged(ClusterMap(3, "", [])))
        await trio.testing.wait_all_tasks_blocked()
        assert got[1:] == [MapChanged(ClusterMap(3, "", []))]


async def test_peer() -> None:
    """A handler sees who connected, gives it tasks that end with it, and is told once that it left, after them."""
    ended: list[object] = []

    class WithTask(Answering):
        def connected(self, peer: Peer) -> None:
            super().connected(peer)
            peer.start_soon(self.task, "argument")

        async def task(self, argument: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append((argument, list(self.gone)))

    handler, link = WithTask(), Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_stream(handler, KEY, link.server, name="a link"))
        async with client_on(link.client, KEY, name="mount on host7") as client:
            await client.call(Heartbeat(1))
            assert [peer.name for peer in handler.peers] == ["mount on host7 a link"]
    assert ended == [("argument", [])]
    assert handler.gone == handler.peers


async def test_server_closes_a_peer() -> None:
    """Peer.close ends the connection on both sides; the client's calls and later ones are ConnectionLost."""
    handler = Answering()
    async with connected(handler) as (client, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_lost, client)
            await trio.testing.wait_all_tasks_blocked()
            handler.peers[0].close()
        await client.lost.wait()
        await expect_lost(client)
        got: list[object] = []
        client.call_soon(Heartbeat(1), got.append)
        assert [type(answer) for answer in got] == [ConnectionLost]
    # What the handler had kept is answered to nobody.
    handler.kept[0].reply(Done())


async def test_refused_and_closed() -> None:
    """A refusal that is followed by the end of the connection still arrives, over TCP."""

    class Closing(Answering):
        def handle(self, request: Request) -> None:
            request.refuse(Code.WRONG_CLUSTER)
            request.peer.close()

    async with over_tcp(Closing()) as client:
        with pytest.raises(Refused):
            await client.call(Heartbeat(1))
        await client.lost.wait()


async def test_handler_finds_nonsense() -> None:
    """A handler may find that a message makes no sense from this peer: that costs the connection and no more."""

    class Strict(Answering):
        def handle(self, request: Request) -> None:
            raise PeerBrokeProtocol("a heartbeat without a session")

    handler = Strict()
    with capture_logs() as logs:
        async with connected(handler) as (client, _):
            await expect_lost(client)
    assert handler.gone == handler.peers
    assert [(line["log_level"], line["reason"]) for line in logs] == [("warning", "a heartbeat without a session")]


async def expect_lost(client: RpcClient) -> None:
    """A call that the connection does not survive."""
    with pytest.raises(ConnectionLost):
        await client.call(GetMap())


async def test_client_ends_with_its_block() -> None:
    """Leaving the block closes the connection and answers every callback."""
    handler = Answering()
    got: list[object] = []
    async with connected(handler) as (client, link):
        client.call_soon(GetMap(), got.append)
        await client.call(Heartbeat(1))
        await client.aclose()
        assert client.lost.is_set()
        assert [type(answer) for answer in got] == [ConnectionLost]
    assert link.client.is_closed
    assert handler.gone == handler.peers


async def test_body_exceptions_are_not_wrapped() -> None:
    """An exception of the block leaves it as it is."""
    link = Link()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, Answering(), KEY, link.server)
        with pytest.raises(Refused):
            async with client_on(link.client, KEY, name="tester") as client:
                await client.call(GetStatus())


async def test_cut_in_the_middle() -> None:
    """A cut anywhere in a conversation is ConnectionLost for every unanswered call, and nothing else."""
    for cut_after in range(85, 400, 7):
        handler, link = Answering(bytes(200)), Link()
        link.to_client.cut_after_bytes = cut_after
        async with connected(handler, link) as (client, _):
            with pytest.raises(ConnectionLost):
                await ask_for_ever(client)
        assert len(handler.gone) == len(handler.peers) == 1


async def ask_for_ever(client: RpcClient) -> None:
    """Until something ends it."""
    while True:
        await client.call(GET)


async def test_call_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """An answer that does not come in time costs the connection, for all who wait on it; earlier deadlines count first."""
    handler = Answering()
    async with connected(handler) as (client, _):
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_lost, client)
            await trio.testing.wait_all_tasks_blocked()
            client.call_soon(GetMap(), lambda answer: None, timeout_s=100)
            with pytest.raises(ConnectionLost, match="not answered in time"):
                await client.call(GetMap(), timeout_s=7)
        assert trio.current_time() - start == pytest.approx(7)


async def test_timeouts_of_answered_calls_are_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """A deadline that was met, or whose call was cancelled, never costs the connection."""
    handler = Answering()
    async with connected(handler) as (client, _):
        for _ in range(3):
            await client.call(Heartbeat(1), timeout_s=5)
            with trio.move_on_after(1):
                await client.call(GetMap(), timeout_s=5)
            await trio.sleep(20)
        assert not client.lost.is_set()
        handler.kept[0].reply(Done())
        await client.call(Heartbeat(1))


async def test_a_link_that_drops(autojump_clock: trio.testing.MockClock) -> None:
    """When nothing arrives any more, only the timeout tells."""
    async with connected(Answering()) as (client, link):
        link.drop()
        with pytest.raises(ConnectionLost, match="not answered in time"):
            await client.call(Heartbeat(1), timeout_s=3)


async def test_cancelled_call() -> None:
    """A cancelled call's answer is forgotten when it comes; the connection goes on."""
    handler = Answering()
    async with connected(handler) as (client, _):
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.call, GetMap())
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
        for request in handler.kept:
            request.reply(ClusterMap(1, "", []))
        assert (await client.call(Heartbeat(1))).message == Done()


async def test_answered_twice_is_a_bug() -> None:
    """The second answer to a request is an assertion, not a frame."""
    handler = Answering()
    async with connected(handler) as (client, _):
        client.call_soon(GetMap(), lambda answer: None)
        await trio.testing.wait_all_tasks_blocked()
        handler.kept[0].refuse(Code.IO)
        with pytest.raises(AssertionError, match="answered once"):
            handler.kept[0].refuse(Code.IO)


async def test_a_bug_in_a_handler_stops_the_server() -> None:
    """An exception of a handler propagates out of the server."""

    class Broken(Answering):
        def handle(self, request: Request) -> None:
            raise ZeroDivisionError

    handler, link = Broken(), Link()

    async def serve() -> None:
        with pytest.raises(ExceptionGroup) as group:
            await serve_stream(handler, KEY, link.server)
        assert group.value.subgroup(ZeroDivisionError)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with client_on(link.client, KEY, name="tester") as client:
            await expect_lost(client)
    assert handler.gone == handler.peers


async def test_a_bug_in_a_callback_propagates() -> None:
    """An exception of on_answer is not swallowed."""

    def broken(_answer: object) -> None:
        raise ZeroDivisionError

    async def call() -> None:
        async with connected(Answering()) as (client, _):
            client.call_soon(Heartbeat(1), broken)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as group:
        await call()
    assert group.value.subgroup(ZeroDivisionError)


async def test_nobody_there() -> None:
    """No server, no port, or nonsense for an address: a reason in one line."""
    with pytest.raises(ConnectionLost, match=r"cannot connect to 127.0.0.1:1"):
        async with open_client("127.0.0.1:1", KEY, name="tester"):
            pass
    with pytest.raises(UserError, match="not an address"):
        async with open_client("nonsense", KEY, name="tester"):
            pass


async def test_second_server_on_an_address() -> None:
    """A taken address is a mistake of a person."""
    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve_tcp, Answering(), KEY, "127.0.0.1:0")
        with pytest.raises(UserError, match="is another server running"):
            await serve_tcp(Answering(), KEY, address)
        nursery.cancel_scope.cancel()


async def test_silent_server(autojump_clock: trio.testing.MockClock) -> None:
    """A server that accepts and says nothing costs the client its timeout and no more."""
    link = Link()
    start = trio.current_time()
    with pytest.raises(ConnectionLost, match="handshake took over"):
        async with client_on(link.client, KEY, name="tester"):
            pass
    assert trio.current_time() - start == pytest.approx(HANDSHAKE_TIMEOUT_S)
    assert link.client.is_closed


async def test_wrong_cluster_over_tcp() -> None:
    """A client of another cluster is told so, and the server logs one line."""
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(serve_tcp, Answering(), KEY, "127.0.0.1:0")
            with pytest.raises(Refused) as refused:
                async with open_client(address, bytes(32), name="tester"):
                    pass
            async with open_client(address, KEY, name="tester") as client:
                await client.call(Heartbeat(1))
            nursery.cancel_scope.cancel()
    assert refused.value.code is Code.WRONG_CLUSTER
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["connection refused"]


async def test_network_in_memory(autojump_clock: trio.testing.MockClock) -> None:
    """tests.support.streams.Network stands in for TCP: dialling, cutting, unreachable addresses."""
    network, handler = Network(), Answering()
    network.delay_s = 0.5
    async with trio.open_nursery() as nursery:
        await nursery.start(network.serve, handler, KEY, "meta1:7000")
        async with open_client("meta1:7000", KEY, name="tester", dial=network.dial) as client:
            start = trio.current_time()
            await client.call(Heartbeat(1))
            assert trio.current_time() - start == pytest.approx(1)
            network.cut("meta1:7000")
            await client.lost.wait()
        network.unreachable.add("meta1:7000")
        with pytest.raises(ConnectionLost, match="cannot connect to meta1:7000"):
            async with open_client("meta1:7000", KEY, name="tester", dial=network.dial):
                pass
        nursery.cancel_scope.cancel()
