"""The data node's conversation over real frames: each request, each refusal, slow readers, many at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import MIB, OBJECT_BYTES_MAX, PAGE_ENTRIES_MAX, UNSENT_BYTES_MAX
from ringfs.data import health as health_module
from ringfs.data import server as server_module
from ringfs.data.segment_log import SegmentSizes
from ringfs.data.server import DataServer
from ringfs.data.store import ObjectStore
from ringfs.ring.parts import Part
from ringfs.wire.messages.cluster import GetMap
from ringfs.wire.messages.data import (
    WHOLE,
    Blocks,
    Delete,
    Deleted,
    Drop,
    Dropped,
    Get,
    GetStoreStatus,
    Have,
    Held,
    HeldPart,
    ListObjects,
    ObjectPage,
    Put,
    PutDone,
    StoreStatus,
    SurplusPart,
    Verified,
    Verify,
)
from ringfs.wire.rpc import Handler, RpcClient, client_on, serve_stream
from tests.support.nodes import MemoryNode
from tests.support.stores import Made, TickingClock, fragment_of, made, running
from tests.support.streams import Link

KEY = bytes(32)
LARGE = SegmentSizes(segment_bytes=64 * MIB, segment_bytes_min=MIB, reserve_bytes=0)
BLOCK = 65536


@asynccontextmanager
async def node(directory: Path) -> AsyncIterator[tuple[RpcClient, ObjectStore, DataServer, trio.Nursery]]:
    """A client of a data node."""
    async with running(directory, LARGE) as store, trio.open_nursery() as nursery:
        server = DataServer(store, "the cluster", TickingClock())
        nursery.start_soon(server.run)
        async with connected(server, nursery) as client:
            yield client, store, server, nursery
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(
    server: Handler, nursery: trio.Nursery, link: Link | None = None, name: str = "tester"
) -> AsyncIterator[RpcClient]:
    """One more client."""
    link = link or Link()
    nursery.start_soon(serve_stream, server, KEY, link.server)
    async with client_on(link.client, KEY, name=name) as client:
        yield client


async def ask(client: RpcClient, message: Any, payload: bytes = b"") -> Any:
    """The answer's message, or the refusal's code."""
    try:
        return (await client.call(message, [payload] if payload else ())).message
    except Refused as refused:
        return refused.code


def put_of(thing: Made) -> Put:
    """The request that puts it."""
    return Put(thing.oid, thing.size_bytes, thing.table, thing.part.pack(), thing.own_table)


async def test_each_request(tmp_path: Path) -> None:
    """Put, get, have, list, verify, delete, status: as messages/data.py says."""
    thing = made(1, 3 * BLOCK + 5)
    async with node(tmp_path) as (client, store, server, _):
        server.node = 4
        assert await ask(client, put_of(thing), thing.content) == PutDone(True)
        assert await ask(client, put_of(thing), thing.content) == PutDone(False)
        answer = await client.call(Get(thing.oid, 0, 128, True))
        assert (answer.message, bytes(answer.payload)) == (Blocks(len(thing.content), thing.table), thing.content)
        answer = await client.call(Get(thing.oid, 3, 1, False))
        assert (answer.message, bytes(answer.payload)) == (Blocks(len(thing.content), b""), thing.content[3 * BLOCK :])
        assert await ask(client, Have([b"x" * 20, thing.oid])) == Held([HeldPart(thing.oid, WHOLE)])
        page: ObjectPage = await ask(client, ListObjects(b"", 10))
        assert [(row.object, row.size_bytes) for row in page.objects] == [(thing.oid, len(thing.content))]
        birth_ns = page.objects[0].birth_ns
        assert await ask(client, Verify(thing.oid)) == Verified(True, [])
        assert await ask(client, Delete(thing.oid, birth_ns - 1)) == Deleted(False)
        status: StoreStatus = await ask(client, GetStoreStatus())
        assert (status.node, status.uuid, status.cluster) == (4, str(store.identity.disk), "the cluster")
        assert (status.object_count, status.segment_count, status.trouble) == (1, 1, "")
        assert status.used_bytes > len(thing.content)
        assert status.free_bytes > 0
        assert await ask(client, Delete(thing.oid, birth_ns)) == Deleted(True)
        assert await ask(client, Have([thing.oid])) == Held([])


async def _talk_of_parts(client: RpcClient) -> list[Any]:
    """All that is said of parts, births left out."""
    thing = made(7, 12 * BLOCK + 5)
    parts = [fragment_of(thing, 4, 2, number) for number in (1, 3, 5)]
    answers: list[Any] = []

    async def say(message: Any, payload: bytes = b"") -> Any:
        try:
            answer = await client.call(message, [payload] if payload else ())
            answers.append((answer.message, bytes(answer.payload)))
            return answer.message
        except Refused as refused:
            answers.append(refused.code)

    await say(put_of(parts[0]), parts[1].content)
    await say(put_of(parts[2]), parts[0].content)
    for part in [*parts, *parts]:
        await say(put_of(part), part.content)
    for asked in [*(part.part.pack() for part in parts), b"", WHOLE, b"\1\1\0"]:
        for first, count in [(0, 0), (0, 2), (1, 1), (4, 4), (6, 5), (12, 9), (99, 1)]:
            await say(Get(thing.oid, first, count, want_table=first % 2 == 0, part=asked))
        await say(Verify(thing.oid, asked or WHOLE))
    await say(Have([thing.oid, b"x" * 20]))
    rows = (await client.call(ListObjects(b"", 10))).message.objects
    answers.append([(row.object, row.size_bytes, row.part) for row in rows])
    await say(ListObjects(thing.oid, 10))
    more = (await client.call(ListObjects(thing.oid + rows[0].part, 1))).message
    answers.append(([row.part for row in more.objects], more.more))
    surplus = [SurplusPart(thing.oid, row.part, row.birth_ns - 1 + index) for index, row in enumerate(rows)]
    await say(Drop(surplus))
    await say(Drop(surplus))
    await say(Have([thing.oid]))
    await say(Delete(thing.oid, 1 << 62))
    await say(Have([thing.oid]))
    return answers


async def test_parts(tmp_path: Path) -> None:
    """Put, get, have, list, verify, drop, delete of fragments, as messages/data.py says; nodes in memory say the same."""
    async with node(tmp_path) as (client, _, _, nursery):
        answers = await _talk_of_parts(client)
        memory_node = MemoryNode("data1", "data1:7100", "", TickingClock(), KEY)
        async with connected(memory_node, nursery) as other:
            assert await _talk_of_parts(other) == answers
    assert answers[:8] == [Code.BAD_REQUEST, Code.CORRUPT] + [(PutDone(True), b"")] * 3 + [(PutDone(False), b"")] * 3
    assert answers[-5:] == [
        (Dropped(2), b""),
        (Dropped(2), b""),
        (Held([HeldPart(made(7, 12 * BLOCK + 5).oid, Part(4, 2, 1).pack())]), b""),
        (Deleted(True), b""),
        (Held([]), b""),
    ]


async def test_have_of_very_many(tmp_path: Path) -> None:
    """Every part of all that are held, in the order asked; refused if an answer cannot name them all."""
    things = [made(seed, 100) for seed in range(3)]
    strangers = [seed.to_bytes(20, "big") for seed in range(PAGE_ENTRIES_MAX - 3)]
    async with node(tmp_path) as (client, store, _, _):
        for thing in things:
            await ask(client, put_of(thing), thing.content)
        fragment = fragment_of(things[1], 2, 1, 0)
        await ask(client, put_of(fragment), fragment.content)
        asked = [things[0].oid, *strangers[:2000], things[1].oid, *strangers[2000:], things[2].oid]
        keys = [things[0].stored.key, things[1].stored.key, fragment.stored.key, things[2].stored.key]
        assert await ask(client, Have(asked)) == Held([HeldPart(key[:20], key[20:]) for key in keys])
        for number in range(5):
            store._index.add(things[0].oid + Part(2, 1 + number, 0).pack(), 1 << 40 | 4096 * number, 100, number)
        assert await ask(client, Have([things[0].oid] * PAGE_ENTRIES_MAX)) is Code.INVALID


async def test_what_clients_ask_is_noted(tmp_path: Path) -> None:
    """Puts and gets of clients; not what stewards do, nor questions about parts. The status says how long ago it was."""
    thing = made(8)
    async with node(tmp_path) as (client, _, server, nursery):
        assert (await ask(client, GetStoreStatus())).clients_silent_ms < 60_000
        server.clients_asked_ns -= 10**12
        async with connected(server, nursery, name="steward data2") as steward:
            assert await ask(steward, put_of(thing), thing.content) == PutDone(True)
            await steward.call(Get(thing.oid, 0, 1, False))
            await ask(client, Have([thing.oid]))
            assert (await ask(client, GetStoreStatus())).clients_silent_ms >= 10**6
            await client.call(Get(thing.oid, 0, 1, False))
            assert (await ask(client, GetStoreStatus())).clients_silent_ms < 10**6


async def test_wrong_parts_wait_to_be_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a get or a verify found wrong is noted once, up to a bound, until it is taken or put anew."""
    monkeypatch.setattr(health_module, "BAD_PARTS_MAX", 2)
    things = [made(seed, 2 * BLOCK) for seed in range(3)]
    async with node(tmp_path) as (client, store, _, nursery):
        for thing in things:
            await ask(client, put_of(thing), thing.content)
        (segment,) = (tmp_path / "segments").iterdir()
        with segment.open("r+b") as file:
            for number in range(3):
                file.seek(4096 + number * (4096 + 2 * BLOCK) + 4096)
                file.write(b"rot")
        met = trio.Event()

        async def wait() -> None:
            await store.health.wait_bad_parts()
            met.set()

        nursery.start_soon(wait)
        assert store.health.take_bad_parts() == []
        assert await ask(client, Get(things[0].oid, 0, 1, False)) is Code.CORRUPT
        with trio.fail_after(120):
            await met.wait()
        for thing in things:
            assert (await ask(client, Verify(thing.oid))).bad_blocks == [0]
        assert (await ask(client, GetStoreStatus())).bad_part_count == 2
        assert await ask(client, put_of(things[1]), things[1].content) == PutDone(True)
        assert store.health.take_bad_parts() == [things[0].stored]
        assert store.health.take_bad_parts() == []


