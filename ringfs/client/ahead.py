"""Transactions that were applied here first: kept in order, with their request numbers, until the service has answered them.

They are sent in batches a moment later, at once if anything else is about to be sent: what is asked or told after them may build
upon them. Whoever needs them durable waits with `settled`. Not here: what may be applied ahead (delegations.py), the
connection and its session (metadata.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import trio

from ringfs.base.errors import BY_NUMBER, Code, ConnectionLost, Refused
from ringfs.base.limits import AHEAD_ITEMS_MAX
from ringfs.wire.messages.session import AheadDone, AheadItem, MutateAhead
from ringfs.wire.rpc import Answer, RpcClient

#: Batches are sent so long after their first transaction, or when they are full.
DELAY_S = 0.01
#: How long to wait where there was no space, or too many requests.
_AGAIN_S = 0.1
#: For so long nothing is done ahead after the service said that it is short of space.
_SHORT_S = 1.0


@dataclass(slots=True)
class _Ahead:
    """One transaction and what is expected to be said of it."""

    item: AheadItem
    mark: int
    is_sent: bool = False


class AheadQueue:
    """See the module. `mistaken(operation, refused)` is called when the service has another answer than was given here,
    `answered()` when numbers were answered, `refused(client, refused)` when a whole batch was."""

    def __init__(
        self,
        mistaken: Callable[[Any, Refused | None], None],
        answered: Callable[[], None],
        refused: Callable[[RpcClient, Refused], object],
    ) -> None:
        self._mistaken = mistaken
        self._on_answers = answered
        self._on_refusal = refused
        #: By request number, ascending, without gaps where nothing else was sent between. All of one session.
        self._pending: dict[int, _Ahead] = {}
        #: How many of them, the last ones, are still to be sent.
        self._unsent_count = 0
        #: The service had no space for one: it takes nothing else before that.
        self._is_held_up = False
        #: Until then (trio's clock) nothing more should be done ahead: the service is short of space.
        self._short_until = 0.0
        self._progress = trio.lowlevel.ParkingLot()
        self._work = trio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def is_sent(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._unsent_count

    @property
    def is_settled(self) -> bool:
        """Whether all of it is answered."""
        return not self._pending

    @property
    def is_welcome(self) -> bool:
        """Whether the service has space for more."""
        return not self._is_held_up and (not self._short_until or trio.current_time() >= self._short_until)

    def first(self, otherwise: int) -> int:
        """The lowest number that is unanswered."""
        return next(iter(self._pending), otherwise)

    @property
    def is_clear(self) -> bool:
        """Whether something else may be sent now."""
        return not self._unsent_count and not self._is_held_up

    def add(self, number: int, item: AheadItem, mark: int) -> None:
        """Take over a transaction that was applied, under the session's next request number."""
        self._pending[number] = _Ahead(item, mark)
        self._unsent_count += 1
        if self._unsent_count == 1 or self._unsent_count == AHEAD_ITEMS_MAX:
            self._work.set()

    async def settled(self) -> None:
        """Wait until everything that was applied until now is answered, and so durable."""
        last = next(reversed(self._pending), 0)
        while self._pending and next(iter(self._pending)) <= last:
            self._work.set()
            await self._progress.park()

    async def clear(self) -> None:
        """Wait until something else may be sent."""
        while not self.is_clear:
            await self._progress.park()

    async def wait_work(self) -> None:
        """Wait until something is to be sent."""
        await self._work.wait()
        self._work = trio.Event()
        if 0 < self._unsent_count < AHEAD_ITEMS_MAX:
            with trio.move_on_after(DELAY_S):
                await self._work.wait()

    # --- sending --------------------------------------------------------------------------------------------------------

    def send(self, client: RpcClient, session: int, first_unanswered: int) -> None:
        """Send what is unsent, as far as the connection takes it."""
        while self._unsent_count and not self._is_held_up:
            batch = self._next_batch()
            if not client.has_urgent_room:
                return
            number = next(iter(batch))
            for ahead in batch.values():
                ahead.is_sent = True
            self._unsent_count -= len(batch)
            message = MutateAhead(session, number, first_unanswered, [ahead.item for ahead in batch.values()])
            client.call_soon(message, partial(self._answered, client, batch), urgent=True)
        self._progress.unpark_all()

    def _next_batch(self) -> dict[int, _Ahead]:
        """The first unsent ones, as long as their numbers follow on each other."""
        batch: dict[int, _Ahead] = {}
        for number, ahead in islice(self._pending.items(), len(self._pending) - self._unsent_count, None):
            if len(batch) == AHEAD_ITEMS_MAX or (batch and number - 1 not in batch):
                break
            batch[number] = ahead
        return batch

    def send_again(self) -> None:
        """The connection was lost: what was sent on it is to be sent on the next one."""
        self._unsent_count = len(self._pending)
        self._is_held_up = False
        self._work.set()

    def give_up(self) -> None:
        """The session has ended."""
        lost, self._pending = self._pending, {}
        self._unsent_count = 0
        self._is_held_up = False
        self._short_until = 0.0
        self._progress.unpark_all()
        for ahead in lost.values():
            self._mistaken(ahead.item.operation, Refused(Code.NO_SESSION))

    # --- answers --------------------------------------------------------------------------------------------------------

    def _answered(self, client: RpcClient, batch: dict[int, _Ahead], answer: Answer | Refused | ConnectionLost) -> None:
        if isinstance(answer, ConnectionLost) or not self._pending:
            return
        if isinstance(answer, Refused):
            self._hold_up()
            self._on_refusal(client, answer)
            return
        done: AheadDone = answer.message
        if done.is_short:
            self._short_until = trio.current_time() + _SHORT_S
        for (number, ahead), code, mark in zip(batch.items(), done.codes, done.marks, strict=False):
            if self._pending.pop(number, None) is ahead and (code or mark != ahead.mark):
                self._mistaken(ahead.item.operation, Refused(BY_NUMBER.get(code, Code.IO)) if code else None)
        if len(done.codes) < len(batch):
            self._hold_up()
        self._progress.unpark_all()
        self._on_answers()

    def _hold_up(self) -> None:
        self._is_held_up = True
        self._work.set()

    async def pause(self) -> None:
        """If the service had no space: wait a moment, then everything unanswered is to be sent again, in order."""
        if self._is_held_up:
            await trio.sleep(_AGAIN_S)
            self.send_again()
