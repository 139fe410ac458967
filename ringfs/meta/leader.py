"""The leader: applies transactions to the live table at once, makes them durable in batches, and only then lets answers go.

One idea: `applied` runs ahead of `durable`, and no answer leaves that shows more than `durable`: neither a transaction's
own, nor a query's or a refusal's that was executed while something undurable was applied. Everything here happens in the event
loop between awaits; the one thread hop is the journal's append. Not here: sessions, leases, messages (server.py).

Tasks. `run` holds two: the committer alone touches the journal; the checkpointer alone writes the store. A checkpoint
freezes the table at a moment when nothing undurable is applied, so that the store never holds what the journal does not:
admission is shut for the rest of the append under way, a few milliseconds.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.kv.store import Snapshot, Store, StoreFull
from ringfs.base.kv.view import View
from ringfs.base.limits import MIB
from ringfs.meta import marks
from ringfs.meta.journal.interface import Journal, JournalFailed
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import machine, usage
from ringfs.meta.namespace.batch import Batch
from ringfs.meta.namespace.machine import Outcome, Transaction

#: What may gather while one append is under way; further transactions wait their turn.
BATCH_COUNT_MAX = 4096
BATCH_BYTES_MAX = 8 * MIB
#: A checkpoint begins when so much is unwritten, or after so long if anything is.
CHECKPOINT_BYTES = 32 * MIB
CHECKPOINT_INTERVAL_S = 5.0
#: Past this much unwritten, transactions wait for the checkpoint, or are refused while the store's disk is full.
UNWRITTEN_BYTES_MAX = 64 * MIB
#: Beyond that, for transactions that free space.
UNWRITTEN_RESERVE_BYTES = 4 * MIB
#: Who was just answered asks again soon: from so many transactions in flight on, an append waits for that, while none of them lets
#: this part of the last append's time pass, or this time if that is longer; but not for ever.
GATHER_COUNT_MIN = 4
GATHER_LULL_OF_APPEND = 0.25
GATHER_LULL_S = 0.001
GATHER_LULL_S_MAX = 0.01
GATHER_LULLS_MAX = 8
#: How often room is looked for where there was none.
ROOM_RETRY_S = 1.0

assert CHECKPOINT_BYTES < UNWRITTEN_BYTES_MAX, "a checkpoint begins before transactions have to wait for it"

log = structlog.get_logger()

#: Calls what it is given at once, later, or never.
WhenCertain = Callable[[Callable[[], None]], None]


class Leader:
    """Owner of the live state from the moment it was recovered. All times are the leader's; they never go back."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        clock: Clock,
        *,
        term: int,
        position: int,
        checkpointed: int,
        now_ns: int,
        when_certain: WhenCertain | None = None,
        gathers: bool = False,
    ) -> None:
        """when_certain: holds a call back while it is not certain that nobody else leads; None if nobody else can.
        gathers: an append costs so much that a large one is better than two, even if those that came first wait."""
        self.view: View = store
        self.term = term
        #: Position of the latest transaction in the live table.
        self.applied = position
        #: Position up to which the journal holds everything; durable <= applied.
        self.durable = position
        #: Position of the latest checkpoint; checkpoint <= durable.
        self.checkpointed = checkpointed
        self._store = store
        self._journal = journal
        self._clock = clock
        self._now_ns = now_ns
        self._when_certain = when_certain
        self._gathers = gathers
        #: Encoded transactions durable+1 … applied that no append has taken yet, and their size.
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        #: (position, release, arguments): calls that wait for durable >= position; positions ascend.
        self._held: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        #: Work that waits for admission, in order of arrival.
        self._waiting: deque[Callable[[], None]] = deque()
        #: The store's disk is full: changes gather in memory until it is not.
        self._store_is_full = False
        #: The journal had no room for a transaction of this size; 0 once it has again.
        self._lacking_bytes = 0
        #: The journal was trimmed up to here; trimmed <= checkpointed.
        self._trimmed = checkpointed
        #: Shut while a checkpoint waits for durable == applied.
        self._quiescing: trio.Event | None = None
        self._checkpointing = trio.Lock()
        self._checkpoint_wanted = trio.Event()
        #: Set as soon as so many transactions wait for an append, or nothing more can come.
        self._work = trio.Event()
        self._wanted = 1

    @property
    def trouble(self) -> str:
        """What is wrong, in one line for people, or ""."""
        if self._store_is_full:
            return "the state directory's disk is full"
        return "the journal's disk is full" if self._lacking_bytes else ""

    @property
    def is_short(self) -> bool:
        """Whether only transactions that free space find any, or soon will."""
        return bool(self.trouble) or not self._journal.has_room(self._batch_bytes, reserve=False)

    # --- transactions -------------------------------------------------------------------------------------------------

    def admit(self, work: Callable[[], None]) -> None:
        """Call work, which may transact, as soon as there is room for a transaction: as a rule now."""
        if self._waiting or not self._is_open():
            self._waiting.append(work)
        else:
            work()

    def transact(self, transaction: Transaction, *, frees: bool) -> Outcome:
        """Apply a transaction now; only from work given to `admit`. `frees`: it makes room, so it may use the journal's reserve.

        Sets the transaction's now_ns. Refusals are not journaled, they changed nothing; NO_SPACE comes before anything is applied.
        """
        assert self._quiescing is None, "nothing is applied while a checkpoint waits for quiet"
        transaction.now_ns = self.tell_now_ns()
        entry = transaction.encode()
        if not self._has_room(len(entry), frees):
            return Outcome(Refused(Code.NO_SPACE, self.trouble), set(), False)
        outcome = machine.apply(self.view, transaction)
        if not outcome.changed:
            return outcome
        self.applied += 1
        self._batch.append(entry)
        self._batch_bytes += len(entry)
        if len(self._batch) >= self._wanted or not self._is_open():
            self._work.set()
        if self._store.pending_bytes >= CHECKPOINT_BYTES:
            self._checkpoint_wanted.set()
        return outcome

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is transacted inside reaches the live table at the end, all at once. No await inside."""
        batch = self.view = Batch(self._store)
        try:
            yield
        finally:
            # Whatever happened inside: it is in the journal's batch already.
            usage.end_batch(batch)
            self.view = self._store

    def when_durable(self, release: Callable[..., None], *args: Any) -> None:
        """Call release(*args) once everything applied by now is durable, and nobody else can lead: at once if that is so."""
        if self.durable == self.applied:
            self._let_go(release, args)
        else:
            self._held.append((self.applied, release, args))

    def _let_go(self, release: Callable[..., None], args: tuple[Any, ...]) -> None:
        # The question may have been asked, and waited for others, long before another server began to lead.
        if self._when_certain is None:
            release(*args)
        else:
            self._when_certain(partial(release, *args))

    def tell_now_ns(self) -> int:
        """The leader's time, in ns since the epoch."""
        self._now_ns = max(self._now_ns, self._clock.wall_ns())
        return self._now_ns

    def _has_room(self, size_bytes: int, frees: bool) -> bool:
        unwritten_bytes_max = UNWRITTEN_BYTES_MAX + (UNWRITTEN_RESERVE_BYTES if frees else 0)
        if self._store_is_full and self._store.pending_bytes >= unwritten_bytes_max:
            return False
        if self._journal.has_room(self._batch_bytes + size_bytes, reserve=frees):
            return True
        self._lacking_bytes = size_bytes
        # A checkpoint lets the journal be trimmed.
        self._checkpoint_wanted.set()
        return False

    def _is_open(self) -> bool:
        if self._quiescing is not None or len(self._batch) >= BATCH_COUNT_MAX or self._batch_bytes >= BATCH_BYTES_MAX:
            return False
        return self._store_is_full or self._store.pending_bytes < UNWRITTEN_BYTES_MAX

    def _let_in(self) -> None:
        while self._waiting and self._is_open():
            self._waiting.popleft()()

    # --- the committer ------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit and checkpoint until cancelled. Raises JournalFailed and StoreFailed: then the process must stop."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._checkpoint_forever)
            nursery.start_soon(self._commit_forever)
            task_status.started()

    async def _commit_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._batch:
                begun_s = trio.current_time()
                answered = await self._append()
                if self._gathers:
                    await self._gather(answered + len(self._batch), trio.current_time() - begun_s)

    async def _gather(self, in_flight: int, append_s: float) -> None:
        """Wait until as many transactions are there as were in flight, none comes any more, or none can."""
        if in_flight < GATHER_COUNT_MIN:
            return
        self._wanted = in_flight
        lull_s = min(max(append_s * GATHER_LULL_OF_APPEND, GATHER_LULL_S), GATHER_LULL_S_MAX)
        with trio.move_on_after(GATHER_LULLS_MAX * lull_s):
            came = -1
            while came < len(self._batch) < in_flight and self._is_open():
                came = len(self._batch)
                self._work = trio.Event()
                with trio.move_on_after(lull_s):
                    await self._work.wait()
        self._wanted = 1

    async def _append(self) -> int:
        """Make what waits durable, and let go what waited for it; how many transactions that were."""
        batch, self._batch = self._batch, []
        size_bytes, self._batch_bytes = self._batch_bytes, 0
        try:
            last = await self._journal.append(self.term, batch)
        except trio.Cancelled:
            # Then it has not begun (see Journal): the batch is still to be appended, by finish().
            self._batch[:0] = batch
            self._batch_bytes += size_bytes
            raise
        assert last == self.durable + len(batch), "the journal counts as the leader does"
        self.durable = last
        while self._held and self._held[0][0] <= last:
            _, release, args = self._held.popleft()
            self._let_go(release, args)
        if self._quiescing is not None and self.durable == self.applied:
            self._quiescing.set()
        self._let_in()
        return len(batch)

    async def finish(self) -> None:
        """After `run` was cancelled: make everything durable, and a last checkpoint. Raises StoreFull and what `run` does."""
        await self.flush()
        await self.checkpoint()

    async def flush(self) -> None:
        """After `run` was cancelled: make everything durable. Raises JournalFailed."""
        while self._batch:
            await self._append()
        if self.durable != self.applied:
            raise JournalFailed("the journal did not take what was applied last")

    # --- checkpoints --------------------------------------------------------------------------------------------------

    async def checkpoint(self) -> None:
        """Write the state as it is after everything applied so far. Raises StoreFull: then nothing is lost, memory keeps it."""
        async with self._checkpointing:
            await self._checkpoint()

    async def snapshot(self) -> tuple[int, Snapshot]:
        """Checkpoint, and a view of just that: (position, view). Raises StoreFull."""
        async with self._checkpointing:
            await self._checkpoint()
            return self.checkpointed, self._store.snapshot()

    async def _checkpoint(self) -> None:
        await self._become_quiet()
        position = self.applied
        # Runs once this task has yielded: by then checkpoint() has frozen the table, and transactions may go on.
        trio.lowlevel.current_trio_token().run_sync_soon(self._end_quiet)
        await self._store.checkpoint(marks.write(Marks(position, self.term, self._now_ns)))
        self.checkpointed = position
        self._let_in()

    async def _become_quiet(self) -> None:
        self._quiescing = trio.Event()
        # Nothing more comes.
        self._work.set()
        try:
            if self.durable != self.applied:
                await self._quiescing.wait()
        except BaseException:
            self._end_quiet()
            raise

    def _end_quiet(self) -> None:
        self._quiescing = None
        self._let_in()

    async def _checkpoint_forever(self) -> None:
        while True:
            if await self._make_room():
                with trio.move_on_after(CHECKPOINT_INTERVAL_S):
                    await self._checkpoint_wanted.wait()
            else:
                await trio.sleep(ROOM_RETRY_S)
            self._checkpoint_wanted = trio.Event()

    async def _make_room(self) -> bool:
        """Checkpoint if anything changed, let the journal go behind it, look for space; False if it is to be tried again soon."""
        is_written = self.applied == self.checkpointed or await self._try_checkpoint()
        if self._trimmed != self.checkpointed or self._lacking_bytes:
            self._trimmed = self.checkpointed
            await self._journal.trim(self._trimmed)
        if self._lacking_bytes and self._journal.has_room(self._batch_bytes + self._lacking_bytes, reserve=False):
            log.info("the journal has room again")
            self._lacking_bytes = 0
        return is_written and not self._lacking_bytes

    async def _try_checkpoint(self) -> bool:
        try:
            await self.checkpoint()
        except StoreFull as error:
            if not self._store_is_full:
                log.warning("the state directory's disk is full; checkpoints wait", error=str(error))
            self._store_is_full = True
            self._let_in()
            return False
        if self._store_is_full:
            log.info("the state directory's disk has room again")
        self._store_is_full = False
        return True
