"""A world (world.py) with three metadata servers, one of which leads: the real one; the others are standbys that know who does.

Who leads is decided by the test, as etcd would: at most one at a time appends, and terms grow. All share one journal and one store.

async with open_several(seed) as world:
    client = await world.mount("one")
    await world.crash_meta()             # or: await world.stall()
    await world.take_over()
    world.come_back()
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import trio.testing

from ringfs.meta.standby_service import StandbyService
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, GetServer, ServerStatus
from ringfs.wire.rpc import Handler, Peer, Request
from tests.support.meta_doubles import KEY
from tests.support.world import LIMIT_S, META, World, running

METAS = (META, "meta2:7000", "meta3:7000")


class Deposed:
    """A Handler: a server that does not know yet that it is not the leader any more, and can do nothing without etcd."""

    def __init__(self, name: str, address: str, term: int) -> None:
        self._status = ServerStatus(name, ROLE_LEADER, term, 1, name, address, [], 0, "")
        #: What it was asked, but for what it is.
        self.heard: list[Any] = []
        self.asked_count = 0

    def connected(self, peer: Peer) -> None:
        """See Handler."""

    def handle(self, request: Request) -> None:
        """See Handler."""
        if isinstance(request.message, GetServer):
            self.asked_count += 1
            request.reply(self._status)
        else:
            self.heard.append(request.message)

    def disconnected(self, peer: Peer) -> None:
        """See Handler."""


class SeveralWorld(World):
    """See the module."""

    def __init__(self, seed: int, nursery: trio.Nursery, mount: dict[str, Any]) -> None:
        super().__init__(seed, nursery, mount, "replica:2", METAS)
        #: The newest leader's term and address, as etcd has them.
        self.term = 0
        self._leader_address = ""
        self._others: dict[str, trio.CancelScope] = {}
        #: Servers that are gone, or stopped.
        self.away: list[str] = []

    # --- the one that leads ---------------------------------------------------------------------------------------------

    async def start_meta(self) -> None:
        """See World."""
        await super().start_meta()
        self.term, self._leader_address = self.leader.term, self.meta_address
        for address in METAS:
            if address not in (self.meta_address, *self.away, *self._others):
                await self.serve_other(address, StandbyService(partial(self._tell, address)))

    async def crash_meta(self) -> None:
        """The leader ends in this moment."""
        await super().crash_meta()
        self.away.append(self.meta_address)

    async def stall(self) -> None:
        """The leader is stopped: its connections stay, and nothing is answered."""
        self.network.freeze(self.meta_address)
        await self.crash_meta()

    async def take_over(self) -> None:
        """One of the others leads."""
        self.meta_address = self.draw.choice(sorted(self._others))
        await self._stop_other(self.meta_address)
        await self.start_meta()

    # --- the others -----------------------------------------------------------------------------------------------------

    def _tell(self, address: str) -> ServerStatus:
        name = address.partition(":")[0]
        leader = self._leader_address
        return ServerStatus(name, ROLE_STANDBY, self.term, self.journal.last, leader.partition(":")[0], leader, [], 0, "")

    async def come_back(self, handler: Handler | None = None) -> str:
        """Who went first is here again, as a standby or as what is given: its address."""
        address = self.away.pop(0)
        self.network.thaw(address)
        await self.serve_other(address, handler or StandbyService(partial(self._tell, address)))
        return address

    async def know(self, address: str) -> None:
        """The server there learns who leads, if it does not itself."""
        if address in self._others:
            await self._stop_other(address)
            await self.serve_other(address, StandbyService(partial(self._tell, address)))

    async def serve_other(self, address: str, handler: Handler) -> None:
        """Serve there, not leading."""
        self._others[address] = await self._nursery.start(self._serve_other, address, handler)

    async def _serve_other(self, address: str, handler: Handler, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.network.serve, handler, KEY, address)
                task_status.started(scope)

    async def _stop_other(self, address: str) -> None:
        self._others.pop(address).cancel()
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_several(seed: int, *, limit_s: float = LIMIT_S, **mount: Any) -> AsyncIterator[SeveralWorld]:
    """A running cluster with three metadata servers."""
    async with running(seed, lambda nursery: SeveralWorld(seed, nursery, mount), 3, limit_s) as world:
        yield world
