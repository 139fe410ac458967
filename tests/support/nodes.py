"""Data nodes in memory, for a world under virtual time: the real messages, and whatever can go wrong with a node."""

import trio

from ringfs.base.checksums import first_bad_block, is_table_of
from ringfs.base.clock import Clock
from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import BLOCK_BYTES
from ringfs.wire.messages.cluster import (
    ClusterMap,
    JoinNode,
    ListCondemned,
    NodeHeartbeat,
    NodeJoined,
    Reaped,
)
from ringfs.wire.messages.data import WHOLE, Blocks, Delete, Deleted, Get, Have, Held, HeldPart, Put, PutDone
from ringfs.wire.rpc import Dial, Peer, Request, RpcClient, open_client

HEARTBEAT_S = 1.0
REAP_S = 5.0
CAPACITY_BYTES = 1 << 40


class MemoryNode:
    """A Handler. What it holds survives kill and restart (the world's business); the knobs may be turned at any time."""

    def __init__(self, name: str, address: str, uuid: str, clock: Clock, key: bytes) -> None:
        self.name = name
        self.address = address
        self.uuid = uuid
        #: 0 until the metadata service has given it one.
        self.number = 0
        #: id → (size, table, content, birth ns).
        self.held: dict[bytes, tuple[int, bytes, bytes, int]] = {}
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
            case Put():
                request.peer.start_soon(self._put, request)
            case Get():
                request.peer.start_soon(self._get, request)
            case Have():
                request.reply(Held([HeldPart(oid, WHOLE) for oid in request.message.objects if oid in self.held]))
            case Delete():
                request.reply(Deleted(self.delete(request.message.object, request.message.verdict_ns)))
            case _:
                request.refuse(Code.BAD_REQUEST)

    async def _put(self, request: Request) -> None:
        asked: Put = request.message
        self._puts_at_once += 1
        self.puts_at_once_max = max(self.puts_at_once_max, self._puts_at_once)
        try:
            await trio.sleep(self.put_s)
        finally:
            self._puts_at_once -= 1
        self.put_count += 1
        content = bytes(request.payload)
        if self.is_failed:
            request.refuse(Code.DISK_FAILED)
        elif self.is_full and asked.object not in self.held:
            request.refuse(Code.DISK_FULL)
        elif len(content) != asked.size_bytes or not is_table_of(asked.object, asked.size_bytes, asked.table):
            request.refuse(Code.CORRUPT, "the table")
        elif first_bad_block(asked.table, 0, content) is not None:
            request.refuse(Code.CORRUPT, "a block")
        else:
            fresh = asked.object not in self.held
            self.held[asked.object] = (asked.size_bytes, asked.table, content, self._clock.wall_ns())
            request.reply(PutDone(fresh))

    async def _get(self, request: Request) -> None:
        asked: Get = request.message
        await trio.sleep(self.get_s)
        self.get_count += 1
        held = self.held.get(asked.object)
        if self.is_failed:
            request.refuse(Code.DISK_FAILED)
            return
        if held is None:
            request.refuse(Code.NOT_HELD)
            return
        size_bytes, table, whole, _ = held
        start = asked.first_block * BLOCK_BYTES
        content = bytearray(whole[start : start + asked.block_count * BLOCK_BYTES])
        if self.corrupts_content:
            content[len(content) // 2] ^= 1
        if self.cuts_content:
            del content[-1:]
        if self.corrupts_table:
            table = bytes([table[0] ^ 1]) + table[1:]
        request.reply(Blocks(size_bytes, table if asked.want_table else b""), [bytes(content)] if content else ())

    def delete(self, oid: bytes, verdict_ns: int) -> bool:
        """Delete an object unless it was put after the verdict."""
        held = self.held.get(oid)
        if held is None or held[3] > verdict_ns:
            return False
        del self.held[oid]
        return True

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
            used_bytes = sum(size for size, *_ in self.held.values())
            free_bytes = 0 if self.is_full else CAPACITY_BYTES
            beat = NodeHeartbeat(self.number, epoch, used_bytes, free_bytes, len(self.held), self.name, free_bytes, "")
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
