"""The ring for the metadata service's snapshots, by the client's own way to the data nodes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from ringfs.base.clock import Clock, SystemClock
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES
from ringfs.objects.nodes import DataNodes
from ringfs.objects.objects import Objects, RunInThread
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.namespace import NewObject
from ringfs.wire.rpc import Dial, dial_tcp


class RingObjects:
    """A meta.object_store.ObjectStore."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def follow(self, map: ClusterMap) -> None:
        """See ObjectStore."""
        self._objects.follow(map)

    async def put(self, parts: Sequence[memoryview], stored_class: str) -> NewObject:
        """See ObjectStore."""
        return await self._objects.put(parts, stored_class)

    async def get(self, oid: bytes, size_bytes: int) -> memoryview:
        """See ObjectStore."""
        content = await self._objects.read_blocks(oid, 0, -(-size_bytes // BLOCK_BYTES))
        if len(content) != size_bytes:
            raise Refused(Code.IO, f"object {oid.hex()} has {len(content)} bytes, not {size_bytes}")
        return content


@asynccontextmanager
async def ring_objects(
    key: bytes,
    name: str,
    *,
    dial: Dial = dial_tcp,
    run_in_thread: RunInThread = trio.to_thread.run_sync,
    clock: Clock | None = None,
) -> AsyncIterator[RingObjects]:
    """The ring as the server of that name reaches it."""
    async with trio.open_nursery() as nursery:
        yield RingObjects(Objects(DataNodes(key, name, nursery, dial), run_in_thread, clock or SystemClock()))
        nursery.cancel_scope.cancel()
