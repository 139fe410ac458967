"""Objects on the ring, as the client sees them: put on as many nodes as the class asks, read from any holder, always verified.

Knows no files. Placement is ring/; connections are nodes.py.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import structlog
import trio

from ringfs.base.checksums import block_hash, first_bad_block, is_table_of, object_id
from ringfs.base.clock import Clock
from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import BLOCK_BYTES, OBJECT_BYTES_MAX
from ringfs.base.lru import BoundedCache
from ringfs.objects.nodes import DataNodes
from ringfs.ring.classes import parse_class
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_UP, ClusterMap, Node
from ringfs.wire.messages.data import Get, Put
from ringfs.wire.messages.namespace import NewObject
from ringfs.wire.rpc import Answer

log = structlog.get_logger("ringfs.objects.objects")

PUT_TIMEOUT_S = 30.0
GET_TIMEOUT_S = 10.0
#: A put that finds too few nodes tries again this often before it is given up.
_PUT_ROUNDS = 30
_PUT_PAUSE_S = 1.0
#: So much is hashed and verified on the event loop (0.2 ms a MiB): with a thread, each block's hash has to win the interpreter lock
#: back, and 1 MiB reads were a fifth slower.
_INLINE_HASH_BYTES = 16 * BLOCK_BYTES
_TABLES_BYTES_MAX = 8 << 20
#: Objects whose nodes are remembered.
_PLACES_MAX = 8192

#: Takes bytes, or why they cannot be had. Called once; at once, from within the call it was given to, if they are here.
OnContent = Callable[[memoryview | Refused], None]
#: run_in_thread(function, *arguments); simulations bring their own, since virtual time does not wait for threads.
RunInThread = Callable[..., Awaitable[Any]]


class Objects:
    """See the module."""

    def __init__(self, nodes: DataNodes, run_in_thread: RunInThread, clock: Clock) -> None:
        self._nodes = nodes
        self._clock = clock
        self._run_in_thread = run_in_thread
        self._map = ClusterMap(0, "", [])
        self._ring = Ring(self._map)
        self._by_number: dict[int, Node] = {}
        #: Object id → its nodes in the order of the ring.
        self._places: dict[bytes, list[Node]] = {}
        #: Object id → (size, block table), all verified against the id.
        self._tables: BoundedCache[bytes, tuple[int, bytes]] = BoundedCache(_TABLES_BYTES_MAX)

    def follow(self, map: ClusterMap) -> None:
        """Use this map from now on."""
        if map is not self._map:
            self._map = map
            self._ring = Ring(map)
            self._by_number = {node.node: node for node in map.nodes}
            self._places.clear()
            self._nodes.forget_gone(map)

    # --- writing ----------------------------------------------------------------------------------------------------

    async def put(self, parts: Sequence[memoryview], stored_class: str) -> NewObject:
        """Make an object of the parts one after the other (1 byte to 8 MiB), durable on as many nodes as its class asks.

        Raises Refused: NO_SPACE if too few nodes have space, IO if too few answer.
        """
        size_bytes = sum(len(part) for part in parts)
        assert 0 < size_bytes <= OBJECT_BYTES_MAX
        if size_bytes <= _INLINE_HASH_BYTES:
            parts, table = _hashed(parts)
        else:
            parts, table = await self._run_in_thread(_hashed, parts)
        put_ns = self._clock.wall_ns()
        oid = object_id(size_bytes, table)
        request = Put(oid, size_bytes, table)
        wanted = parse_class(stored_class).width
        holders: set[int] = set()
        full = False
        for attempt in range(_PUT_ROUNDS):
            full = await self._put_round(request, parts, wanted, holders)
            if len(holders) >= wanted:
                self._tables.put(oid, (size_bytes, table), len(table))
                return NewObject(oid, size_bytes, stored_class, put_ns, stored_class)
            if full:
                break
            log.warning("too few nodes for a put", object=oid.hex(), held=len(holders), wanted=wanted, attempt=attempt + 1)
            await trio.sleep(_PUT_PAUSE_S)
        if full:
            raise Refused(Code.NO_SPACE, f"object {oid.hex()} of {size_bytes} bytes")
        raise Refused(Code.IO, f"only {len(holders)} of {wanted} nodes took object {oid.hex()}")

    async def _put_round(self, request: Put, parts: Sequence[memoryview], wanted: int, holders: set[int]) -> bool:
        """Put on the first nodes of the order that are left until enough hold it. True if the nodes that refused were full."""
        candidates = [node for node in self._order(request.object, for_put=True) if node.node not in holders]
        refused_full = False

        async def put_on(node: Node) -> None:
            nonlocal refused_full
            try:
                await self._nodes.lane(node, bulk=True).call(request, parts, timeout_s=PUT_TIMEOUT_S)
                holders.add(node.node)
            except Refused as refused:
                refused_full |= refused.code is Code.DISK_FULL
                if refused.code is not Code.DISK_FULL:
                    log.warning("put refused", node=node.name, object=request.object.hex(), reason=str(refused))
            except ConnectionLost as error:
                log.warning("put failed", node=node.name, object=request.object.hex(), reason=str(error))

        while candidates and len(holders) < wanted:
            missing = wanted - len(holders)
            now, candidates = candidates[:missing], candidates[missing:]
            if len(now) == 1:
                await put_on(now[0])
                continue
            async with trio.open_nursery() as nursery:
                for node in now:
                    nursery.start_soon(put_on, node)
        return refused_full and len(holders) < wanted

    def _order(self, oid: bytes, *, for_put: bool) -> list[Node]:
        """The nodes in the order of the ring, those to avoid at the end; for a put only nodes that are up, if enough are."""
        now_s = trio.current_time()

        def doubtful(node: Node) -> bool:
            return self._is_doubtful(node, now_s, for_put=for_put)

        return sorted(self._placed(oid), key=doubtful)

    def _is_doubtful(self, node: Node, now_s: float, *, for_put: bool) -> bool:
        return node.state != NODE_UP or self._nodes.lane(node, bulk=for_put).avoid_until_s > now_s

    def _placed(self, oid: bytes) -> list[Node]:
        """The nodes in the order of the ring."""
        found = self._places.get(oid)
        if found is None:
            if len(self._places) >= _PLACES_MAX:
                self._places.clear()
            found = self._places[oid] = [self._by_number[number] for number in self._ring.order(oid)]
        return found

    # --- reading ----------------------------------------------------------------------------------------------------

    def fetch_soon(self, oid: bytes, first_block: int, block_count: int, on_content: OnContent) -> None:
        """Get what read_blocks gives, or its refusal, to on_content. If all is well, no task is involved: the first holder is
        asked, and what it answers is verified and handed on where it is received."""
        placed = self._placed(oid)
        if not placed or self._is_doubtful(placed[0], trio.current_time(), for_put=False):
            self._nodes.start_soon(self._fetch, oid, first_block, block_count, on_content)
            return
        node = placed[0]
        lane = self._nodes.lane(node, bulk=False)
        known = self._tables.get(oid)
        request = Get(oid, first_block, block_count, known is None)

        def on_answer(answer: Answer | Refused | ConnectionLost) -> None:
            if isinstance(answer, Answer):
                try:
                    content = self._checked(node, request, known, answer)
                except Refused:
                    # It is asked once more below, and then said.
                    pass
                else:
                    on_content(content)
                    return
            elif isinstance(answer, ConnectionLost):
                lane.avoid()
            self._nodes.start_soon(self._fetch, oid, first_block, block_count, on_content)

        if not lane.call_soon(request, on_answer, timeout_s=GET_TIMEOUT_S):
            self._nodes.start_soon(self._fetch, oid, first_block, block_count, on_content)

    async def _fetch(self, oid: bytes, first_block: int, block_count: int, on_content: OnContent) -> None:
        try:
            content: memoryview | Refused = await self.read_blocks(oid, first_block, block_count)
        except Refused as refused:
            content = refused
        on_content(content)

    async def read_blocks(self, oid: bytes, first_block: int, block_count: int) -> memoryview:
        """The verified bytes of whole blocks (clamped to the object's end). Raises Refused IO if no holder has them right."""
        failures: list[str] = []
        for node in self._order(oid, for_put=False):
            known = self._tables.get(oid)
            request = Get(oid, first_block, block_count, known is None)
            try:
                answer = await self._nodes.lane(node, bulk=False).call(request, timeout_s=GET_TIMEOUT_S)
                return self._checked(node, request, known, answer)
            except Refused as refused:
                failures.append(f"{node.name}: {refused}")
                if refused.code is not Code.NOT_HELD:
                    log.warning("read failed over", node=node.name, object=oid.hex(), reason=str(refused))
            except ConnectionLost as error:
                failures.append(f"{node.name}: {error}")
        reason = "; ".join(failures)
        log.error("object unreadable", object=oid.hex(), first_block=first_block, reason=reason)
        raise Refused(Code.IO, f"object {oid.hex()} cannot be read: {reason}")

    def _checked(self, node: Node, request: Get, known: tuple[int, bytes] | None, answer: Answer) -> memoryview:
        """The bytes that a node answered with, known being size and table if those were not asked for. Refused CORRUPT unless the
        id proves them."""
        oid, first_block = request.object, request.first_block
        if known is None:
            known = (answer.message.size_bytes, answer.message.table)
            if not is_table_of(oid, *known):
                raise Refused(Code.CORRUPT, f"table of {oid.hex()} from {node.name}")
            self._tables.put(oid, known, len(known[1]))
        size_bytes, table = known
        content = answer.payload
        expected = min(size_bytes, (first_block + request.block_count) * BLOCK_BYTES) - first_block * BLOCK_BYTES
        if len(content) != expected:
            raise Refused(Code.CORRUPT, f"{len(content)} bytes of {oid.hex()} from {node.name}, not {expected}")
        bad = first_bad_block(table, first_block, content)
        if bad is not None:
            raise Refused(Code.CORRUPT, f"block {bad} of {oid.hex()} from {node.name}")
        return content


def _hashed(parts: Sequence[memoryview]) -> tuple[Sequence[memoryview], bytes]:
    """The parts (joined into one if their edges are not on block boundaries) and the block table of their bytes. For a thread."""
    if any(len(part) % BLOCK_BYTES for part in parts[:-1]):
        parts = [memoryview(b"".join(parts))]
    return parts, b"".join(block_hash(block) for part in parts for block in _blocks(part))


def _blocks(part: memoryview) -> Iterator[memoryview]:
    return (part[start : start + BLOCK_BYTES] for start in range(0, len(part), BLOCK_BYTES))
