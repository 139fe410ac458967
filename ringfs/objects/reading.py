"""Reading an object from whatever holders there are: copies, data fragments, or decoded from any K; the long way, with tasks.

Everything is verified against the object's table. A way that is late is overtaken by another one. If what is believed leads
nowhere, all nodes are asked what they hold, some times over if parts are just being moved. The short way is fetching.py.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import structlog
import trio

from ringfs.base.buffers import buffers
from ringfs.base.errors import Code, Refused, again, kept
from ringfs.base.limits import BLOCK_BYTES
from ringfs.base.lru import BoundedCache
from ringfs.objects.asking import Asker
from ringfs.objects.coding import joined
from ringfs.objects.decoding import Gathering, Stretch, in_order
from ringfs.objects.locating import Known, Located, Places
from ringfs.objects.putting import RunInThread
from ringfs.objects.racing import Budget, Failed, Race, Way
from ringfs.objects.roll_call import BRIEFLY, LONG, VERY_LONG, locate
from ringfs.ring.classes import ErasureClass
from ringfs.ring.parts import COPY, Part, row_count
from ringfs.wire.messages.cluster import Node

log = structlog.get_logger("ringfs.objects.reading")

#: So often all nodes are asked what they hold before an object is unreadable, and the first pause between two times.
_LOCATED_MAX = 4
_PAUSE_S = 0.05
#: Rows of data fragments that were fetched to decode others: a stream wants them next.
_SPARE_BYTES_MAX = 16 << 20
#: What is made of several reads, each of which may be overtaken by itself, is late after so long.
_ASSEMBLED_LATE_S = 1.0
T = TypeVar("T")

#: peek(object, first_block, block_count): exactly these blocks, proven, if somebody has them at hand.
Peek = Callable[[bytes, int, int], memoryview | None]


@dataclass(frozen=True, slots=True)
class _Wish:
    """Blocks first_block … stop_block-1 of an object."""

    oid: bytes
    known: Known
    first_block: int
    stop_block: int
    #: Whether a node should be asked last.
    is_unsure: Callable[[Node], bool]
    #: Where its parts are is believed, and not what the nodes have said just now.
    is_believed: bool


class LongReader:
    """See the module."""

    def __init__(self, places: Places, asker: Asker, budget: Budget, run_in_thread: RunInThread) -> None:
        self._places = places
        self._asker = asker
        self._budget = budget
        self._run_in_thread = run_in_thread
        #: (object, first block, block count) → proven bytes.
        self._spare: BoundedCache[tuple[bytes, int, int], memoryview] = BoundedCache(_SPARE_BYTES_MAX)
        #: Where else proven bytes may be; set by whoever has a cache.
        self.peek: Peek = lambda _oid, _first_block, _block_count: None

    async def read(self, oid: bytes, first_block: int, count: int, avoid: Node | None = None) -> memoryview:
        """The verified bytes of whole blocks (clamped to the object's end), from `avoid` only if there is no other way. Raises
        Refused IO if they cannot be had."""
        reasons: list[str] = []
        known = self._places.known(oid)
        located = self._places.believed(oid)
        is_believed = located is not None
        for attempt in range(_LOCATED_MAX):
            if located is None:
                located = await self._located(oid, attempt)
            try:
                known = known or await self._learned(oid, located)
                wish = _Wish(
                    oid, known, first_block, known.clamped(first_block, count), partial(self._is_unsure, avoid), is_believed
                )
                content = await self._from(wish, located)
            except Failed as failed:
                reasons.append(str(failed))
                self._places.forget(oid)
                if attempt and located.is_enough and not failed.is_missing:
                    break
                located, is_believed = None, False
            else:
                if not is_believed:
                    self._places.note_located(oid, known, located)
                return content
        log.error("object unreadable", object=oid.hex(), first_block=first_block, reason="; ".join(reasons))
        raise Refused(Code.IO, f"object {oid.hex()} cannot be read: {'; '.join(reasons)}")

    async def know(self, oid: bytes) -> Known:
        """Size and block table of an object, proven. Raises Refused IO if no holder can be asked."""
        known = self._places.known(oid)
        if known is None:
            try:
                known = await self._learned(oid, await locate(self._places, oid))
            except Failed as failed:
                raise Refused(Code.IO, f"object {oid.hex()} cannot be found: {failed}") from failed
        return known

    async def _located(self, oid: bytes, attempt: int) -> Located:
        """What all nodes say; after a pause, if they said something else a moment ago: parts are on the move."""
        if attempt > 1:
            await trio.sleep(_PAUSE_S * 2 ** (attempt - 2))
        patience = BRIEFLY if attempt == 0 else LONG if attempt < _LOCATED_MAX - 1 else VERY_LONG
        return await locate(self._places, oid, patience)

    def _is_unsure(self, avoid: Node | None, node: Node) -> bool:
        return node is avoid or self._places.is_doubtful(node)

    async def _learned(self, oid: bytes, located: Located) -> Known:
        """Size and table, from any holder."""
        ways = [self._way(node, partial(self._asker.learn, oid, node, part), 1) for part, node in located.parts()]
        return await Race(ways, self._budget).run()

    def _way(self, node: Node, go: Callable[[], Awaitable[T]], block_count: int) -> Way[T]:
        """One read of one node."""
        lane = self._places.lane(node)
        return Way(go, lane.read_late_s(block_count * BLOCK_BYTES), blame=lane.was_overtaken)

    async def _from(self, wish: _Wish, located: Located) -> memoryview:
        """From the copies, or from fragments of one form, if there are enough."""
        first, count = wish.first_block, wish.stop_block - wish.first_block
        copies = sorted(located.copies, key=wish.is_unsure)
        ways = [self._direct(wish, COPY, node, first, count) for node in copies if not wish.is_unsure(node)]
        for form, numbers in located.fragments.items():
            ways.append(Way(partial(self._assembled, wish, form, numbers), _ASSEMBLED_LATE_S, form.data))
        ways += [self._direct(wish, COPY, node, first, count) for node in copies if wish.is_unsure(node)]
        return await Race(ways + self._anew(wish), self._budget).run()

    def _anew(self, wish: _Wish) -> list[Way[memoryview]]:
        """The last way, if what is believed may be wrong: else the last holder that is believed in may be one that is silent."""
        return [Way(partial(self._looked_for, wish), _ASSEMBLED_LATE_S)] if wish.is_believed else []

    async def _looked_for(self, wish: _Wish) -> memoryview:
        """From where the nodes say that parts are."""
        located = await locate(self._places, wish.oid)
        content = await self._from(replace(wish, is_believed=False), located)
        self._places.note_located(wish.oid, wish.known, located)
        return content

    def _direct(self, wish: _Wish, part: Part, node: Node, first: int, count: int) -> Way[memoryview]:
        """Blocks of a copy or data fragment from a node that has it."""
        return self._way(node, partial(self._asker.data_rows, wish.oid, wish.known, node, part, first, count), count)

    async def _assembled(self, wish: _Wish, form: ErasureClass, numbers: Mapping[int, Sequence[Node]]) -> memoryview:
        """From as many fragments as the blocks lie in, all asked at once."""
        rows = row_count(wish.known.size_bytes, form.data)
        bounds = range(wish.first_block - wish.first_block % rows, wish.stop_block, rows)
        spans = [(max(start, wish.first_block), min(start + rows, wish.stop_block)) for start in bounds]
        stretches = [Stretch(wish.oid, wish.known, form, start // rows, start % rows, stop - start) for start, stop in spans]
        if len(stretches) == 1:
            return await self._stretch(wish, stretches[0], numbers)
        found: list[memoryview | Failed] = [memoryview(b"")] * len(stretches)
        async with trio.open_nursery() as nursery:

            async def fill(index: int) -> None:
                try:
                    found[index] = await self._stretch(wish, stretches[index], numbers)
                except Failed as failed:
                    found[index] = kept(failed)
                    nursery.cancel_scope.cancel()

            for index in range(len(stretches)):
                nursery.start_soon(fill, index)
        runs = [_or_raised(run) for run in found]
        return joined(runs, buffers.take(sum(map(len, runs))))

    async def _stretch(self, wish: _Wish, stretch: Stretch, numbers: Mapping[int, Sequence[Node]]) -> memoryview:
        """From the fragment that has it, or made of others."""
        found = self._at_hand(stretch.oid, *_start_and_count(stretch))
        if found is not None:
            return found
        part = stretch.part(stretch.wanted)
        holders = sorted(numbers.get(stretch.wanted, ()), key=wish.is_unsure)
        direct = [(node, self._direct(wish, part, node, stretch.first, stretch.count)) for node in holders]
        others = [(number, node) for number, node in in_order(numbers, wish.is_unsure, self._places.is_open, stretch.form.data)]
        decode = Way(partial(self._decoded, stretch, others), _ASSEMBLED_LATE_S, stretch.form.data)
        ways = [way for node, way in direct if not wish.is_unsure(node)]
        ways.append(decode)
        ways += [way for node, way in direct if wish.is_unsure(node)]
        start, stop = stretch.blocks(stretch.wanted)
        return await Race(ways + self._anew(replace(wish, first_block=start, stop_block=stop)), self._budget).run()

    async def _decoded(self, stretch: Stretch, holders: Sequence[tuple[int, Node]]) -> memoryview:
        gathering = Gathering(stretch, holders, self._places, self._asker, self._budget, self._run_in_thread)
        gathering.take_at_hand(partial(self._at_hand, stretch.oid))
        return await gathering.run(partial(self._fetched, stretch.oid))

    # --- what is at hand --------------------------------------------------------------------------------------------

    def _fetched(self, oid: bytes, first_block: int, rows: memoryview) -> None:
        """Rows came to decode others: whoever wants them for themselves need not ask."""
        self._spare.put((oid, first_block, -(-len(rows) // BLOCK_BYTES)), rows, len(rows))

    def take_spare(self, oid: bytes, first_block: int, count: int) -> memoryview | None:
        """Blocks that came to decode others, once."""
        known = self._places.known(oid) if self._spare.size_bytes else None
        if known is None:
            return None
        key = (oid, first_block, known.clamped(first_block, count) - first_block)
        found = self._spare.get(key)
        if found is not None:
            self._spare.drop(key)
        return found

    def _at_hand(self, oid: bytes, first_block: int, count: int) -> memoryview | None:
        return self._spare.get((oid, first_block, count)) or self.peek(oid, first_block, count)


def _start_and_count(stretch: Stretch) -> tuple[int, int]:
    start, stop = stretch.blocks(stretch.wanted)
    return start, stop - start


def _or_raised(found: memoryview | Failed) -> memoryview:
    if isinstance(found, Failed):
        raise again(found)
    return found
