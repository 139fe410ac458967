"""Single reads of data nodes, verified: what is handed on is what the object's id proves, and whoever was wrong is told.

Knows nothing of where to read: reading.py and fetching.py do.
"""

import structlog
import trio

from ringfs.base.checksums import first_bad_block, is_table_of
from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES
from ringfs.objects.locating import Known, Places
from ringfs.objects.racing import Failed
from ringfs.ring.parts import COPY, Part, own_table_bytes, range_of, row_count, unpack_part
from ringfs.wire.messages.cluster import Node
from ringfs.wire.messages.data import Blocks, Get, Verify
from ringfs.wire.rpc import Answer

log = structlog.get_logger("ringfs.objects.asking")

GET_TIMEOUT_S = 10.0
_VERIFY_PATIENCE_S = 60.0
#: Nodes are told of so many bad parts at one time; what is more they find out by themselves.
_TOLD_AT_ONCE_MAX = 16


class Asker:
    """See the module."""

    def __init__(self, places: Places) -> None:
        self._places = places
        #: (node, object, part) that are being verified because they were wrong here.
        self._told: set[tuple[int, bytes, Part]] = set()

    async def learn(self, oid: bytes, node: Node, part: Part) -> Known:
        """Size and table of an object, from a node that has that part. Raises Failed."""
        answer = await self._get(oid, node, part, 0, 1, want_table=True)
        blocks: Blocks = answer.message
        if not is_table_of(oid, blocks.size_bytes, blocks.table):
            self.tell(node, oid, part, "its table is not the object's")
            raise Failed(f"{node.name}: wrong table")
        return self._places.learn(oid, node, blocks, None)

    async def rows(self, oid: bytes, known: Known, node: Node, part: Part, first: int, count: int) -> memoryview:
        """Blocks first … first+count-1 of a part, all of which it has, verified as well as they can be. Raises Failed."""
        if part.is_parity:
            return (await self.parity_rows(oid, known, node, part, first, count))[0]
        return await self.data_rows(oid, known, node, part, first, count)

    async def data_rows(self, oid: bytes, known: Known, node: Node, part: Part, first: int, count: int) -> memoryview:
        """Blocks first … first+count-1 of a copy or data fragment, all of which it has, verified. Raises Failed."""
        answer = await self._get(oid, node, part, first, count, want_table=False)
        first_block = first if part.is_whole else part.number * row_count(known.size_bytes, part.data) + first
        content = answer.payload
        _, stop = range_of(part, known.size_bytes)
        if len(content) != min(stop, (first_block + count) * BLOCK_BYTES) - first_block * BLOCK_BYTES:
            self.tell(node, oid, part, f"{len(content)} bytes")
        elif (bad := first_bad_block(known.table, first_block, content)) is not None:
            self.tell(node, oid, part, f"block {bad}")
        else:
            return content
        raise Failed(f"{node.name}: wrong bytes")

    async def parity_rows(
        self, oid: bytes, known: Known, node: Node, part: Part, first: int, count: int
    ) -> tuple[memoryview, bytes]:
        """Blocks of a parity fragment, and its own table, which nothing proves, and which they match. Raises Failed."""
        answer = await self._get(oid, node, part, first, count, want_table=True)
        own_table = answer.message.own_table
        content = answer.payload
        if len(own_table) != own_table_bytes(part, known.size_bytes) or len(content) != count * BLOCK_BYTES:
            self.tell(node, oid, part, f"{len(content)} bytes, {len(own_table) // HASH_BYTES} hashes")
        elif (bad := first_bad_block(own_table, first, content)) is not None:
            self.tell(node, oid, part, f"block {bad}")
        else:
            return content, own_table
        raise Failed(f"{node.name}: wrong bytes")

    async def _get(self, oid: bytes, node: Node, part: Part, first: int, count: int, *, want_table: bool) -> Answer:
        lane = self._places.lane(node)
        begun_s = trio.current_time()
        try:
            answer = await lane.call(Get(oid, first, count, want_table, part.pack()), timeout_s=GET_TIMEOUT_S)
        except (Refused, ConnectionLost) as error:
            is_missing = isinstance(error, Refused) and error.code is Code.NOT_HELD
            self.take_failure(oid, node, error)
            if not is_missing:
                log.warning("read failed over", node=node.name, object=oid.hex(), part=str(part), reason=str(error))
            raise Failed(f"{node.name}: {error}", is_missing=is_missing) from error
        lane.note_read(len(answer.payload), trio.current_time() - begun_s)
        return answer

    def take_failure(self, oid: bytes, node: Node, error: Refused | ConnectionLost) -> None:
        """A node could not be read from."""
        if isinstance(error, Refused) and error.code in (Code.NOT_HELD, Code.CORRUPT):
            self._places.disbelieve(oid, node)

    def checked(self, node: Node, request: Get, known: Known | None, answer: Answer) -> memoryview | None:
        """The bytes that a node answered to a request for blocks of the object; None if it has not all of them, or if they are
        wrong. If nothing was known before, something is then, or the table was wrong too."""
        oid, blocks = request.object, answer.message
        if known is None:
            if not is_table_of(oid, blocks.size_bytes, blocks.table):
                self.tell(node, oid, unpack_part(blocks.part) or COPY, "its table is not the object's")
                return None
            known = self._places.learn(oid, node, blocks, None)
        first_block, content = request.first_block, answer.payload
        if not content:
            return None
        stop = min(known.size_bytes, (first_block + request.block_count) * BLOCK_BYTES)
        if len(content) != stop - first_block * BLOCK_BYTES:
            self.tell(node, oid, unpack_part(blocks.part) or COPY, f"{len(content)} bytes")
            return None
        bad = first_bad_block(known.table, first_block, content)
        if bad is not None:
            self.tell(node, oid, unpack_part(blocks.part) or COPY, f"block {bad}")
            return None
        return content

    def tell(self, node: Node, oid: bytes, part: Part, what: str) -> None:
        """Have the node look at a part that was wrong: what is rotten on its disk, it has mended."""
        log.error("wrong bytes from a data node", node=node.name, object=oid.hex(), part=str(part), what=what)
        self._places.disbelieve(oid, node)
        key = (node.node, oid, part)
        if key not in self._told and len(self._told) < _TOLD_AT_ONCE_MAX:
            self._told.add(key)
            self._places.nodes.start_soon(self._tell, node, key)

    async def _tell(self, node: Node, key: tuple[int, bytes, Part]) -> None:
        _, oid, part = key
        try:
            await self._places.lane(node).call(Verify(oid, part.pack()), patience_s=_VERIFY_PATIENCE_S)
        except (Refused, ConnectionLost) as error:
            log.warning("a node did not verify what it has", node=node.name, object=oid.hex(), reason=str(error))
        finally:
            self._told.discard(key)
