"""A metadata server in memory that can crash and start again, and clients that speak its messages, with every fault of the network.

async with MetaWorld.open() as world:
    alice = await world.client("alice")
    made = await alice.mutate(Mkdir(...))
    await world.restart()          # a crash: volatile state and what the journal did not have are gone
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.meta.daemon import start
from ringfs.meta.namespace.check import check
from ringfs.meta.server import MetaServer
from ringfs.wire.messages.namespace import Mknod
from ringfs.wire.messages.session import (
    RECALL_DROP,
    CloseSession,
    Heartbeat,
    Mutate,
    OpenInode,
    OpenSession,
    Query,
    Recall,
    RecallDone,
    ResumeSession,
)
from ringfs.wire.rpc import RpcClient, open_client
from tests.support.meta_doubles import CONFIG, KEY, MemoryJournal, MemoryStore, TrioClock
from tests.support.streams import Network

ADDRESS = "meta1:7000"


class MetaWorld:
    """See the module."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.network = Network()
        self.clock = TrioClock()
        self.journal = MemoryJournal()
        #: A MemoryStore, which stands for a Store.
        self.store: Any = MemoryStore()
        self.server: MetaServer
        self._running: trio.CancelScope

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["MetaWorld"]:
        """A world with a running server. At the end the namespace must be right."""
        async with trio.open_nursery() as nursery:
            world = cls(nursery)
            await world.start()
            yield world
            world.check()
            nursery.cancel_scope.cancel()

    def check(self) -> None:
        """The namespace's invariants hold, and the server's."""
        findings = [str(finding) for finding in check(self.leader.view)]
        assert not findings, findings
        self.server.live.opens.check_invariants()
        self.server.live.leases.check_invariants()
        self.server.live.lock_waits.check_invariants()

    @property
    def leader(self) -> Any:
        """The running server's leader."""
        return self.server.live.leader

    async def start(self) -> None:
        """Recover and serve."""
        leader, self.server = await start(self.store, self.journal, self.clock, CONFIG, "meta1")
        self._running = trio.CancelScope()
        ready = trio.Event()

        async def run() -> None:
            with self._running:
                async with trio.open_nursery() as nursery:
                    await nursery.start(leader.run)
                    nursery.start_soon(self.server.run)
                    await nursery.start(self.network.serve, self.server, KEY, ADDRESS)
                    ready.set()
            self._stopped.set()

        self._stopped = trio.Event()
        self.nursery.start_soon(run)
        await ready.wait()

    async def crash(self) -> None:
        """Kill the server: only what was durable stays."""
        self.network.cut(ADDRESS)
        self._running.cancel()
        await self._stopped.wait()
        self.journal = self.journal.restarted()
        self.store = self.store.restarted()

    async def restart(self) -> None:
        """Crash and start again."""
        await self.crash()
        await self.start()

    async def client(self, name: str) -> "Client":
        """A connected client with a session."""
        client = Client(self, name)
        await client.connect()
        opened = await client.ask(OpenSession(name))
        client.session = opened.session
        self.nursery.start_soon(client.heartbeats)
        return client


class Client:
    """A client double: a session, request numbers, recalls that it obeys as told."""

    def __init__(self, world: MetaWorld, name: str) -> None:
        self.world = world
        self.name = name
        self.session = 0
        self.number = 0
        #: Everything that was pushed, and what is called for each recall before it is confirmed.
        self.pushed: list[Any] = []
        self.on_recall: Callable[[Recall], Any] | None = None
        #: Recalls are left unanswered while this is False.
        self.obeys = True
        self.beats = True
        self.is_ended = False
        self._rpc: RpcClient

    @property
    def recalls(self) -> list[Recall]:
        """The recalls that came in."""
        return [push for push in self.pushed if isinstance(push, Recall)]

    # --- connection ---------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """A new connection; the old one stays as it is."""
        connected = trio.Event()

        async def hold() -> None:
            try:
                async with open_client(ADDRESS, KEY, name=self.name, on_push=self._on_push, dial=self.world.network.dial) as rpc:
                    self._rpc = rpc
                    self.link = self.world.network.links_to(ADDRESS)[-1]
                    connected.set()
                    await rpc.lost.wait()
            except ConnectionLost:
                assert connected.is_set(), "a test that connects expects a server"

        self.world.nursery.start_soon(hold)
        await connected.wait()

    async def resume(self, opens: list[OpenInode] | None = None) -> Any:
        """Connect anew and resume the session."""
        await self.connect()
        return await self.ask(ResumeSession(self.session, opens or [], False))

    def cut(self) -> None:
        """Lose the connection."""
        self.link.cut()

    async def heartbeats(self) -> None:
        """Renew the leases while `beats`."""
        while not self.is_ended:
            if self.beats and not self._rpc.lost.is_set():
                self._rpc.call_soon(Heartbeat(self.session), lambda _answer: None, urgent=True)
            await trio.sleep(3)

    def _on_push(self, message: Any) -> None:
        self.pushed.append(message)
        if isinstance(message, Recall) and self.obeys:
            self.world.nursery.start_soon(self.obey, message)

    async def obey(self, recall: Recall) -> None:
        """Do what a recall asks for, and say so."""
        if self.on_recall is not None:
            await self.on_recall(recall)
        try:
            await self.ask(RecallDone(self.session, recall.serial), urgent=True)
        except ConnectionLost:
            assert self._rpc.lost.is_set()

    # --- requests -----------------------------------------------------------------------------------------------------

    async def ask(self, request: Any, *, urgent: bool = False) -> Any:
        """The answer to any request; raises Refused, ConnectionLost."""
        return (await self._rpc.call(request, urgent=urgent)).message

    async def query(self, question: Any) -> Any:
        """The answer to a question."""
        return await self.ask(Query(self.session, question))

    def mutation(self, operation: Any) -> Mutate:
        """A request under the next number, to be sent as often as wanted."""
        self.number += 1
        return Mutate(self.session, self.number, max(1, self.number - 200), operation)

    def later(self, request: Any) -> "Later":
        """Ask without waiting."""
        return Later(self.world.nursery, self.ask, request)

    async def mutate(self, operation: Any) -> Any:
        """The answer to a transaction."""
        return await self.ask(self.mutation(operation))

    async def make_file(self, name: bytes, *, open_mode: int = 0, exclusive: bool = True) -> int:
        """A file in the root directory: its inode number."""
        entry = await self.mutate(Mknod(ROOT_INODE, name, 0o100644, 0, 0, 0, 0, open_mode, exclusive))
        inode: int = entry.attributes.inode
        return inode

    async def close_session(self) -> None:
        """A clean end."""
        self.is_ended = True
        await self.ask(CloseSession(self.session))


class Later:
    """An answer that may come later. Refused and ConnectionLost count as answers."""

    def __init__(self, nursery: trio.Nursery, ask: Callable[[Any], Awaitable[Any]], request: Any) -> None:
        self._ask = ask
        self._done = trio.Event()
        self.answer: Any = None
        nursery.start_soon(self._run, request)

    async def _run(self, request: Any) -> None:
        try:
            self.answer = await self._ask(request)
        except (Refused, ConnectionLost) as error:
            self.answer = error
        self._done.set()

    @property
    def is_done(self) -> bool:
        """Whether the answer has come."""
        return self._done.is_set()

    async def wait(self) -> Any:
        """The answer, or the Refused or ConnectionLost instead of one."""
        await self._done.wait()
        return self.answer


def drops(client: Client) -> list[int]:
    """The inodes that a client was told to drop."""
    return [item.inode for recall in client.recalls for item in recall.items if item.kind == RECALL_DROP]
