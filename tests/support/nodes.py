"""Data nodes in memory, for a world under virtual time: the real messages, and whatever can go wrong with a node."""

from typing import NamedTuple

import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES
from ringfs.data.stored_part import Span, StoredPart, Tables, own_span, span_of
from ringfs.ring.parts import COPY, Part, unpack_part
from ringfs.wire.messages.cluster import (
    ClusterMap,
    JoinNode,
    ListCondemned,
    NodeHeartbeat,
    NodeJoined,
    Reaped,
)
from ringfs.wire.messages.data import (
    Blocks,
    Delete,
    Deleted,
    Drop,
    Dropped,
    Get,
    Have,
    Held,
    HeldPart,
    ListObjects,
    ObjectPage,
    ObjectRow,
    Put,
    PutDone,
    SurplusPart,
    Verified,
    Verify,
)
from ringfs.wire.rpc import Dial, Peer, Request, RpcClient, open_client

HEARTBEAT_S = 1.0
REAP_S = 5.0
CAPACITY_BYTES = 1 << 40


class Holding(NamedTuple):
    """A part that a node holds."""

    stored: StoredPart
    tables: Tables
    content: bytes
    birth_ns: int


class MemoryNode:
    """A Handler. What it holds survives kill and restart (the world's business); the knobs may be turned at any time."""

    def __init__(self, name: str, address: str, uuid: str, clock: Clock, key: bytes) -> None:
        self.name = name
        self.address = address
        self.uuid = uuid
        #: 0 until the metadata service has given it one.
        self.number = 0
        #: What it holds of each object, by part; no object without any part.
        self.held: dict[bytes, dict[Part, Holding]] = {}
        #: How long puts and gets take.
        self.put_s = 0.0
        self.get_s = 0.0
        #: Puts are refused DISK_FULL.
        self.is_full = False
        #: Puts and gets are refused DISK_FAILED.
        self.is_failed = False
        #: Whether gets answer wrong bytes, a wrong table, or too few bytes.
        self.corrupts_content = False
        self.corrupts_table = False
        self.cuts_content = False
        #: Requests are taken and never answered.
        self.is_mute = False
        self.put_count = 0
        self.get_count = 0
        self.have_count = 0
        #: Puts that were being stored at one time, at most.
        self.puts_at_once_max = 0
        self._puts_at_once = 0
        self._clock = clock
        self._key = key

    # --- Handler --------------------------------------------------------------------------------------------------------

    def connected(self, peer: Peer) -> None:
        """See Handler."""

    def disconnected(self, peer: Peer) -> None:
        """See Handler."""

    def handle(self, request: Request) -> None:
        """See Handler."""
        if self.is_mute:
            return
        match request.message:
            case Put(part=part) | Get(part=part) | Verify(part=part) if part and unpack_part(part) is None:
                request.refuse(Code.INVALID)
            case Put():
                request.peer.start_soon(self._put, request)
            case Get():
                request.peer.start_soon(self._get, request)
            case Have():
                self.have_count += 1
                request.reply(Held([HeldPart(oid, part.pack()) for oid in request.message.objects for part in self.parts(oid)]))
            case ListObjects():
                request.reply(self._page(request.message))
            case Verify():
                self._verify(request)
            case Delete():
                request.reply(Deleted(self.delete(request.message.object, request.message.verdict_ns)))
            case Drop():
                request.reply(Dropped(sum(self._drop(each) for each in request.message.parts)))
            case _:
                request.refuse(Code.BAD_REQUEST)

    async def _put(self, request: Request) -> None:
        self._puts_at_once += 1
        self.puts_at_once_max = max(self.puts_at_once_max, self._puts_at_once)
        try:
            await trio.sleep(self.put_s)
        finally:
            self._puts_at_once -= 1
        self.put_count += 1
        asked: Put = request.message
        part = Part(*asked.part)
        fresh = part not in self.parts(asked.object)
        stored, tables = StoredPart(asked.object, asked.size_bytes, part), Tables(asked.table, asked.own_table)
        content = bytes(request.payload)
        if self.is_failed:
            request.refuse(Code.DISK_FAILED)
        elif self.is_full and fresh:
            request.refuse(Code.DISK_FULL)
        elif len(content) != stored.length_bytes:
            request.refuse(Code.BAD_REQUEST)
        elif not stored.proves(tables):
            request.refuse(Code.CORRUPT, "the table")
        elif stored.first_bad_block(tables, 0, content) is not None:
            request.refuse(Code.CORRUPT, "a block")
        else:
            self.held.setdefault(asked.object, {})[part] = Holding(stored, tables, content, self._clock.wall_ns())
            request.reply(PutDone(fresh))

    async def _get(self, request: Request) -> None:
        asked: Get = request.message
        await trio.sleep(self.get_s)
        self.get_count += 1
        if self.is_failed:
            request.refuse(Code.DISK_FAILED)
            return
        try:
            span = self._span(asked)
        except Refused as refused:
            request.refuse(refused.code)
            return
        holding = self.held[asked.object][span.stored.part]
        start = span.first_block * BLOCK_BYTES
        content = bytearray(holding.content[start : start + span.block_count * BLOCK_BYTES])
        table = holding.tables.table
        if self.corrupts_content and content:
            content[len(content) // 2] ^= 1
        if self.cuts_content:
            del content[-1:]
        if self.corrupts_table:
            table = bytes([table[0] ^ 1]) + table[1:]
        tables = Tables(table, holding.tables.own) if asked.want_table else Tables(b"")
        blocks = Blocks(span.stored.size_bytes, tables.table, span.stored.part.pack(), tables.own)
        request.reply(blocks, [bytes(content)] if content else ())

    def _span(self, asked: Get) -> Span:
        """Which blocks of which part answer it. Refused NOT_HELD, INVALID."""
        held = self.parts(asked.object)
        part = Part(*asked.part) if asked.part else COPY
        if part in held:
            return own_span(held[part].stored, asked.first_block, asked.block_count)
        if asked.part or not held:
            raise Refused(Code.NOT_HELD)
        return span_of([held[part].stored for part in sorted(held)], asked.first_block, asked.block_count)

    def _page(self, asked: ListObjects) -> ObjectPage:
        after = asked.after + b"\xff" if len(asked.after) == HASH_BYTES else asked.after
        every = [each for parts in self.held.values() for each in parts.values() if each.stored.key > after]
        every.sort(key=lambda each: each.stored.key)
        rows = [
            ObjectRow(stored.object, stored.size_bytes, birth_ns, stored.part.pack())
            for stored, _, _, birth_ns in every[: asked.limit]
        ]
        return ObjectPage(rows, len(every) > asked.limit)

    def _verify(self, request: Request) -> None:
        asked: Verify = request.message
        holding = self.parts(asked.object).get(Part(*asked.part))
        if self.is_failed:
            request.refuse(Code.DISK_FAILED)
        elif holding is None:
            request.refuse(Code.NOT_HELD)
        else:
            stored, tables, content, _ = holding
            starts = range(0, stored.length_bytes, BLOCK_BYTES)
            blocks = [content[start : start + BLOCK_BYTES] or b"missing" for start in starts]
            bad = [number for number, block in enumerate(blocks) if stored.first_bad_block(tables, number, block) is not None]
            request.reply(Verified(stored.proves(tables), bad))

    def parts(self, oid: bytes) -> dict[Part, Holding]:
        """What it holds of an object. Only read by others."""
        return self.held.get(oid, {})

    def delete(self, oid: bytes, verdict_ns: int) -> bool:
        """Delete those parts of an object that were not put after the verdict; whether there were any."""
        dead = [each.stored for each in self.parts(oid).values() if each.birth_ns <= verdict_ns]
        for stored in dead:
            self._remove(stored.object, stored.part)
        return bool(dead)

    def _drop(self, surplus: SurplusPart) -> bool:
        """Drop a part unless it was put again since; whether it is not held now."""
        holding = self.parts(surplus.object).get(Part(*surplus.part))
        if holding is not None and holding.birth_ns <= surplus.birth_ns:
            self._remove(surplus.object, holding.stored.part)
            return True
        return holding is None

    def _remove(self, oid: bytes, part: Part) -> None:
        del self.held[oid][part]
        if not self.held[oid]:
            del self.held[oid]

    # --- in the cluster -------------------------------------------------------------------------------------------------

    async def take_part(self, meta_address: str, dial: Dial, *, task_status: trio.TaskStatus[None]) -> None:
        """Join, send heartbeats and delete what is condemned, for ever; started once it has joined."""
        is_started = False
        while True:
            try:
                async with open_client(meta_address, self._key, name=self.name, on_push=_ignore, dial=dial) as client:
                    join = JoinNode(self.uuid, self.name, self.address, self.name, 100)
                    joined: NodeJoined = (await client.call(join, timeout_s=5)).message
                    self.number = joined.node
                    if not is_started:
                        is_started = True
                        task_status.started()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._reap, client)
                        await self._heartbeat(client, joined.map)
                        nursery.cancel_scope.cancel()
            except (ConnectionLost, Refused):
                await trio.sleep(0.3)

    async def _heartbeat(self, client: RpcClient, map: ClusterMap) -> None:
        epoch = map.epoch
        while not client.lost.is_set():
            holdings = [each for parts in self.held.values() for each in parts.values()]
            used_bytes = sum(len(each.content) for each in holdings)
            free_bytes = 0 if self.is_full else CAPACITY_BYTES
            beat = NodeHeartbeat(self.number, epoch, used_bytes, free_bytes, len(holdings), self.name, free_bytes, "")
            try:
                answer = (await client.call(beat, timeout_s=5)).message
            except (ConnectionLost, Refused):
                return
            if isinstance(answer, ClusterMap):
                epoch = answer.epoch
            await trio.sleep(HEARTBEAT_S)

    async def _reap(self, client: RpcClient) -> None:
        after = 0
        while True:
            await trio.sleep(REAP_S)
            try:
                page = (await client.call(ListCondemned(self.number, after, 1000), timeout_s=5)).message
                for entry in page.entries:
                    self.delete(entry.object, entry.verdict_ns)
                if page.through > after:
                    await client.call(Reaped(self.number, page.through), timeout_s=5)
                    after = page.through
            except (ConnectionLost, Refused):
                return


def _ignore(_message: object) -> None:
    """What is pushed to a node."""
