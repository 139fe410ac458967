"""Several caching clients, a network and a server that fail at random: nobody ever reads what was overwritten before.

The law: a read returns no older state of an inode than any change (or local write) that was finished before the read began.
"""

import random
from typing import Any

import pytest
import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import LEASE_NS
from ringfs.wire.messages.namespace import INLINE, SET_MODE, Commit, Extent, FileCommit, Setattr
from ringfs.wire.messages.queries import GetAttributes
from ringfs.wire.messages.session import (
    OPEN_WRITE,
    RECALL_FLUSH,
    Close,
    Heartbeat,
    Open,
    OpenInode,
    OpenSession,
    Query,
    Recall,
    ResumeSession,
)
from tests.support.meta_world import Client, MetaWorld

LEASE_S = LEASE_NS / 1e9
FILES = 4


class Truth:
    """What was finished: for each inode the greatest change number that somebody was told, and the greatest size written."""

    def __init__(self) -> None:
        self.changes: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self.reads = 0
        self.cached_reads = 0

    def changed(self, inode: int, change: int) -> None:
        self.changes[inode] = max(change, self.changes.get(inode, 0))


class CachingClient(Client):
    """Caches attributes under lease as a mount does: until recalled, until its connection is lost, until its lease has ended."""

    def __init__(self, world: MetaWorld, name: str, truth: Truth) -> None:
        super().__init__(world, name)
        self.truth = truth
        self.cache: dict[int, Any] = {}
        self.lease_end = 0.0
        #: Grows when the cache is emptied or something is recalled: answers asked for before are not cached.
        self.generation = 0
        self.opens: dict[int, int] = {}
        #: inode → size it was written to locally and not committed.
        self.dirty: dict[int, int] = {}
        self.on_recall = self._recalled
        self._connecting = trio.Lock()

    # --- the lease ----------------------------------------------------------------------------------------------------

    async def heartbeats(self) -> None:
        """Renew; a heartbeat that is not answered in time ends the connection."""
        while True:
            await self._renew()
            await trio.sleep(LEASE_S / 3)

    async def _renew(self) -> None:
        sent, rpc = trio.current_time(), self._rpc
        with trio.move_on_after(LEASE_S / 3) as scope:
            try:
                await self._rpc.call(Heartbeat(self.session), urgent=True)
                if self._rpc is rpc:
                    self.lease_end = max(self.lease_end, sent + LEASE_S)
            except ConnectionLost:
                pass
        if scope.cancelled_caught or rpc.lost.is_set():
            await self.reconnect(rpc)

    def forget(self) -> None:
        """Nothing cached is valid any more."""
        self.cache.clear()
        self.generation += 1

    async def reconnect(self, lost: Any) -> None:
        """Give up a connection, resume on a new one, for as long as it takes."""
        async with self._connecting:
            while self._rpc is lost or self._rpc.lost.is_set():
                self.forget()
                self.lease_end = 0.0
                await self._rpc.aclose()
                await trio.sleep(0.1)
                if "meta1:7000" not in self.world.network._servers:
                    continue
                sent = trio.current_time()
                try:
                    with trio.fail_after(5):
                        await self.connect()
                        opens = [OpenInode(inode, mode) for inode, mode in self.opens.items()]
                        await self._rpc.call(ResumeSession(self.session, opens, False), urgent=True)
                except (ConnectionLost, trio.TooSlowError):
                    lost = self._rpc
                    continue
                self.lease_end = sent + LEASE_S

    async def insist(self, request: Any) -> Any:
        """The answer, however often it must be asked for."""
        while True:
            rpc = self._rpc
            try:
                return (await rpc.call(request)).message
            except ConnectionLost:
                await self.reconnect(rpc)

    async def _recalled(self, recall: Recall) -> None:
        self.generation += 1
        for item in recall.items:
            self.cache.pop(item.inode, None)
        for item in recall.items:
            if item.kind == RECALL_FLUSH:
                await self.flush(item.inode)
                self.cache.pop(item.inode, None)
                self.generation += 1

    # --- what applications do -----------------------------------------------------------------------------------------

    async def read(self, inode: int) -> Any:
        """Attributes, from the cache if the lease allows it."""
        change, size = self.truth.changes.get(inode, 0), self.truth.sizes.get(inode, 0)
        self.truth.reads += 1
        if trio.current_time() >= self.lease_end:
            self.forget()
        shown = self.cache.get(inode)
        if shown is not None:
            self.truth.cached_reads += 1
        else:
            generation = self.generation
            answer = await self.insist(Query(self.session, GetAttributes(inode)))
            shown = answer.attributes
            if answer.leased and generation == self.generation:
                self.cache[inode] = shown
        assert shown.change >= change, f"{self.name} reads change {shown.change} of {inode}, {change} was finished"
        assert max(shown.size_bytes, self.dirty.get(inode, 0)) >= size, (
            f"{self.name} reads size {shown.size_bytes}, {size} was written"
        )
        return shown

    async def change(self, inode: int, mode: int) -> None:
        """A transaction, repeated until it is answered."""
        request = self.mutation(Setattr(inode, SET_MODE, mode, 0, 0, 0, 0, 0, 0, False))
        answer = await self.insist(request)
        self.cache.pop(inode, None)
        self.truth.changed(inode, answer.change)

    async def open(self, inode: int) -> None:
        """Open for writing; only then it may be written."""
        await self.insist(Query(self.session, Open(inode, OPEN_WRITE)))
        self.opens[inode] = OPEN_WRITE

    async def write(self, inode: int) -> None:
        """Write a byte past what anybody wrote, into the cache; the application goes on at once."""
        size = self.truth.sizes.get(inode, 0) + 1
        self.dirty[inode] = self.truth.sizes[inode] = size

    async def flush(self, inode: int) -> None:
        """Commit what is dirty."""
        while (size := self.dirty.get(inode)) is not None:
            commit = Commit([], [FileCommit(inode, [Extent(size - 1, 1, INLINE, b"x")], -1, -1, -1, 0, False)])
            answer = await self.insist(self.mutation(commit))
            self.truth.changed(inode, answer.files[0].attributes.change)
            self.cache.pop(inode, None)
            if self.dirty.get(inode) == size:
                del self.dirty[inode]

    async def close(self, inode: int) -> None:
        """Flush, and give up the open."""
        await self.flush(inode)
        del self.opens[inode]
        await self.insist(Query(self.session, Close([OpenInode(inode, OPEN_WRITE)])))


