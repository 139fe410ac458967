"""A whole ring under virtual time: the metadata server and clients of world.py, and data nodes whose every part is the real one but
for the disk: server, membership, reaper, steward. Disks may be lost, nodes be killed, stopped, slowed down, added and removed.

async with open_ring(seed, node_count=6, stored_class="ec:4+2") as world:
    node = world.ring[0]
    world.kill(node); world.lose_disk(node)
    await world.until_healed()
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import trio

from ringfs.base.clock import Clock
from ringfs.base.config import DataConfig, RingConfig
from ringfs.base.kv.prefix import scan_prefix
from ringfs.data.membership import Membership
from ringfs.data.server import DataServer
from ringfs.data.stewarding import Around, run_steward_in
from ringfs.data.store import ObjectStore
from ringfs.meta.namespace import keys
from ringfs.wire.messages.cluster import NODE_UP, STANDING_LOST, STANDING_OUT
from ringfs.wire.messages.heal import HealStatus, LiveObject
from ringfs.wire.packing import unpack
from ringfs.wire.rpc import OnPush, RpcClient, open_client
from tests.support.meta_doubles import CLUSTER, KEY
from tests.support.ring_store import MemoryDisk, MemoryStore
from tests.support.steward_doubles import MemoryAudit, MemoryKeeper
from tests.support.world import META, Port, World, running

#: Times that are minutes in life.
RING = RingConfig(out_after_s=20.0, heal_bytes_per_s=64 << 20, scan_s=30.0, sweep_after_s=150.0, scrub_period_s=120.0)
_ASK_S = 10.0


@dataclass(slots=True)
class RingNode:
    """A data node: what survives its process."""

    name: str
    address: str
    domain: str
    weight: int
    disk: MemoryDisk
    keeper: MemoryKeeper
    audit: MemoryAudit
    #: Its own way to others.
    port: Port
    #: None while its process does not run.
    scope: trio.CancelScope | None = None
    #: Its last process has ended.
    gone: trio.Event = field(default_factory=trio.Event)
    number: int = 0
    #: The cluster has forgotten it.
    is_removed: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.scope is not None


class SkewedClock:
    """A node's: its wall clock is off."""

    def __init__(self, clock: Clock, skew_s: float) -> None:
        self._clock = clock
        self._skew_ns = int(skew_s * 1e9)

    def wall_ns(self) -> int:
        """See Clock."""
        return self._clock.wall_ns() + self._skew_ns

    def monotonic_ns(self) -> int:
        """See Clock."""
        return self._clock.monotonic_ns()


