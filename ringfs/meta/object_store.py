"""The ring as the metadata service uses it for snapshots: a seam. The real one is cli/ring_objects.py: meta knows no clients."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.namespace import NewObject


class ObjectStore(Protocol):
    """Objects on the data nodes of the map that it follows."""

    def follow(self, map: ClusterMap) -> None:
        """Use this map from now on; before that there are no nodes."""
        ...

    async def put(self, parts: Sequence[memoryview], stored_class: str) -> NewObject:
        """Make an object of the parts one after the other (1 byte to 8 MiB), durable on as many nodes as its class asks.

        Raises Refused: NO_SPACE, or IO if too few nodes answer, after some time of trying.
        """
        ...

    async def get(self, oid: bytes, size_bytes: int) -> memoryview:
        """All bytes of an object, proven by its id. Raises Refused IO if no node has them right, or if it is of another size."""
        ...


class OpenObjectStore(Protocol):
    """How to have one for the duration of a block."""

    def __call__(self) -> AbstractAsyncContextManager[ObjectStore]: ...