async def caching_client(world: MetaWorld, name: str, truth: Truth) -> CachingClient:
    client = CachingClient(world, name, truth)
    await client.connect()
    client.session = (await client.ask(OpenSession(name))).session
    await client._renew()
    world.nursery.start_soon(client.heartbeats)
    return client


async def act(client: CachingClient, draw: random.Random, files: list[int], until: float, writes: bool) -> None:
    while trio.current_time() < until:
        inode = draw.choice(files)
        match draw.randrange(12):
            case 0:
                await client.change(inode, draw.randrange(0o1000))
            case 1 if writes and inode not in client.opens:
                await client.open(inode)
            case 2 | 3 if inode in client.opens:
                await client.write(inode)
            case 4 if inode in client.opens:
                await client.close(inode)
            case _:
                await client.read(inode)
        await trio.sleep(draw.expovariate(20))


async def spoil(world: MetaWorld, clients: list[CachingClient], draw: random.Random) -> None:
    """Cut, silence, delay, crash: one fault every few seconds."""
    while True:
        await trio.sleep(draw.uniform(1, 6))
        victim = draw.choice(clients)
        match draw.randrange(6):
            case 0 | 1:
                victim.cut()
            case 2:
                victim.link.drop()
            case 3:
                victim.link.delay(draw.choice((0.0, 0.05, 1.0)))
            case 4:
                await world.restart()
            case 5:
                world.journal.append_s = draw.choice((0.0, 0.005, 0.2))


@pytest.mark.parametrize("seed", range(6))
async def test_writers_and_readers_see_each_other(autojump_clock: object, seed: int) -> None:
    """Without faults: dirty bytes, changes and caches of three clients are one file system."""
    truth = Truth()
    draw = random.Random(seed)
    async with MetaWorld.open() as world:
        clients = [await caching_client(world, name, truth) for name in ("alice", "bob", "carol")]
        files = [await clients[0].make_file(b"%d" % number) for number in range(FILES)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(act, client, draw, files, trio.current_time() + 30, True)
        assert truth.reads > 300, seed
        assert truth.cached_reads > 50, seed


@pytest.mark.parametrize("seed", range(8))
async def test_nobody_reads_the_past(autojump_clock: object, seed: int) -> None:
    """With cut and silent connections, slow networks, crashes: no read is older than a change that was answered before it."""
    truth = Truth()
    draw = random.Random(seed)
    async with MetaWorld.open() as world:
        clients = [await caching_client(world, name, truth) for name in ("alice", "bob", "carol")]
        files = [await clients[0].make_file(b"%d" % number) for number in range(FILES)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spoil, world, clients, draw)
            async with trio.open_nursery() as actors:
                for client in clients:
                    actors.start_soon(act, client, draw, files, trio.current_time() + 90, False)
            nursery.cancel_scope.cancel()
        assert truth.reads > 300, seed
        assert truth.cached_reads > 50, seed


async def test_the_law_can_be_broken(autojump_clock: object) -> None:
    """The check itself: a client that does not obey recalls reads the past, and is found out."""
    truth = Truth()
    async with MetaWorld.open() as world:
        alice, bob = [await caching_client(world, name, truth) for name in ("alice", "bob")]
        file = await alice.make_file(b"f")
        await bob.read(file)

        async def ignore(_recall: Recall) -> None:
            await trio.lowlevel.checkpoint()

        bob.on_recall = ignore
        await alice.change(file, 0o600)
        with pytest.raises(AssertionError, match="reads change"):
            await bob.read(file)
        assert not isinstance(await alice.later(Query(alice.session, GetAttributes(file))).wait(), Refused)
