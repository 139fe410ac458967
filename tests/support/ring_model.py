"""The ring in memory, as ringfs/meta/object_store.py promises it, with faults."""

from collections.abc import Callable, Sequence

import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.errors import Code, Refused
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.namespace import NewObject


class RingModel:
    """What the data nodes hold, whoever asks."""

    def __init__(self, wall_ns: Callable[[], int] = lambda: 0) -> None:
        self._wall_ns = wall_ns
        self.held: dict[bytes, bytes] = {}
        #: No node answers.
        self.is_down = False
        #: Called with the number of each put and each get before it happens; may raise.
        self.before_put: Callable[[int], None] = lambda _number: None
        self.before_get: Callable[[int], None] = lambda _number: None
        self.put_count = self.get_count = 0
        self.map: ClusterMap | None = None

    def follow(self, map: ClusterMap) -> None:
        """See ObjectStore."""
        self.map = map

    async def put(self, parts: Sequence[memoryview], stored_class: str) -> NewObject:
        """See ObjectStore."""
        await trio.sleep(0.001)
        self.put_count += 1
        self.before_put(self.put_count)
        if self.is_down or self.map is None:
            raise Refused(Code.IO, "no node answers")
        content, put_ns = b"".join(parts), self._wall_ns()
        oid = object_id(len(content), block_table(content))
        self.held[oid] = content
        return NewObject(oid, len(content), stored_class, put_ns, stored_class)

    async def get(self, oid: bytes, size_bytes: int) -> memoryview:
        """See ObjectStore."""
        await trio.sleep(0.001)
        self.get_count += 1
        self.before_get(self.get_count)
        content = self.held.get(oid)
        if self.is_down or content is None:
            raise Refused(Code.IO, f"no node has object {oid.hex()}")
        if object_id(len(content), block_table(content)) != oid or len(content) != size_bytes:
            raise Refused(Code.IO, f"no node has object {oid.hex()} right")
        return memoryview(content)
