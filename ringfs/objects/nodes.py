"""Connections to the data nodes: opened when first needed, one for bulk puts and one for gets, so that a small read never
queues behind an 8 MiB write. Which node holds what is objects.py's business.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
import trio

from ringfs.base.checksums import Buffer
from ringfs.base.errors import ConnectionLost
from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.rpc import Answer, Dial, OnAnswer, RpcClient, dial_tcp, open_client

log = structlog.get_logger("ringfs.objects.nodes")

#: After a failed connection the node is not tried again for this long, unless nothing else is left.
AVOID_S = 2.0


class Lane:
    """One connection to one node, reopened when it is needed again after a loss."""

    def __init__(self, address: str, key: bytes, name: str, nursery: trio.Nursery, dial: Dial) -> None:
        self.address = address
        self._key = key
        self._name = name
        self._nursery = nursery
        self._dial = dial
        self._client: RpcClient | None = None
        self._opening = trio.Lock()
        #: Time of trio's clock until which the node is avoided.
        self.avoid_until_s = 0.0

    async def call(self, request: Any, payload: Sequence[Buffer] = (), *, timeout_s: float) -> Answer:
        """Raises Refused, or ConnectionLost for anything that may be cured by another node."""
        client = self._client
        if client is None or client.lost.is_set():
            client = await self._open()
        try:
            return await client.call(request, payload, timeout_s=timeout_s)
        except ConnectionLost:
            self.avoid()
            raise

    def call_soon(self, request: Any, on_answer: OnAnswer, *, timeout_s: float) -> bool:
        """Ask, if that can be done at once; on_answer is then called from the receiving loop. False: use call."""
        client = self._client
        if client is None or not client.has_room or client.lost.is_set():
            return False
        client.call_soon(request, on_answer, timeout_s=timeout_s)
        return True

    def avoid(self) -> None:
        """It failed: others first, for a while."""
        self.avoid_until_s = trio.current_time() + AVOID_S

    async def _open(self) -> RpcClient:
        async with self._opening:
            if self._client is not None and not self._client.lost.is_set():
                return self._client
            try:
                self._client = await self._nursery.start(self._hold)
            except (OSError, ConnectionLost, trio.TooSlowError) as error:
                self.avoid()
                raise ConnectionLost(f"{self.address}: {error or type(error).__name__}") from error
            return self._client

    async def _hold(self, task_status: trio.TaskStatus[RpcClient]) -> None:
        """Own the connection until it is lost."""
        started = False
        try:
            async with open_client(self.address, self._key, name=self._name, dial=self._dial) as client:
                started = True
                task_status.started(client)
                await client.lost.wait()
        except (OSError, ConnectionLost, trio.TooSlowError):
            if not started:
                raise


class DataNodes:
    """Lanes by node; follows the cluster map."""

    def __init__(self, key: bytes, name: str, nursery: trio.Nursery, dial: Dial = dial_tcp) -> None:
        self._key = key
        self._name = name
        self._nursery = nursery
        self._dial = dial
        self._lanes: dict[tuple[str, bool], Lane] = {}

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Start a task that lives as long as the lanes."""
        self._nursery.start_soon(function, *arguments)

    def lane(self, node: Node, *, bulk: bool) -> Lane:
        """The node's lane for puts (bulk) or for gets. A node that moved gets new lanes with its new address."""
        lane = self._lanes.get((node.address, bulk))
        if lane is None:
            lane = self._lanes[node.address, bulk] = Lane(node.address, self._key, self._name, self._nursery, self._dial)
        return lane

    def forget_gone(self, map: ClusterMap) -> None:
        """Drop lanes of addresses that are not in the map any more."""
        addresses = {node.address for node in map.nodes}
        for key in [key for key in self._lanes if key[0] not in addresses]:
            del self._lanes[key]
