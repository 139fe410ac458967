"""Making blocks of one fragment out of the same rows of others: which holders to ask, and whom instead if they fail or are late."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import trio

from ringfs.base.errors import kept
from ringfs.base.limits import BLOCK_BYTES
from ringfs.objects.asking import Asker
from ringfs.objects.coding import decoded
from ringfs.objects.locating import Known, Places
from ringfs.objects.putting import INLINE_WORK_BYTES, RunInThread
from ringfs.objects.racing import Budget, Failed, together, very_late_s
from ringfs.ring.classes import ErasureClass
from ringfs.ring.parts import Part, block_count, row_count
from ringfs.wire.messages.cluster import Node

#: Exactly these blocks of the object, proven, if they are at hand: first block, count.
AtHand = Callable[[int, int], memoryview | None]
#: They were fetched: first block, bytes.
Fetched = Callable[[int, memoryview], None]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows first … first+count-1 of an object's fragments in a form, of which `wanted` is to be made."""

    oid: bytes
    known: Known
    form: ErasureClass
    wanted: int
    first: int
    count: int

    def part(self, number: int) -> Part:
        """A fragment."""
        return Part(self.form.data, self.form.parity, number)

    def blocks(self, number: int) -> tuple[int, int]:
        """The blocks start … stop-1 of the object that a data fragment has in these rows; none behind the object's end."""
        rows = row_count(self.known.size_bytes, self.form.data)
        end = block_count(self.known.size_bytes)
        start = min(number * rows + self.first, end)
        return start, min(number * rows + self.first + self.count, end)


class Gathering:
    """One stretch, from K fragments of those that `holders` names."""

    def __init__(
        self,
        stretch: Stretch,
        holders: Sequence[tuple[int, Node]],
        places: Places,
        asker: Asker,
        budget: Budget,
        run_in_thread: RunInThread,
    ) -> None:
        self._stretch = stretch
        #: (fragment, node), those to be asked first in front.
        self._left = list(holders)
        self._places = places
        self._asker = asker
        self._budget = budget
        self._run_in_thread = run_in_thread
        self._rows: dict[int, memoryview] = {}
        #: Who is being asked → from when on that takes too long, and from when on something must be wrong.
        self._asked: dict[tuple[int, int], tuple[float, float]] = {}
        self._late: set[tuple[int, int]] = set()
        #: So many fragments are needed: more than K once the choice of parity was wrong.
        self._needed = stretch.form.data
        #: So many are asked for beside them, because others are late; none of these is waited for.
        self._extra = 0
        self._failures: list[Failed] = []
        self._news = trio.Event()

    def take_at_hand(self, at_hand: AtHand) -> None:
        """Use what need not be asked for: what lies behind the object's end, and what is cached."""
        for number in range(self._stretch.form.data):
            start, stop = self._stretch.blocks(number)
            found = memoryview(b"") if start == stop else at_hand(start, stop - start)
            if number != self._stretch.wanted and found is not None:
                self._rows[number] = found

    async def run(self, fetched: Fetched) -> memoryview:
        """The stretch of the wanted fragment, verified. Raises Failed if no K others give it."""
        content: memoryview | None = None
        async with trio.open_nursery() as nursery:
            while True:
                if len(self._rows) >= self._needed:
                    content = await self._decoded()
                    if content is not None:
                        break
                    # Some parity is wrong, and nothing says which: one more.
                    self._needed = len(self._rows) + 1
                self._ask_as_needed(nursery, fetched)
                if not self._asked:
                    break
                with trio.CancelScope(deadline=min(late_s for late_s, _ in self._asked.values())):
                    await self._news.wait()
                self._news = trio.Event()
                self._replace_late()
            self._blame_late()
            nursery.cancel_scope.cancel()
        if content is None:
            form = self._stretch.form
            raise together([*self._failures, Failed(f"only {len(self._rows)} good fragments of {form}, {form.data} are needed")])
        return content

    def _ask_as_needed(self, nursery: trio.Nursery, fetched: Fetched) -> None:
        """Ask for as many fragments as are missing, and for others beside what is late, each of one node at a time."""
        while self._left and len(self._rows) + len(self._asked) < self._needed + self._extra:
            number, node = self._left.pop(0)
            if number not in self._rows and number != self._stretch.wanted:
                now_s = trio.current_time()
                late_s = self._places.lane(node).read_late_s(self._stretch.count * BLOCK_BYTES)
                self._asked[number, node.node] = (now_s + late_s, now_s + very_late_s(late_s))
                nursery.start_soon(self._ask, number, node, fetched)

    async def _ask(self, number: int, node: Node, fetched: Fetched) -> None:
        stretch = self._stretch
        part = stretch.part(number)
        start, stop = (0, stretch.count) if part.is_parity else stretch.blocks(number)
        try:
            rows = await self._asker.rows(stretch.oid, stretch.known, node, part, stretch.first, stop - start)
        except Failed as failed:
            self._failures.append(kept(failed))
        else:
            self._rows.setdefault(number, rows)
            if not part.is_parity:
                fetched(start, rows)
        del self._asked[number, node.node]
        self._news.set()

    def _replace_late(self) -> None:
        """Let others be asked beside those that are late, if there is a budget for it, or at last without."""
        now_s = trio.current_time()
        for key, (late_s, very_late_at_s) in self._asked.items():
            if late_s <= now_s:
                self._late.add(key)
                may_add = now_s >= very_late_at_s or self._budget.take(1)
                self._extra += may_add
                self._asked[key] = (float("inf") if may_add else very_late_at_s, very_late_at_s)

    def _blame_late(self) -> None:
        """It was done without those that are late."""
        for key in self._late & self._asked.keys():
            node = self._places.node(key[1])
            if node is not None:
                self._places.lane(node).was_overtaken()

    async def _decoded(self) -> memoryview | None:
        stretch = self._stretch
        start, stop = stretch.blocks(stretch.wanted)
        size_bytes = min(stop * BLOCK_BYTES, stretch.known.size_bytes) - start * BLOCK_BYTES
        rows_bytes = stretch.count * BLOCK_BYTES
        arguments = (stretch.form, stretch.wanted, rows_bytes, dict(self._rows), stretch.known.table, start, size_bytes)
        if rows_bytes * stretch.form.data <= 4 * INLINE_WORK_BYTES:
            return decoded(*arguments)
        result: memoryview | None = await self._run_in_thread(decoded, *arguments)
        return result


def in_order(
    numbers: Mapping[int, Sequence[Node]], is_unsure: Callable[[Node], bool], is_open: Callable[[Node], bool], data: int
) -> list[tuple[int, Node]]:
    """(fragment, node) of all holders: those that one is unsure of last, those with a connection first, data before parity."""
    holders = [(number, node) for number, nodes in numbers.items() for node in nodes]
    return sorted(holders, key=lambda each: (is_unsure(each[1]), not is_open(each[1]), each[0] >= data, each[0]))
