"""The data nodes as the checker asks them: connected for the whole check, listed page by page, silent once they fail."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from ringfs.base.config import ClusterConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.cli.reach import ANSWER_TIMEOUT_S
from ringfs.cli.servers import caller_name
from ringfs.ring.parts import Part, unpack_part
from ringfs.wire.messages.cluster import ClusterMap, Node
from ringfs.wire.messages.data import Have, Held, ListObjects, ObjectPage, ObjectRow, Verified, Verify
from ringfs.wire.rpc import RpcClient, open_client


class HoldingNode:
    """One data node. `silent` is empty while it answers, else why it does not; a silent node holds nothing, as far as is known."""

    def __init__(self, node: Node, client: RpcClient | None, silent: str = "") -> None:
        self.node = node
        self.silent = silent
        self._client = client
        #: The page of its list that is being gone through, and where in it.
        self._page: list[ObjectRow] = []
        self._next = 0
        self._more = True

    @property
    def name(self) -> str:
        """For people."""
        return self.node.name

    async def rows_through(self, last: bytes) -> AsyncIterator[ObjectRow]:
        """The held parts from where the last call ended up to an id, in order."""
        while not self.silent:
            while self._next < len(self._page):
                row = self._page[self._next]
                if row.object > last:
                    return
                self._next += 1
                yield row
            if not self._more:
                return
            await self._turn_page()

    async def held(self, oids: Sequence[bytes]) -> list[tuple[bytes, Part]]:
        """Which parts of at most PAGE_ENTRIES_MAX objects it holds now. Parts of a kind that is not known here are left out."""
        answer = await self._ask(Have(list(oids)))
        if not isinstance(answer, Held):
            return []
        return [(each.object, part) for each in answer.parts if (part := unpack_part(each.part)) is not None]

    async def verify(self, oid: bytes, part: Part) -> Verified | Refused | None:
        """What it finds when it reads the part from its disk; None if it is silent."""
        try:
            answer = await self._ask(Verify(oid, part.pack()))
        except Refused as refused:
            return refused
        assert answer is None or isinstance(answer, Verified)
        return answer

    async def _turn_page(self) -> None:
        after = self._page[-1].object + self._page[-1].part if self._page else b""
        answer = await self._ask(ListObjects(after, PAGE_ENTRIES_MAX))
        if isinstance(answer, ObjectPage):
            self._page, self._next, self._more = answer.objects, 0, answer.more

    async def _ask(self, request: object) -> object:
        """The answer, or None if the node is silent, now or already."""
        if self.silent or self._client is None:
            return None
        try:
            return (await self._client.call(request, timeout_s=ANSWER_TIMEOUT_S)).message
        except ConnectionLost as error:
            self.silent = self.silent or str(error)
            return None


@asynccontextmanager
async def reach_nodes(config: ClusterConfig, cluster_map: ClusterMap, verb: str) -> AsyncIterator[list[HoldingNode]]:
    """All nodes of a map; those that cannot be reached are silent."""
    key = config.load_key()
    async with AsyncExitStack() as stack:
        nodes = []
        for node in cluster_map.nodes:
            try:
                client = await stack.enter_async_context(open_client(node.address, key, name=caller_name(verb)))
                nodes.append(HoldingNode(node, client))
            except (ConnectionLost, Refused) as error:
                nodes.append(HoldingNode(node, None, str(error)))
        yield nodes
