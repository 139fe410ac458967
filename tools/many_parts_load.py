"""Everything at once on one data node, until it is killed: what many_parts.py has a node do whose memory it looks at.

Large and small puts, gets and verifies of parts all over the index, its list again and again; beside them the node's own steward
makes a pass and scrubs.
"""

import random
from contextlib import suppress

import trio

from ringfs.base.checksums import block_table, object_id
from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import GIB, KIB, MIB
from ringfs.wire.messages.data import Get, ListObjects, ObjectPage, Put, Verify
from ringfs.wire.messages.heal import StartScrub
from ringfs.wire.rpc import RpcClient, open_client

_LARGE_BYTES, _LARGE_TASKS = 8 * MIB, 8
_SMALL_BYTES, _SMALL_TASKS = 8 * KIB, 32
_READ_TASKS = 8
_TIMEOUT_S = 60.0


class Load:
    """On the node of a configuration; run() ends when the node does."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        #: Of all parts that were put and answered.
        self.put: set[bytes] = set()
        #: How often which kind of request was answered.
        self.answered: dict[str, int] = {}
        self._known: list[bytes] = []
        self._scrubs = trio.Event()

    async def run(self) -> None:
        """Until the connection is lost."""
        try:
            async with open_client(self._config.data[0].address, self._config.load_key(), name="tester") as client:
                await self._all(client)
        except* ConnectionLost:
            pass

    async def wait_worked(self) -> None:
        """Until the scrub was begun and every kind of request was answered often enough to have met most pages of a small index."""
        await self._scrubs.wait()
        while len(self.answered) < 5 or min(self.answered.values()) < 20:  # noqa: ASYNC110 -- four tasks count, none of them knows
            await trio.sleep(0.05)

    async def _all(self, client: RpcClient) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._list, client)
            nursery.start_soon(self._start_scrub, client)
            for number in range(_LARGE_TASKS):
                nursery.start_soon(self._put, client, "large puts", _LARGE_BYTES, number)
            for number in range(_SMALL_TASKS):
                nursery.start_soon(self._put, client, "small puts", _SMALL_BYTES, number)
            for _ in range(_READ_TASKS):
                nursery.start_soon(self._get, client)
                nursery.start_soon(self._verify, client)

    async def _list(self, client: RpcClient, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """All pages; the first of each list that is complete are those that others ask for."""
        while True:
            known: list[bytes] = []
            after, has_more = b"", True
            while has_more:
                page: ObjectPage = (await client.call(ListObjects(after, 4096), timeout_s=_TIMEOUT_S)).message
                known += [row.object for row in page.objects]
                after, has_more = page.objects[-1].object + page.objects[-1].part, page.more
                self._count("pages")
            if not self._known:
                self._known = known
                task_status.started()

    async def _start_scrub(self, client: RpcClient) -> None:
        """As soon as the node has a steward."""
        while True:
            with suppress(Refused):
                await client.call(StartScrub(GIB), timeout_s=_TIMEOUT_S)
                self._scrubs.set()
                return
            await trio.sleep(0.1)

    async def _put(self, client: RpcClient, kind: str, size_bytes: int, seed: int) -> None:
        content = bytearray(random.Random(seed).randbytes(size_bytes))
        for number in range(1 << 30):
            content[:12] = number.to_bytes(8, "big") + seed.to_bytes(4, "big")
            table = block_table(content)
            oid = object_id(size_bytes, table)
            await client.call(Put(oid, size_bytes, table), [content], timeout_s=_TIMEOUT_S)
            self.put.add(oid)
            self._count(kind)

    async def _get(self, client: RpcClient) -> None:
        while True:
            await client.call(Get(random.choice(self._known), 0, 1, want_table=True), timeout_s=_TIMEOUT_S)
            self._count("gets")

    async def _verify(self, client: RpcClient) -> None:
        while True:
            await client.call(Verify(random.choice(self._known)), timeout_s=_TIMEOUT_S)
            self._count("verifies")

    def _count(self, kind: str) -> None:
        self.answered[kind] = self.answered.get(kind, 0) + 1