async def test_refusals(tmp_path: Path) -> None:
    """Each by its code; the connection goes on."""
    thing, other = made(2), made(3)
    async with node(tmp_path) as (client, _, _, _):
        assert await ask(client, Get(thing.oid, 0, 1, False)) is Code.NOT_HELD
        assert await ask(client, Verify(thing.oid)) is Code.NOT_HELD
        assert await ask(client, put_of(thing), other.content) is Code.CORRUPT
        assert await ask(client, put_of(thing), thing.content[:-1]) is Code.BAD_REQUEST
        assert await ask(client, put_of(thing)) is Code.BAD_REQUEST
        assert await ask(client, ListObjects(b"", 0)) is Code.INVALID
        assert await ask(client, ListObjects(b"abc", 5)) is Code.INVALID
        assert await ask(client, GetMap()) is Code.BAD_REQUEST
        assert await ask(client, put_of(thing), thing.content) == PutDone(True)
        assert await ask(client, Get(thing.oid, 100, 1, False)) is Code.INVALID


async def test_pages_are_bounded(tmp_path: Path) -> None:
    """A page holds at most what the server chooses; following `more` lists everything once, in order."""
    async with node(tmp_path) as (client, store, _, _):
        things = sorted((made(seed, 100) for seed in range(30)), key=lambda thing: thing.oid)
        async with trio.open_nursery() as nursery:
            for thing in things:
                nursery.start_soon(ask, client, put_of(thing), thing.content)
        seen: list[bytes] = []
        more = True
        while more:
            page: ObjectPage = await ask(client, ListObjects(seen[-1] if seen else b"", 7))
            assert len(page.objects) <= 7
            seen += [row.object for row in page.objects]
            more = page.more
        assert seen == [thing.oid for thing in things]
        assert len((await ask(client, ListObjects(b"", PAGE_ENTRIES_MAX))).objects) == 30
        assert store.figures().part_count == 30


