"""Reading the short way: the one node that is believed to have the blocks is asked, and what it answers is verified and handed on
where it is received, with no task. What goes wrong, or takes too long, goes the long way (reading.py).
"""

from collections.abc import Callable

import trio

from ringfs.base.errors import ConnectionLost, Refused, kept
from ringfs.base.limits import BLOCK_BYTES
from ringfs.objects.asking import GET_TIMEOUT_S, Asker
from ringfs.objects.locating import Known, Places
from ringfs.objects.nodes import READ_LATE_S_MIN, Lane
from ringfs.objects.racing import Budget, very_late_s
from ringfs.objects.reading import LongReader
from ringfs.wire.messages.cluster import Node
from ringfs.wire.messages.data import Get
from ringfs.wire.rpc import Answer

#: Takes bytes, or why they cannot be had. Called once; at once, from within the call it was given to, if they are here.
OnContent = Callable[[memoryview | Refused], None]


class _Ask:
    """A request on its way."""

    __slots__ = (
        "_asked_s",
        "_fetcher",
        "_known",
        "_on_content",
        "asked",
        "is_answered",
        "is_done",
        "lane",
        "late_s",
        "node",
        "overtaking",
        "request",
    )

    def __init__(
        self,
        fetcher: "Fetcher",
        node: Node,
        lane: Lane,
        known: Known | None,
        request: Get,
        on_content: OnContent,
        asked: tuple[int, ...],
    ) -> None:
        self._fetcher = fetcher
        self._known = known
        self.node = node
        #: The nodes, by number, that have been asked for this, itself included.
        self.asked = (*asked, node.node)
        self.lane = lane
        self.request = request
        self._on_content = on_content
        self._asked_s = trio.current_time()
        self.late_s = self._asked_s + lane.read_late_s(request.block_count * BLOCK_BYTES)
        self.is_done = False
        self.is_answered = False
        #: The long way, if that was begun because this is late.
        self.overtaking: trio.CancelScope | None = None

    @property
    def very_late_s(self) -> float:
        """From when on something must be wrong with the node."""
        return self._asked_s + very_late_s(self.late_s - self._asked_s)

    @property
    def cost(self) -> int:
        """How many reads it takes to have the same in another way."""
        form = self._known.form if self._known is not None else None
        return 1 if form is None else form.data

    def on_answer(self, answer: Answer | Refused | ConnectionLost) -> None:
        """See OnAnswer."""
        self.is_answered = True
        self._fetcher.asks.pop(self, None)
        if self.is_done:
            return
        content: memoryview | None = None
        if isinstance(answer, Answer):
            self.lane.note_read(self.request.block_count * BLOCK_BYTES, trio.current_time() - self._asked_s)
            content = self._fetcher.asker.checked(self.node, self.request, self._known, answer)
        else:
            self._fetcher.asker.take_failure(self.request.object, self.node, answer)
            if isinstance(answer, ConnectionLost):
                self.lane.avoid()
        if content is not None:
            self.done(content)
            if self.overtaking is not None:
                self.overtaking.cancel()
        elif self.overtaking is None and self._known is None and not isinstance(answer, Answer):
            self._fetcher.ask_another(self)
        elif self.overtaking is None:
            self._fetcher.go_long(self)

    def done(self, content: memoryview | Refused) -> None:
        """Hand it on, once."""
        self.is_done = True
        self._on_content(content)


class Fetcher:
    """See the module. `watch` must be running."""

    def __init__(self, places: Places, asker: Asker, long_reader: LongReader, budget: Budget) -> None:
        self._places = places
        self.asker = asker
        self._long_reader = long_reader
        self._budget = budget
        #: Requests that are neither answered nor being overtaken, in the order in which they were made.
        self.asks: dict[_Ask, None] = {}
        self._is_watched = False

    def fetch_soon(self, oid: bytes, first_block: int, block_count: int, on_content: OnContent) -> None:
        """See Objects.fetch_soon."""
        self._budget.earn()
        spare = self._long_reader.take_spare(oid, first_block, block_count)
        if spare is not None:
            on_content(spare)
            return
        self._ask(oid, first_block, block_count, on_content, ())

    def ask_another(self, ask: _Ask) -> None:
        """Nothing is known of the object, and it was not where it was looked for."""
        request = ask.request
        self._ask(request.object, request.first_block, request.block_count, ask.done, ask.asked)

    def _ask(self, oid: bytes, first_block: int, block_count: int, on_content: OnContent, asked: tuple[int, ...]) -> None:
        guess = self._places.guess(oid, first_block, block_count, asked)
        if guess is None:
            self._places.nodes.start_soon(self._long, oid, first_block, block_count, on_content)
            return
        node, known = guess
        request = Get(oid, first_block, block_count, known is None)
        lane = self._places.lane(node)
        ask = _Ask(self, node, lane, known, request, on_content, asked)
        if not lane.call_soon(request, ask.on_answer, timeout_s=GET_TIMEOUT_S):
            self._places.nodes.start_soon(self._long, oid, first_block, block_count, on_content)
        elif not ask.is_answered:
            self.asks[ask] = None
            if not self._is_watched:
                self._is_watched = True
                self._places.nodes.start_soon(self._watch)

    def go_long(self, ask: _Ask) -> None:
        """What was answered is of no use."""
        self._places.nodes.start_soon(self._instead, ask)

    async def _instead(self, ask: _Ask) -> None:
        request = ask.request
        await self._long(request.object, request.first_block, request.block_count, ask.done)

    async def _long(self, oid: bytes, first_block: int, block_count: int, on_content: OnContent) -> None:
        try:
            content: memoryview | Refused = await self._long_reader.read(oid, first_block, block_count)
        except Refused as refused:
            content = kept(refused)
        on_content(content)

    # --- what is late -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """One task for all requests, as long as there are any."""
        while self.asks:
            await trio.sleep(READ_LATE_S_MIN)
            now_s = trio.current_time()
            for ask in [ask for ask in self.asks if ask.late_s <= now_s]:
                if now_s >= ask.very_late_s or self._budget.take(ask.cost):
                    del self.asks[ask]
                    ask.overtaking = trio.CancelScope()
                    self._places.nodes.start_soon(self._overtake, ask, ask.overtaking)
        self._is_watched = False

    async def _overtake(self, ask: _Ask, scope: trio.CancelScope) -> None:
        """Get what was asked for in another way, unless it arrives after all."""
        request = ask.request
        content: memoryview | Refused | None = None
        with scope:
            try:
                content = await self._long_reader.read(request.object, request.first_block, request.block_count, ask.node)
            except Refused as refused:
                content = kept(refused)
        if ask.is_done or content is None:
            return
        if isinstance(content, Refused) and not ask.is_answered:
            # It may still come.
            ask.overtaking = None
            return
        if not ask.is_answered:
            ask.lane.was_overtaken()
        ask.done(content)
