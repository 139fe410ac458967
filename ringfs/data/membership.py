"""A data node's place in the cluster: join at the leader, send a heartbeat each second, keep the map; begin anew if that ends."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
import trio

from ringfs.base.config import DataConfig
from ringfs.base.errors import Code, ConnectionLost, Refused, UserError
from ringfs.data.reaper import reap_forever
from ringfs.data.store import ObjectStore
from ringfs.wire.leaders import Leaders
from ringfs.wire.messages.cluster import ClusterMap, GetMap, JoinNode, MapChanged, NodeHeartbeat, NodeJoined
from ringfs.wire.rpc import OnPush, RpcClient

log = structlog.get_logger("ringfs.data")

HEARTBEAT_S = 1.0
_TIMEOUT_S = 5.0
#: Between attempts to join.
_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, 2.0)

#: Connects to a metadata server's address.
Connect = Callable[[str, OnPush], AbstractAsyncContextManager[RpcClient]]


class Membership:
    """One for each node. on_joined is told the node's number, first of all, each time the node has joined."""

    def __init__(
        self,
        node: DataConfig,
        store: ObjectStore,
        address: str,
        metas: list[str],
        connect: Connect,
        on_joined: Callable[[int], Awaitable[None]],
    ) -> None:
        self._config = node
        self._store = store
        self._address = address
        self._connect = connect
        self._leaders = Leaders(metas, lambda address: connect(address, self._hear), _PAUSES_S)
        self._on_joined = on_joined
        #: Of what the disk has lost: how much the metadata service was told of.
        self._told_loss_count = 0
        #: The newest map that was heard of; None before the first join.
        self.map: ClusterMap | None = None
        #: The node's number; 0 before the first join.
        self.number = 0
        #: When (trio's clock) the leader was last asked for a newer map, and answered.
        self.confirmed_s = float("-inf")
        #: Whether the node is in the cluster just now.
        self.joined = trio.Event()
        self._client: RpcClient | None = None
        self._news = trio.Event()

    async def run(self) -> None:
        """For ever. Raises UserError if the cluster does not want this node."""
        while True:
            self.joined = trio.Event()
            address = await self._leaders.next()
            try:
                end = await self._take_part(address)
            except ConnectionLost as lost:
                end = lost
            if isinstance(end, UserError):
                raise end
            if isinstance(end, Refused) and end.code is Code.NODE_NAME_TAKEN:
                raise self._name_taken()
            if isinstance(end, Refused) and end.code is Code.NODE_REMOVED:
                raise self._removed()
            self._leaders.failed(address, end)

    async def ask(self, request: Any, *, timeout_s: float) -> Any:
        """What the leader answers, on the heartbeats' connection. Raises Refused, ConnectionLost (also while there is none)."""
        if self._client is None:
            raise ConnectionLost("the node is not in the cluster just now")
        return (await self._client.call(request, timeout_s=timeout_s)).message

    async def wait_map(self, epoch: int) -> None:
        """Until the newest map has another epoch than that; 0: until there is one."""
        while self.map is None or self.map.epoch == epoch:
            await self._news.wait()

    async def _take_part(self, address: str) -> ConnectionLost | Refused | UserError:
        """Join at one metadata server and stay as long as that goes well; how it ended. Raises ConnectionLost."""
        async with self._connect(address, self._hear) as client:
            # Errors leave this block by value: nurseries would wrap them.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._leaders.leave_when_replaced, client, address)
                end = await self._stay(client, address, nursery)
                nursery.cancel_scope.cancel()
            return end
        raise AssertionError("a client does not suppress exceptions")

    async def _stay(self, client: RpcClient, address: str, nursery: trio.Nursery) -> ConnectionLost | Refused | UserError:
        try:
            await self._check_cluster(client, address)
            node = await self._join(client)
        except (ConnectionLost, Refused, UserError) as error:
            return error
        self._leaders.found(address)
        nursery.start_soon(self._reap, client, node)
        self._client = client
        try:
            return await self._send_heartbeats(client, node)
        finally:
            self._client = None

    async def _check_cluster(self, client: RpcClient, address: str) -> None:
        """Before it is let in: clusters may have the same key. Raises UserError, Refused, ConnectionLost."""
        there: ClusterMap = (await client.call(GetMap(), timeout_s=_TIMEOUT_S)).message
        if there.cluster != self._store.identity.cluster:
            raise UserError(
                f"the metadata server at {address} is of another cluster ({there.cluster}, not {self._store.identity.cluster}): "
                "correct its address, or the cluster, in cluster.toml"
            )

    async def _join(self, client: RpcClient) -> int:
        config = self._config
        disk, loss_count = str(self._store.identity.disk), self._store.health.loss_count
        joining = JoinNode(
            uuid=disk,
            name=config.name,
            address=self._address,
            domain=config.domain,
            weight=config.weight or 0,
            has_losses=loss_count > self._told_loss_count,
            size_bytes=self._store.figures().size_bytes,
        )
        joined: NodeJoined = (await client.call(joining, timeout_s=_TIMEOUT_S)).message
        self._told_loss_count = loss_count
        await self._on_joined(joined.node)
        self.number = joined.node
        self._take_map(joined.map)
        self.joined.set()
        log.info("joined the cluster", node=joined.node, epoch=joined.map.epoch)
        return joined.node

    async def _send_heartbeats(self, client: RpcClient, node: int) -> ConnectionLost | Refused:
        """Until one fails: how."""
        try:
            while True:
                asked_s = trio.current_time()
                answer = await client.call(self._heartbeat(node), timeout_s=_TIMEOUT_S, urgent=True)
                if isinstance(answer.message, ClusterMap):
                    self._take_map(answer.message)
                self.confirmed_s = asked_s
                await trio.sleep(HEARTBEAT_S)
        except (ConnectionLost, Refused) as error:
            return error

    def _heartbeat(self, node: int) -> NodeHeartbeat:
        store = self._store
        figures = store.figures()
        return NodeHeartbeat(
            node=node,
            epoch=self.map.epoch if self.map else 0,
            used_bytes=figures.used_bytes,
            free_bytes=figures.free_bytes,
            object_count=figures.part_count,
            filesystem=store.disk.file_system(),
            filesystem_free_bytes=figures.disk_free_bytes,
            trouble=store.health.trouble,
            size_bytes=figures.size_bytes,
        )

    async def _reap(self, client: RpcClient, node: int) -> None:
        try:
            await reap_forever(client, self._store, node)
        except ConnectionLost as lost:
            # The heartbeats on the same connection end with it, and say so.
            log.debug("reaping stopped", reason=str(lost))

    def _hear(self, message: object) -> None:
        if isinstance(message, MapChanged):
            self._take_map(message.map)

    def _take_map(self, cluster_map: ClusterMap) -> None:
        self.map = cluster_map
        self._news.set()
        self._news = trio.Event()

    def _name_taken(self) -> UserError:
        return UserError(
            f"the cluster knows another disk as data node {self._config.name!r}: is the right disk mounted at {self._config.disk}? "
            f"If it was replaced by an empty one: 'ringfs node replace {self._config.name}', then start the node again"
        )

    def _removed(self) -> UserError:
        return UserError(
            f"the disk at {self._config.disk} was removed from the cluster, or another took its place: "
            "empty the directory, and the node joins as a new one"
        )