async def test_many_clients_at_once(tmp_path: Path) -> None:
    """Every put is answered after it is held, every get gives its own bytes."""
    async with node(tmp_path) as (_, _, server, nursery):

        async def work(seed: int) -> None:
            things = [made(seed + step, 1 + 30_000 * step) for step in range(6)]
            async with connected(server, nursery) as client:
                for thing in things:
                    assert await ask(client, put_of(thing), thing.content) == PutDone(True)
                for thing in things:
                    answer = await client.call(Get(thing.oid, 0, 128, False))
                    assert answer.payload == thing.content

        async with trio.open_nursery() as workers:
            for seed in range(0, 1200, 100):
                workers.start_soon(work, seed)


async def test_a_full_queue_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests than may wait: OVERLOADED for those, the others are served."""
    monkeypatch.setattr(server_module, "GETS_WAITING_MAX", 2)
    thing = made(4)
    async with running(tmp_path) as store, trio.open_nursery() as nursery:
        server = DataServer(store, "c", TickingClock())
        async with connected(server, nursery) as client:
            codes: list[Any] = []

            async def get() -> None:
                codes.append(await ask(client, Get(thing.oid, 0, 1, False)))

            async with trio.open_nursery() as getters:
                for _ in range(5):
                    getters.start_soon(get)
                while len(codes) < 3:
                    await trio.lowlevel.checkpoint()
                assert codes == [Code.OVERLOADED] * 3
                nursery.start_soon(server.run)
            assert codes[3:] == [Code.NOT_HELD] * 2
        nursery.cancel_scope.cancel()


async def test_a_client_that_does_not_read_waits_alone(tmp_path: Path) -> None:
    """Its answers stay within a bound, others are served meanwhile, and it gets everything in the end."""
    thing = made(5, OBJECT_BYTES_MAX)
    async with node(tmp_path) as (client, _, server, nursery):
        await ask(client, put_of(thing), thing.content)
        link = Link(capacity_bytes=1000)
        slow_peers: list[Any] = []
        server.connected = slow_peers.append  # type: ignore[method-assign, assignment]
        got: list[int] = []
        async with connected(server, nursery, link) as slow:
            link.to_client.delay_s = 1e9

            async def get() -> None:
                answer = await slow.call(Get(thing.oid, 0, 128, False))
                got.append(len(answer.payload))

            async with trio.open_nursery() as getters:
                for _ in range(20):
                    getters.start_soon(get)
                with trio.fail_after(120):
                    while slow_peers[0].has_room:
                        await trio.lowlevel.checkpoint()
                for _ in range(3):
                    answer = await client.call(Get(thing.oid, 0, 2, False))
                    assert len(answer.payload) == 2 * BLOCK
                unsent = slow_peers[0]._connection.unsent_bytes
                assert unsent <= UNSENT_BYTES_MAX + server_module._GET_WORKERS * OBJECT_BYTES_MAX
                getters.cancel_scope.cancel()
        assert got == []


async def test_a_connection_that_ends_during_a_put(tmp_path: Path) -> None:
    """The put is finished or not, the server goes on, and the object can be put by another."""
    thing = made(6, 2 * MIB)
    async with node(tmp_path) as (client, _, server, nursery):
        link = Link()
        link.to_server.cut_after_bytes = MIB
        async with connected(server, nursery, link) as broken:
            with pytest.raises(Exception, match=r"cut|closed|ended|link"):
                await broken.call(put_of(thing), [thing.content])
        assert await ask(client, put_of(thing), thing.content) == PutDone(True)
