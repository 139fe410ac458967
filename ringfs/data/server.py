"""The data node's side of messages/data.py: which request is answered at once, which one by the workers, and with what.

What is in memory, be it the page cache, is answered in the call, and a put that nothing stands in the way of is begun in it. Other
puts and gets wait in two bounded queues, each with workers of its own, so that neither starves the other and none costs a task.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice

import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import GET_THREADS, GETS_WAITING_MAX, HASH_BYTES, PAGE_ENTRIES_MAX, PUT_THREADS, PUTS_WAITING_MAX
from ringfs.data.index import checked_after
from ringfs.data.store import Got, ObjectStore
from ringfs.data.stored_part import StoredPart, Tables
from ringfs.ring.parts import Part, unpack_part
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.data import (
    HELD_PARTS_MAX,
    PART_BYTES,
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
    ObjectRow,
    Put,
    PutDone,
    StoreStatus,
    Verified,
    Verify,
)
from ringfs.wire.messages.heal import StartScrub
from ringfs.wire.rpc import Peer, Request

#: What stewards call themselves on their connections to data nodes: this and the node's name.
STEWARD_PREFIX = "steward "
_PUT_WORKERS = PUT_THREADS
_GET_WORKERS = GET_THREADS
#: What the event loop does without a pause: under 2 ms each (docs/parts/data.md).
_LIST_ROWS_MAX = PAGE_ENTRIES_MAX // 8
_HAVE_AT_ONCE_MAX = 256
_NO_TABLES = Tables(b"")


class DataServer:
    """A wire Handler over one store. run() must be running."""

    def __init__(self, store: ObjectStore, cluster: str, clock: Clock) -> None:
        self._store = store
        self._cluster = cluster
        self._clock = clock
        #: When a client, not a steward, last asked for a put or a get (monotonic; at first: when the server was made). Stewards
        #: leave the disk to clients while this is recent.
        self.clients_asked_ns = clock.monotonic_ns()
        #: What StartScrub does, once there is a steward.
        self.start_scrub: Callable[[int], None] | None = None
        #: The node's number, 0 until it is known.
        self.node = store.identity.node
        self._send_put, self._puts = trio.open_memory_channel[Request](PUTS_WAITING_MAX)
        self._send_get, self._gets = trio.open_memory_channel[Request](GETS_WAITING_MAX)
        self._handlers: dict[type, Callable[[Request], None]] = {
            Put: self._put_now,
            Delete: self._queue_put,
            Drop: self._queue_put,
            Get: self._get_now,
            Verify: self._queue_get,
            Have: self._have,
            ListObjects: self._list,
            GetStoreStatus: self._status,
            StartScrub: self._start_scrub,
        }
        self._slow: dict[type, Callable[[Request], Awaitable[None]]] = {
            Put: self._put,
            Delete: self._delete,
            Drop: self._drop,
            Get: self._get,
            Have: self._have_many,
            Verify: self._verify,
        }

    async def run(self) -> None:
        """The workers, until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(_PUT_WORKERS):
                nursery.start_soon(self._work, self._puts)
            for _ in range(_GET_WORKERS):
                nursery.start_soon(self._work, self._gets)

    # --- Handler -----------------------------------------------------------------------------------------------------

    def connected(self, peer: Peer) -> None:
        """See Handler: a peer has no state here."""

    def disconnected(self, peer: Peer) -> None:
        """See Handler: what it asked for is finished and answered to nobody."""

    def handle(self, request: Request) -> None:
        """See Handler."""
        handler = self._handlers.get(type(request.message))
        if handler is None:
            request.refuse(Code.BAD_REQUEST, f"a data node does not know {type(request.message).__name__}")
            return
        if type(request.message) in (Put, Get) and not request.peer.name.startswith(STEWARD_PREFIX):
            self.clients_asked_ns = self._clock.monotonic_ns()
        try:
            handler(request)
        except Refused as refused:
            request.refuse(refused.code, refused.detail)

    # --- answered at once --------------------------------------------------------------------------------------------

    def _have(self, request: Request) -> None:
        asked: Have = request.message
        if len(asked.objects) > _HAVE_AT_ONCE_MAX:
            self._queue_get(request)
        else:
            request.reply(Held(self._held(asked.objects)))

    def _held(self, objects: Sequence[bytes]) -> list[HeldPart]:
        return [HeldPart(oid, key[HASH_BYTES:]) for oid in objects for key, _ in self._store.parts(oid)]

    def _list(self, request: Request) -> None:
        asked: ListObjects = request.message
        if not asked.limit:
            raise Refused(Code.INVALID, "a page of no objects")
        rows, more = self._store.page(checked_after(asked.after), min(asked.limit, _LIST_ROWS_MAX))
        parts = [ObjectRow(key[:HASH_BYTES], entry.size_bytes, entry.birth_ns, key[HASH_BYTES:]) for key, entry in rows]
        request.reply(ObjectPage(parts, more))

    def _status(self, request: Request) -> None:
        store = self._store
        figures = store.figures()
        request.reply(
            StoreStatus(
                node=self.node,
                uuid=str(store.identity.disk),
                cluster=self._cluster,
                used_bytes=figures.used_bytes,
                free_bytes=figures.free_bytes,
                object_count=figures.part_count,
                segment_count=figures.segment_count,
                trouble=store.health.trouble,
                bad_part_count=store.health.bad_part_count,
                clients_silent_ms=max(0, self._clock.monotonic_ns() - self.clients_asked_ns) // 1_000_000,
            )
        )

    def _start_scrub(self, request: Request) -> None:
        if self.start_scrub is None:
            raise Refused(Code.OVERLOADED, "the node has not begun its work yet")
        self.start_scrub(request.message.bytes_per_s)
        request.reply(Done())

    def _get_now(self, request: Request) -> None:
        """From the page cache, or by a worker."""
        asked: Get = request.message
        part = _part_of(asked.part) if asked.part else None
        got = self._store.get_now(asked.object, part, asked.first_block, asked.block_count) if request.peer.has_room else None
        if got is None:
            self._queue_get(request)
        else:
            _reply_blocks(request, got)

    def _put_now(self, request: Request) -> None:
        """By a thread without a task, or by a worker."""
        asked: Put = request.message
        stored = _checked_part(asked, len(request.payload))
        if not self._store.put_soon(stored, Tables(asked.table, asked.own_table), request.payload, partial(_answer_put, request)):
            self._queue_put(request)

    # --- answered by workers -----------------------------------------------------------------------------------------

    def _queue_put(self, request: Request) -> None:
        self._queue(self._send_put, request)

    def _queue_get(self, request: Request) -> None:
        self._queue(self._send_get, request)

    def _queue(self, channel: trio.MemorySendChannel[Request], request: Request) -> None:
        try:
            channel.send_nowait(request)
        except trio.WouldBlock:
            raise Refused(Code.OVERLOADED) from None

    async def _work(self, channel: trio.MemoryReceiveChannel[Request]) -> None:
        async for request in channel:
            await self._serve(request)
            # Its payload must not wait in here for the next one.
            del request

    async def _serve(self, request: Request) -> None:
        try:
            await self._slow[type(request.message)](request)
        except Refused as refused:
            request.refuse(refused.code, refused.detail)

    async def _put(self, request: Request) -> None:
        asked: Put = request.message
        stored = _checked_part(asked, len(request.payload))
        done = PutDone(await self._store.put(stored, Tables(asked.table, asked.own_table), request.payload))
        request.reply(done, at_once=True)

    async def _delete(self, request: Request) -> None:
        asked: Delete = request.message
        (deleted,) = await self._store.delete([(asked.object, asked.verdict_ns)])
        request.reply(Deleted(deleted))

    async def _drop(self, request: Request) -> None:
        asked: Drop = request.message
        request.reply(Dropped(await self._store.drop([(each.object + each.part, each.birth_ns) for each in asked.parts])))

    async def _get(self, request: Request) -> None:
        if not request.peer.has_room:
            # A peer that is slow to take its answers waits by itself, not in a worker.
            request.peer.start_soon(self._get_later, request)
            return
        asked: Get = request.message
        part = _part_of(asked.part) if asked.part else None
        _reply_blocks(request, await self._store.get(asked.object, part, asked.first_block, asked.block_count))

    async def _get_later(self, request: Request) -> None:
        await request.peer.wait_room()
        self.handle(request)

    async def _have_many(self, request: Request) -> None:
        objects = iter(request.message.objects)
        held: list[HeldPart] = []
        while some := list(islice(objects, _HAVE_AT_ONCE_MAX)):
            held += self._held(some)
            await trio.lowlevel.checkpoint()
        if len(held) > HELD_PARTS_MAX:
            raise Refused(Code.INVALID, "more parts of them are held than an answer may have: ask for fewer objects")
        request.reply(Held(held))

    async def _verify(self, request: Request) -> None:
        asked: Verify = request.message
        findings = await self._store.verify(asked.object, _part_of(asked.part))
        request.reply(Verified(findings.header_ok, findings.bad_blocks))


def _part_of(packed: bytes) -> Part:
    part = unpack_part(packed) if len(packed) == PART_BYTES else None
    if part is None:
        raise Refused(Code.INVALID, f"{packed.hex()} is no part")
    return part


def _checked_part(asked: Put, payload_bytes: int) -> StoredPart:
    stored = StoredPart(asked.object, asked.size_bytes, _part_of(asked.part))
    if payload_bytes != stored.length_bytes:
        raise Refused(Code.BAD_REQUEST, f"{payload_bytes} bytes for {stored}, which has {stored.length_bytes}")
    return stored


def _answer_put(request: Request, refused: Refused | None) -> None:
    if refused is None:
        request.reply(PutDone(True), at_once=True)
    else:
        request.refuse(refused.code, refused.detail)


def _reply_blocks(request: Request, got: Got) -> None:
    tables = got.tables if request.message.want_table else _NO_TABLES
    blocks = Blocks(got.stored.size_bytes, tables.table, got.stored.part.pack(), tables.own)
    request.reply(blocks, [got.content] if got.content else ())
