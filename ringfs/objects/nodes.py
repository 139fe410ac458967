"""Connections to the data nodes: opened when first needed, one for bulk puts and one for gets, so that a small read never
queues behind an 8 MiB write; how fast each is, and whether it is better avoided. Which node holds what is locating.py's business.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
import trio

from ringfs.base.checksums import Buffer
from ringfs.base.errors import ConnectionLost
from ringfs.base.limits import BLOCK_BYTES
from ringfs.objects.latency import Latencies, Latency
from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.rpc import Answer, Dial, OnAnswer, RpcClient, dial_tcp, open_client

log = structlog.get_logger("ringfs.objects.nodes")

#: After a failed connection the node is not tried again for this long, unless nothing else is left.
AVOID_S = 2.0
#: A node that another one overtook is avoided for so long, for twice as long the next time, and so on.
_OVERTAKEN_S_MIN = 0.5
_OVERTAKEN_S_MAX = 30.0
#: A request waits so long for a connection, which may take longer to open.
_OPEN_PATIENCE_S = 1.5
#: A read is not called late before, whatever is usual, and is called late after that.
READ_LATE_S_MIN = 0.02
_READ_LATE_S_MAX = 2.0
#: The same for a put: a node may have to wait for its disk.
PUT_LATE_S_MIN = 2.0
_PUT_LATE_S_MAX = 20.0
#: What reads are believed to take before one was measured. The first one may have to wait for a connection.
_READ_GUESS_S = 0.03
_PUT_GUESS_S = 0.2
#: Reads of at most so much are measured apart from larger ones.
_SMALL_READ_BYTES = 2 * BLOCK_BYTES
#: A node that was overtaken, and answers again, is used again at once; but only so many good answers make it as good as others.
_TRUSTED_AFTER = 32


class Usual:
    """What is usual on the connections of one client."""

    def __init__(self) -> None:
        self.small_reads = Latencies(_READ_GUESS_S)
        self.large_reads = Latencies(_READ_GUESS_S)

    def reads(self, size_bytes: int) -> Latencies:
        """Of reads of so much."""
        return self.small_reads if size_bytes <= _SMALL_READ_BYTES else self.large_reads


class Lane:
    """One connection to one node, reopened when it is needed again after a loss."""

    def __init__(self, address: str, key: bytes, name: str, nursery: trio.Nursery, dial: Dial, usual: Usual) -> None:
        self.address = address
        self._key = key
        self._name = name
        self._nursery = nursery
        self._dial = dial
        self._client: RpcClient | None = None
        #: While a connection is being opened; set when that has ended.
        self._opening: trio.Event | None = None
        #: Why it could not be opened the last time.
        self._open_failure = ""
        #: Time of trio's clock until which the node is avoided.
        self._avoid_until_s = 0.0
        #: Others overtook it, or it had no connection, and it did not do well since; whether somebody is finding out if it has
        #: become better; how often that happened since it was trusted, and the good answers since then.
        self._is_suspect = False
        self._is_probed = False
        self._losses = 0
        self._good_count = 0
        self._usual = usual
        self._small_reads = usual.small_reads.one_more()
        self._large_reads = usual.large_reads.one_more()
        self._puts = Latency(_PUT_GUESS_S)

    async def call(
        self, request: Any, payload: Sequence[Buffer] = (), *, timeout_s: float | None = None, patience_s: float | None = None
    ) -> Answer:
        """Raises Refused, or ConnectionLost for anything that may be cured by another node. See RpcClient.call."""
        client = self._client if self.is_open and self._client is not None else await self._open()
        self._begin()
        try:
            return await client.call(request, payload, timeout_s=timeout_s, patience_s=patience_s)
        except ConnectionLost:
            self.avoid()
            raise

    def call_soon(self, request: Any, on_answer: OnAnswer, payload: Sequence[Buffer] = (), *, timeout_s: float) -> bool:
        """Ask, if that can be done at once; on_answer is then called from the receiving loop, and calls avoid() for a lost
        connection. False: use call."""
        client = self._client
        if client is None or not client.has_room or client.lost.is_set():
            return False
        self._begin()
        client.call_soon(request, on_answer, payload, timeout_s=timeout_s)
        return True

    # --- whether it is any good -------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._client is not None and not self._client.lost.is_set()

    def is_doubtful(self, now_s: float) -> bool:
        """Whether others should be asked first, at that time of trio's clock. If it was bad and has no connection, nobody should be
        kept waiting for one: it is opened apart from any request."""
        if self._avoid_until_s > now_s:
            return True
        if not self._is_suspect or self.is_open:
            return False
        self._open_soon()
        return True

    def avoid(self) -> None:
        """It failed: others first, for a while."""
        self._avoid_until_s = max(self._avoid_until_s, trio.current_time() + AVOID_S)

    def was_overtaken(self) -> None:
        """It did not answer for so long that another node was asked, which did: others first, for longer each time."""
        if self._is_probed or not self._is_suspect:
            self._suspect()
            self._avoid_until_s = trio.current_time() + self._penalty_s()

    def _suspect(self) -> None:
        self._is_suspect = True
        self._is_probed = False
        self._losses += 1
        self._good_count = 0

    def _begin(self) -> None:
        """It is asked. If it was overtaken the last time, nobody else should be kept waiting before it has answered."""
        now_s = trio.current_time()
        if self._is_suspect and now_s >= self._avoid_until_s:
            self._is_probed = True
            self._avoid_until_s = now_s + self._penalty_s()

    def _penalty_s(self) -> float:
        return float(min(_OVERTAKEN_S_MIN * 2 ** min(self._losses - 1, 16), _OVERTAKEN_S_MAX))

    def _did_well(self) -> None:
        if not self._losses:
            return
        if self._is_suspect:
            self._is_suspect = self._is_probed = False
            self._avoid_until_s = 0.0
        self._good_count += 1
        if self._good_count >= _TRUSTED_AFTER:
            self._losses = 0

    def note_read(self, size_bytes: int, took_s: float) -> None:
        """A read was answered before another node was."""
        self._did_well()
        self._usual.reads(size_bytes).note(self._reads(size_bytes), took_s)

    def _reads(self, size_bytes: int) -> Latency:
        return self._small_reads if size_bytes <= _SMALL_READ_BYTES else self._large_reads

    def note_put(self, took_s: float) -> None:
        """A put was answered."""
        self._did_well()
        self._puts.note(took_s)

    def read_late_s(self, size_bytes: int) -> float:
        """A read of so much that takes longer is late."""
        return self._usual.reads(size_bytes).late_after_s(self._reads(size_bytes), READ_LATE_S_MIN, _READ_LATE_S_MAX)

    def leave(self) -> None:
        """It is needed no more, and no measure for others."""
        self._usual.small_reads.forget(self._small_reads)
        self._usual.large_reads.forget(self._large_reads)

    @property
    def put_late_s(self) -> float:
        """A put that takes longer is late."""
        return self._puts.late_after_s(PUT_LATE_S_MIN, _PUT_LATE_S_MAX)

    # --- the connection ---------------------------------------------------------------------------------------------

    async def _open(self) -> RpcClient:
        """A connection. Raises ConnectionLost if there is none, or none soon: others may be asked meanwhile."""
        opening = self._open_soon()
        with trio.move_on_after(_OPEN_PATIENCE_S) as scope:
            await opening.wait()
        if self._client is not None and self.is_open:
            return self._client
        if scope.cancelled_caught:
            self.was_overtaken()
            raise ConnectionLost(f"{self.address}: no connection yet")
        raise ConnectionLost(self._open_failure)

    def _open_soon(self) -> trio.Event:
        """Begin to open a connection unless that has begun. What is set when it has ended."""
        if self._opening is None:
            self._opening = trio.Event()
            self._nursery.start_soon(self._try_to_open, self._opening)
        return self._opening

    async def _try_to_open(self, opening: trio.Event) -> None:
        try:
            self._client = await self._nursery.start(self._hold)
        except (OSError, ConnectionLost, trio.TooSlowError) as error:
            self._open_failure = f"{self.address}: {error or type(error).__name__}"
            self._suspect()
            self._avoid_until_s = trio.current_time() + max(AVOID_S, self._penalty_s())
        finally:
            self._opening = None
            opening.set()

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
        self._usual = Usual()
        self._lanes: dict[tuple[str, bool], Lane] = {}

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Start a task that lives as long as the lanes at most."""
        self._nursery.start_soon(function, *arguments)

    def lane(self, node: Node, *, bulk: bool) -> Lane:
        """The node's lane for puts (bulk) or for gets. A node that moved gets new lanes with its new address."""
        lane = self._lanes.get((node.address, bulk))
        if lane is None:
            lane = Lane(node.address, self._key, self._name, self._nursery, self._dial, self._usual)
            self._lanes[node.address, bulk] = lane
        return lane

    def forget_gone(self, map: ClusterMap) -> None:
        """Drop lanes of addresses that are not in the map any more."""
        addresses = {node.address for node in map.nodes}
        for key in [key for key in self._lanes if key[0] not in addresses]:
            self._lanes.pop(key).leave()
