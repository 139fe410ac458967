"""A whole cluster in one event loop under virtual time: the real client, metadata server and wire; data nodes, disks and network in
memory. Everything random comes from one seed, which is noted on every failure.

async with open_world(seed) as world:
    client = await world.mount("one")
    …
    await world.crash_meta()
    await world.start_meta()
"""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio

from ringfs.base.config import ClusterConfig, MetaConfig, MountConfig
from ringfs.client.coherence import KernelCache
from ringfs.client.file_system import FileSystem
from ringfs.client.opening import open_file_system
from ringfs.meta.daemon import start
from ringfs.meta.leader import Leader
from ringfs.meta.namespace.check import check
from ringfs.meta.opens import OpenTable
from ringfs.meta.server import MetaServer
from tests.support.meta_doubles import CLUSTER, KEY, MemoryJournal, MemoryStore, TrioClock
from tests.support.nodes import MemoryNode
from tests.support.streams import Link, Network

META = "meta1:7000"
#: No simulation takes longer, in virtual time: what hangs fails.
LIMIT_S = 3600.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorldConfig(ClusterConfig):
    """The configuration without files."""

    key: bytes = KEY

    def load_key(self) -> bytes:
        """See ClusterConfig."""
        return self.key


class Recording(MemoryJournal):
    """A journal that also remembers what was trimmed."""

    def __init__(self, entries: list[bytes] | None = None, first: int = 1, term: int = 0) -> None:
        super().__init__(entries, first, term)
        #: Every (position, entry) that was ever durable.
        self.history: list[tuple[int, bytes]] = []

    async def append(self, term: int, entries: Sequence[bytes]) -> int:
        """See Journal."""
        last = await super().append(term, entries)
        self.history += zip(range(last - len(entries) + 1, last + 1), entries, strict=True)
        return last