class RingWorld(World):
    """See the module. domains: the failure domains that nodes are in, in turns; none: each is in one of its own. skew_s: how far
    nodes' wall clocks may be off."""

    domains: Sequence[str] = ()
    skew_s = 0.0

    def __init__(self, seed: int, nursery: trio.Nursery, mount: dict[str, Any], stored_class: str, settings: RingConfig) -> None:
        super().__init__(seed, nursery, mount, stored_class)
        self._config = self.client_config = replace(self._config, ring=settings)
        self.settings = settings
        self.ring: list[RingNode] = []
        self._disk_count = 0
        #: Told of each object of which a part was deleted or dropped anywhere, at once.
        self.on_removed: Callable[[bytes], None] = lambda _oid: None

    # --- nodes ----------------------------------------------------------------------------------------------------------

    async def add_node(self, *, domain: str = "", weight: int = 100) -> RingNode:  # type: ignore[override]
        """One more data node, which has joined."""
        index = len(self.ring)
        name = f"data{index + 1}"
        domain = domain or (self.domains[index % len(self.domains)] if self.domains else name)
        node = RingNode(
            name, f"{name}:7100", domain, weight, self._new_disk(name), MemoryKeeper(), MemoryAudit(), Port(self.network)
        )
        node.gone.set()
        self.ring.append(node)
        await self.start(node)
        return node

    def _new_disk(self, name: str) -> MemoryDisk:
        self._disk_count += 1
        disk = MemoryDisk(name, f"00000000-0000-0000-0000-{self._disk_count:012d}")
        disk.on_removed = lambda oid: self.on_removed(oid)
        return disk

    async def start(self, node: RingNode) -> None:
        """Start a node on what its disk has."""
        with trio.CancelScope(shield=True):
            await node.gone.wait()
            await self._nursery.start(self._run_ring_node, node)

    async def _run_ring_node(self, node: RingNode, *, task_status: trio.TaskStatus[None]) -> None:
        clock = SkewedClock(self.clock, self.draw.uniform(-self.skew_s, self.skew_s))
        store = cast(ObjectStore, MemoryStore(node.disk, CLUSTER, clock))
        server = DataServer(store, CLUSTER, clock)

        async def on_joined(number: int) -> None:
            await trio.lowlevel.checkpoint()
            server.node = node.number = number

        config = DataConfig(node.name, node.address, Path("/disk"), node.domain, node.weight, None)
        membership = Membership(config, store, node.address, [META], partial(self._connect, node), on_joined)
        node.gone = trio.Event()
        with trio.CancelScope() as node.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.run)
                await nursery.start(self.network.serve, server, KEY, node.address)
                nursery.start_soon(membership.run)
                nursery.start_soon(self._steward, node, store, server, membership, clock)
                await membership.wait_map(0)
                task_status.started()
        node.gone.set()

    async def _steward(self, node: RingNode, store: ObjectStore, server: DataServer, membership: Membership, clock: Clock) -> None:
        around = Around(node.keeper, node.audit, self._run_in_thread, node.port.dial, clock)
        await run_steward_in(around, self._config.ring, node.name, store, server, membership, KEY)

    def _connect(self, node: RingNode, _address: str, on_push: OnPush) -> AbstractAsyncContextManager[RpcClient]:
        return open_client(self.meta_address, KEY, name=node.name, on_push=on_push, dial=node.port.dial)

    def kill(self, node: RingNode) -> None:
        """The node's process ends; its disk stays."""
        assert node.scope is not None
        node.scope.cancel()
        node.scope = None
        self.network.cut(node.address)

    def lose_disk(self, node: RingNode) -> None:
        """What a killed node had is gone; it would start on an empty disk with another identity."""
        assert not node.is_alive
        node.disk = self._new_disk(node.name)
        node.keeper = MemoryKeeper()

    # --- what stewards say, and what there is ---------------------------------------------------------------------------

    async def ask(self, request: Any) -> Any:
        """What the leader answers to an operator."""
        async with open_client(self.meta_address, KEY, name="operator", dial=self.network.dial) as client:
            return (await client.call(request, timeout_s=_ASK_S)).message
        raise AssertionError("a client does not suppress exceptions")

    def heal_status(self) -> HealStatus:
        """As the leader has it now."""
        return self.handler.live.heals.status(self.handler.live.nodes.map)

    async def until_healed(self, limit_s: float) -> float:
        """Until all stewards say that nothing is left to do under the newest map, and no node that was killed may come back: how
        long that took. It must be within limit_s."""
        begun_s = trio.current_time()
        while not self._is_healed():
            assert trio.current_time() - begun_s < limit_s, f"not healed within {limit_s:g} s: {self.heal_status()}"
            await trio.sleep(0.5)
        return trio.current_time() - begun_s

    def _is_healed(self) -> bool:
        alive = {node.name for node in self.ring if node.is_alive}
        nodes = self.handler.live.nodes.map.nodes
        is_known = all((node.state == NODE_UP) == (node.name in alive) for node in nodes)
        is_decided = all(node.state == NODE_UP or node.standing in (STANDING_LOST, STANDING_OUT) for node in nodes)
        return is_known and is_decided and self.heal_status().is_healed

    def live_object(self, oid: bytes) -> LiveObject | None:
        """A live object, as the leader has it."""
        found = self.leader.view.get(keys.object_row(oid))
        return None if found is None else LiveObject(oid, *unpack(found))

    def live_objects(self) -> list[LiveObject]:
        """All live objects, as the leader has them: from the table itself, not as stewards are told."""
        return [LiveObject(key[1:], *unpack(value)) for key, value in scan_prefix(self.leader.view, keys.OBJECT)]


@asynccontextmanager
async def open_ring(
    seed: int,
    *,
    node_count: int = 4,
    stored_class: str = "ec:2+1",
    settings: RingConfig = RING,
    domains: Sequence[str] = (),
    skew_s: float = 0.0,
    delay_s: float = 0.0,
    limit_s: float = 7200.0,
    **mount: Any,
) -> AsyncIterator[RingWorld]:
    """A running ring; delay_s: of every message; `mount` are tunables of its clients."""

    def make(nursery: trio.Nursery) -> RingWorld:
        world = RingWorld(seed, nursery, mount, stored_class, settings)
        world.domains, world.skew_s, world.network.delay_s = domains, skew_s, delay_s
        return world

    async with running(seed, make, node_count, limit_s) as world:
        yield world
