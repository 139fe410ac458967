"""Objects over data nodes in memory: no metadata service, no files. For tests of ringfs/objects.

async with shelf(count=6, default_class="ec:4+2") as at:
    oid = await at.put(content, "ec:4+2")
    at.order(content)[0].is_mute = True
"""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.errors import Refused
from ringfs.base.limits import BLOCK_BYTES
from ringfs.objects.nodes import DataNodes
from ringfs.objects.objects import Objects
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_UP, ClusterMap, Node
from ringfs.wire.messages.namespace import NewObject
from tests.support.meta_doubles import KEY, TrioClock
from tests.support.nodes import MemoryNode
from tests.support.streams import Network


def fail(node: MemoryNode) -> None:
    """Its disk has failed."""
    node.is_failed = True


def mute(node: MemoryNode) -> None:
    """It takes requests and answers none."""
    node.is_mute = True


def fill(node: MemoryNode) -> None:
    """It has no room."""
    node.is_full = True


def empty(node: MemoryNode) -> None:
    """It lost everything."""
    node.held.clear()


def spoil_content(node: MemoryNode) -> None:
    """It answers wrong bytes."""
    node.corrupts_content = True


def spoil_table(node: MemoryNode) -> None:
    """It answers wrong tables."""
    node.corrupts_table = True


def shorten(node: MemoryNode) -> None:
    """It answers too few bytes."""
    node.cuts_content = True


#: What may be wrong with a holder that is read from.
FAULTS: list[Callable[[MemoryNode], None]] = [fail, mute, empty, spoil_content, spoil_table, shorten]


class Shelf:
    """Objects over some nodes."""

    def __init__(self, objects: Objects, nodes: dict[int, MemoryNode], map: ClusterMap, network: Network) -> None:
        self.objects = objects
        self.nodes = nodes
        self.map = map
        self.network = network
        #: Addresses that take a connection and never say a word on it: their process is stopped.
        self.silent: set[str] = set()

    def renewed(self, nursery: trio.Nursery) -> None:
        """Another client, which has no connections and knows nothing."""

        async def dial(address: str) -> trio.abc.Stream:
            if address in self.silent:
                await trio.sleep_forever()
            return await self.network.dial(address)

        self.objects = Objects(DataNodes(KEY, "another", nursery, dial), _here, TrioClock())
        self.objects.follow(self.map)

    def order(self, content: bytes) -> list[MemoryNode]:
        """The nodes in the order of the ring for that object: as they weigh the same, for any width."""
        return [self.nodes[number] for number in Ring(self.map).order(id_of(content), 1)]

    def row(self, node: MemoryNode) -> Node:
        """The node in the map."""
        return next(row for row in self.map.nodes if row.name == node.name)

    def follow(self) -> None:
        """The map was changed: use it."""
        self.map = ClusterMap(self.map.epoch + 1, "", list(self.map.nodes), self.map.classes)
        self.objects.follow(self.map)

    async def put_new(self, content: bytes, stored_class: str) -> NewObject:
        """Put it in odd pieces."""
        view = memoryview(content)
        new = await self.objects.put([view[:1000], view[1000:200_000], view[200_000:]], stored_class)
        assert (new.object, new.size_bytes, new.stored_class) == (id_of(content), len(content), stored_class)
        return new

    async def put(self, content: bytes, stored_class: str) -> bytes:
        """The same; its id."""
        return (await self.put_new(content, stored_class)).object

    async def whole(self, oid: bytes, size_bytes: int) -> bytes:
        """All of an object."""
        return bytes(await self.objects.read_blocks(oid, 0, -(-size_bytes // BLOCK_BYTES)))

    async def fetched(self, oid: bytes, first: int, count: int) -> memoryview | Refused:
        """What fetch_soon hands on."""
        found: list[memoryview | Refused] = []
        arrived = trio.Event()

        def on_content(content: memoryview | Refused) -> None:
            found.append(content)
            arrived.set()

        self.objects.fetch_soon(oid, first, count, on_content)
        await arrived.wait()
        await trio.testing.wait_all_tasks_blocked()
        (content,) = found
        return content

    def held(self, oid: bytes) -> dict[str, list[str]]:
        """Which parts of an object the nodes hold, by node."""
        return {node.name: [str(part) for part in node.held[oid]] for node in self.nodes.values() if oid in node.held}


def id_of(content: bytes) -> bytes:
    """The id of the object with that content."""
    return object_id(len(content), block_table(content))


async def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return function(*arguments)


@asynccontextmanager
async def shelf(count: int = 4, *, default_class: str = "replica:2", domains: Sequence[str] = ()) -> AsyncIterator[Shelf]:
    """Objects over `count` nodes, each in a domain of its own if there are no others."""
    network, clock = Network(), TrioClock()
    nodes = {}
    async with trio.open_nursery() as nursery:
        for number in range(1, count + 1):
            node = MemoryNode(f"data{number}", f"data{number}:7100", str(uuid.UUID(int=number)), clock, KEY)
            nodes[number] = node
            await nursery.start(network.serve, node, KEY, node.address)
        rows = [
            Node(n, each.uuid, each.name, each.address, domains[n - 1] if domains else each.name, 100, NODE_UP)
            for n, each in nodes.items()
        ]
        map = ClusterMap(1, "", rows, [default_class])
        objects = Objects(DataNodes(KEY, "test", nursery, network.dial), _here, clock)
        objects.follow(map)
        yield Shelf(objects, nodes, map, network)
        nursery.cancel_scope.cancel()