class Port:
    """A client's way to the network: its links can be spoiled without anybody else's."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._links: list[tuple[str, Link]] = []
        #: While it is black nothing gets through, or nothing to one address, and nobody is told.
        self._is_black = False
        self._black_address: str | None = None
        self._white = trio.Event()

    async def dial(self, address: str) -> trio.abc.Stream:
        """See Network.dial; while the port is black it takes for ever."""
        if self._is_black_to(address):
            await self._white.wait()
        stream = await self._network.dial(address)
        self._links.append(next((address, link) for _, link in reversed(self._network.links) if link.client is stream))
        if self._is_black_to(address):
            self._links[-1][1].drop()
        return stream

    def _is_black_to(self, address: str) -> bool:
        return self._is_black and self._black_address in (None, address)

    def links(self, address: str | None = None) -> list[Link]:
        """All links, or those to one address."""
        return [link for to, link in self._links if address in (None, to)]

    def cut(self, address: str | None = None) -> None:
        """Cut the links: both ends learn of it."""
        for link in self.links(address):
            link.cut()

    def blacken(self, address: str | None = None) -> None:
        """From now on nothing arrives, in either direction; of one address or all."""
        self._is_black, self._black_address = True, address
        self._white = trio.Event()
        for link in self.links(address):
            link.drop()

    def whiten(self) -> None:
        """New links work again; what was sent on the old ones is lost, and they break."""
        self._is_black = False
        self._white.set()
        self.cut(self._black_address)


class Mounted:
    """A client in a world."""

    def __init__(self, fs: FileSystem, port: Port, scope: trio.CancelScope) -> None:
        self.fs = fs
        self.port = port
        self._scope = scope
        self._leave = trio.Event()
        self.gone = trio.Event()

    async def crash(self) -> None:
        """It ends in this moment, and flushes nothing."""
        self._scope.cancel()
        await self.gone.wait()

    async def close(self) -> None:
        """It ends properly."""
        self._leave.set()
        await self.gone.wait()

    async def wait_leave(self) -> None:
        """Until close is called."""
        await self._leave.wait()


class World:
    """See the module."""

    def __init__(
        self, seed: int, nursery: trio.Nursery, mount: dict[str, Any], stored_class: str, metas: Sequence[str] = (META,)
    ) -> None:
        self.seed = seed
        self.draw = random.Random(seed)
        self.clock = TrioClock()
        self.network = Network()
        self.journal = Recording()
        self.store = MemoryStore()
        self.nodes: list[MemoryNode] = []
        self.leader: Leader
        self.handler: MetaServer
        #: Where the metadata server listens.
        self.meta_address = META
        #: How long what would run in a thread takes, at most.
        self.thread_s = 0.0
        self._nursery = nursery
        self.meta_is_up = False
        self._meta_scope: trio.CancelScope | None = None
        self._meta_gone = trio.Event()
        self._node_scopes: dict[str, trio.CancelScope] = {}
        self._config = WorldConfig(
            path=Path("/world/cluster.toml"),
            cluster=CLUSTER,
            key_file=Path("/world/key"),
            default_class=stored_class,
            meta=tuple(MetaConfig(address.partition(":")[0], address, Path("/world/state")) for address in metas),
            data=(),
            mount=MountConfig(**mount),
            log_level="info",
        )

        #: As clients that are mounted from now on see it.
        self.client_config = self._config

    # --- the metadata server --------------------------------------------------------------------------------------------

    async def start_meta(self) -> None:
        """Start the metadata server on what is durable."""
        with trio.CancelScope(shield=True):
            await self._nursery.start(self._run_meta)
        self.meta_is_up = True

    async def _run_meta(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._meta_gone = trio.Event()
        try:
            with trio.CancelScope() as self._meta_scope:
                name = self.meta_address.partition(":")[0]
                self.leader, self.handler = await start(self.store, self.journal, self.clock, self._config, name)  # type: ignore[arg-type]
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.leader.run)
                    nursery.start_soon(self.handler.run)
                    await nursery.start(self.network.serve, self.handler, KEY, self.meta_address)
                    task_status.started()
        finally:
            self._meta_gone.set()

    async def crash_meta(self) -> None:
        """The metadata server ends in this moment; its state is what was durable."""
        assert self._meta_scope is not None
        self.meta_is_up = False
        self._meta_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._meta_gone.wait()
        self.network.cut(self.meta_address)
        journal, store = self.journal, self.store
        self.journal, self.store = Recording(list(journal.entries), journal.first, journal.term), store.restarted()
        self.journal.history = journal.history
        self.journal.append_s, self.store.checkpoint_s = journal.append_s, store.checkpoint_s

    async def restart_meta(self, down_s: float = 0.1) -> None:
        """Crash, and a new one a moment later."""
        await self.crash_meta()
        await trio.sleep(down_s)
        await self.start_meta()

    def check(self) -> None:
        """The namespace is right."""
        findings = [str(finding) for finding in check(self.store)]
        assert not findings, findings

    @property
    def opens(self) -> OpenTable:
        """What the metadata server believes to be open."""
        return self.handler.live.opens

    # --- data nodes -----------------------------------------------------------------------------------------------------

    async def add_node(self) -> MemoryNode:
        """One more data node, which has joined."""
        index = len(self.nodes) + 1
        uuid = f"00000000-0000-0000-0000-{index:012d}"
        node = MemoryNode(f"data{index}", f"data{index}:7100", uuid, self.clock, KEY)
        self.nodes.append(node)
        await self.start_node(node)
        return node

    async def start_node(self, node: MemoryNode) -> None:
        """Start a node on what its disk has."""
        with trio.CancelScope(shield=True):
            await self._nursery.start(self._run_node, node)

    async def _run_node(self, node: MemoryNode, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as self._node_scopes[node.name]:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.network.serve, node, KEY, node.address)
                await nursery.start(node.take_part, META, self._dial_leader)
                task_status.started()

    async def _dial_leader(self, _address: str) -> trio.abc.Stream:
        """Data nodes in memory need not look for the leader."""
        return await self.network.dial(self.meta_address)

    def kill_node(self, node: MemoryNode) -> None:
        """The node's process ends; its disk stays."""
        self._node_scopes.pop(node.name).cancel()
        self.network.cut(node.address)

    def is_alive(self, node: MemoryNode) -> bool:
        """Whether its process runs."""
        return node.name in self._node_scopes

    # --- clients --------------------------------------------------------------------------------------------------------

    async def mount(self, purpose: str = "client", kernel: KernelCache | None = None) -> Mounted:
        """A client with a session."""
        mounted: Mounted = await self._nursery.start(self._run_client, purpose, kernel)
        return mounted

    async def mount_here(self) -> None:
        """Try to open a session, and close it; whatever goes wrong is raised here."""
        async with open_file_system(
            self.client_config, clock=self.clock, dial=self.network.dial, run_in_thread=self._run_in_thread
        ):
            pass

    async def _run_client(self, purpose: str, kernel: KernelCache | None, *, task_status: trio.TaskStatus[Mounted]) -> None:
        port = Port(self.network)
        mounted: Mounted | None = None
        try:
            with trio.CancelScope() as scope:
                async with open_file_system(
                    self.client_config,
                    purpose=purpose,
                    kernel=kernel,
                    clock=self.clock,
                    dial=port.dial,
                    run_in_thread=self._run_in_thread,
                ) as fs:
                    mounted = Mounted(fs, port, scope)
                    task_status.started(mounted)
                    await mounted.wait_leave()
        finally:
            if mounted is not None:
                mounted.gone.set()

    async def _run_in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        await trio.sleep(self.thread_s * self.draw.random())
        return function(*arguments)


async def until(condition: Callable[[], bool], limit_s: float = 100.0, step_s: float = 0.01) -> None:
    """Wait for what is not announced; it must come within limit_s."""
    for _ in range(int(limit_s / step_s)):
        if condition():
            return
        await trio.sleep(step_s)
    raise AssertionError(f"not within {limit_s:g} s")


def fix_order(seed: int) -> None:
    """Have trio run what is ready in an order that the seed decides (as pytest-trio does it): a failure can be had again."""
    run: Any = trio._core._run
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)


W = TypeVar("W", bound=World)


@asynccontextmanager
async def open_world(
    seed: int, *, node_count: int = 3, stored_class: str = "replica:2", limit_s: float = LIMIT_S, **mount: Any
) -> AsyncIterator[World]:
    """A running cluster; `mount` are tunables of its clients (base/config.py)."""
    async with running(seed, lambda nursery: World(seed, nursery, mount, stored_class), node_count, limit_s) as world:
        yield world


@asynccontextmanager
async def running(seed: int, make: Callable[[trio.Nursery], W], node_count: int, limit_s: float) -> AsyncIterator[W]:
    """A world that runs."""
    fix_order(seed)
    try:
        with trio.fail_after(limit_s):
            async with trio.open_nursery() as nursery:
                world = make(nursery)
                await world.start_meta()
                for _ in range(node_count):
                    await world.add_node()
                yield world
                nursery.cancel_scope.cancel()
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
