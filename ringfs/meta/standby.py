"""A server that does not lead: it follows the journal into its store, and stands for election when nobody leads.

What is applied here was accepted by etcd, so a checkpoint may have any of it. Not here: leading (roles.py), the journal's bytes
(journal/), what is answered meanwhile (standby_service.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import UserError
from ringfs.base.kv.store import Store, StoreFull
from ringfs.meta import marks
from ringfs.meta.election import Election, Leadership
from ringfs.meta.etcd.interface import (
    Change,
    Changes,
    Etcd,
    EtcdCompacted,
    EtcdFull,
    EtcdUnavailable,
    Get,
    KeyValue,
    LeaseEnded,
    prefix_end,
)
from ringfs.meta.journal.batches import Assembler, Batch, BatchKey, keys_from, parse_key, parse_value
from ringfs.meta.journal.etcd import check_numbers, journal_prefix
from ringfs.meta.leader import CHECKPOINT_BYTES, CHECKPOINT_INTERVAL_S
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import facts, machine, usage
from ringfs.meta.namespace.batch import Batch as Together
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.origin import Origin

log = structlog.get_logger("ringfs.meta.standby")

#: A watch of a member that stands still is silent: whether somebody leads is asked so often.
_POLL_S = 0.5
_RETRY_S = 0.1
#: Transactions that are applied before others get a turn.
_TURN_COUNT = 64
_PAGE_BATCHES = 8


class BehindJournal(Exception):
    """The journal does not reach back to our state any more: a snapshot has to be loaded first."""


def check_not_ahead(position: int, last: int) -> None:
    """A server's state has nothing that the journal, which ends at `last`, does not have. Raises UserError."""
    if position > last:
        raise UserError(
            f"this server's state is at transaction {position}, but the journal in etcd ends at {last}: etcd has lost "
            "transactions (was it restored from a backup?), or is another one; nothing is served before that is mended"
        )


@dataclass(slots=True)
class Reached:
    """How far the state of the store is, and the checkpoint under it."""

    position: int
    term: int
    now_ns: int
    checkpointed: int


class Standby:
    """Follows the journal into a store. prefix: the cluster's in etcd."""

    def __init__(self, store: Store, etcd: Etcd, prefix: bytes, origin: Origin, election: Election, clock: Clock) -> None:
        self._store = store
        self._etcd = etcd
        self._journal = journal_prefix(prefix)
        self._prefix = prefix
        self._origin = origin
        self._election = election
        self._clock = clock
        self.reached = Reached(0, 0, 0, 0)
        self._assembler = Assembler(0)
        #: Of the batch that is to be applied next.
        self._next_number = 1
        self._checkpoint_due_ns = 0

    @property
    def term(self) -> int:
        """The newest one that is known: of an entry, or of a leader that has made none yet."""
        since = self._election.since_revision
        return max(self.reached.term, self._origin.base_term + since if since else 0)

    # --- the beginning ----------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make an empty store the origin, or check that what it holds belongs to the journal.

        Raises BehindJournal; UserError if it does not belong to it; EtcdUnavailable.
        """
        found = marks.read(self._store)
        if (0 if found is None else found.position) < self._origin.base_position:
            raise BehindJournal
        if found is None:
            machine.format_namespace(self._store, self._origin.cluster, self._origin.default_class, self._origin.now_ns)
            found = Marks(0, 0, self._origin.now_ns)
            await self._store.checkpoint(marks.write(found))
        facts.check_format(self._store)
        if facts.cluster_id(self._store) != self._origin.cluster:
            raise UserError(
                f"the state is of cluster {facts.cluster_id(self._store)}, the configuration of {self._origin.cluster}: "
                "use another state directory"
            )
        self.reached = Reached(found.position, found.term, found.now_ns, found.position)
        await self._find_place(found.position)

    async def _find_place(self, position: int) -> None:
        """Begin reading at the batch that has what comes after our state."""
        found = (await self._etcd.transact([], [Get(self._journal, prefix_end(self._journal), keys_only=True)])).found[0]
        keys = [parse_key(self._journal, pair.key) for pair in found]
        check_numbers(self._journal, keys)
        last = keys[-1].begun if keys else self._origin.base_position
        check_not_ahead(position, last)
        self._assembler = Assembler(position)
        self._next_number = self._number_after(keys, position)

    @staticmethod
    def _number_after(keys: list[BatchKey], position: int) -> int:
        following = next((key.number for key in keys if key.begun > position), None)
        if following is not None:
            return following
        return keys[-1].number + 1 if keys else 1

    # --- following --------------------------------------------------------------------------------------------------------

    async def follow(self) -> Leadership:
        """Until we are elected, and have applied everything. Raises BehindJournal, UserError."""
        while True:
            try:
                leadership = await self._follow_until_elected()
            except (EtcdUnavailable, EtcdCompacted, EtcdFull, LeaseEnded) as error:
                log.info("etcd does not serve", reason=str(error))
                await trio.sleep(_RETRY_S)
                continue
            return leadership

    async def _follow_until_elected(self) -> Leadership:
        revision = await self.catch_up()
        async with self._etcd.watch(self._prefix, prefix_end(self._prefix), from_revision=revision + 1) as changes:
            while True:
                is_vacant = await self._take_next(changes)
                if is_vacant:
                    leadership = await self._election.campaign(self._origin.base_term, self._origin.base_position)
                    if leadership is not None:
                        return leadership

    async def _take_next(self, changes: Changes) -> bool:
        """Apply what comes in; whether we may have to lead: the leader's key went, or nothing has come in for some time."""
        told: list[Change] = []
        # Only the wait has an end: what was received is told once, and has to be applied however long that takes.
        with trio.move_on_after(_POLL_S):
            told = await changes.receive()
        await self._take_changes(told)
        await self._checkpoint_if_due()
        return not told or any(change.deleted and change.pair.key == self._election.key for change in told)

    async def _take_changes(self, told: list[Change]) -> None:
        there = [change.pair for change in told if not change.deleted]
        for pair in there:
            if pair.key == self._election.key:
                self._election.note(pair)
        await self._apply([pair for pair in there if pair.key.startswith(self._journal)])

    async def catch_up(self) -> int:
        """Apply all that the journal has; the revision at which that was all. Raises BehindJournal, EtcdUnavailable, UserError."""
        while True:
            start = keys_from(self._journal, self._next_number)
            done = await self._etcd.transact([], [Get(start, prefix_end(self._journal), limit=_PAGE_BATCHES)])
            found = done.found[0]
            if found:
                self._check_reaches(parse_value(self._journal, found[0].key, found[0].value))
            await self._apply(found)
            if len(found) < _PAGE_BATCHES:
                return done.revision

    async def _apply(self, pairs: list[KeyValue]) -> None:
        """Apply batches in their order, many transactions at a time."""
        entries = self._entries(pairs)
        while together := list(islice(entries, _TURN_COUNT)):
            self._apply_together(together)
            await self._checkpoint_if_due()
            await trio.lowlevel.checkpoint()

    def _entries(self, pairs: list[KeyValue]) -> Iterator[tuple[int, bytes]]:
        """The transactions of batches, in order, each told once. What it has given must be applied before anything else happens."""
        for pair in pairs:
            batch = parse_value(self._journal, pair.key, pair.value)
            if batch.number >= self._next_number:
                self.reached.term = batch.term
                yield from self._assembler.take(batch, pair.key)
                self._next_number = batch.number + 1

    def _check_reaches(self, batch: Batch) -> None:
        """What the journal still has must go on where our state ends, if batches before it were trimmed."""
        is_after_trimmed = batch.number != self._next_number or self._assembler.number is None
        if is_after_trimmed and batch.first + batch.continues > self.reached.position + 1:
            raise BehindJournal

    def _apply_together(self, entries: list[tuple[int, bytes]]) -> None:
        """Apply transactions, all of which are in the journal, one right after the other; the state has all of them at the end."""
        together = Together(self._store)
        for position, entry in entries:
            transaction = Transaction.decode(entry)
            outcome = machine.apply(together, transaction)
            assert outcome.changed, f"transaction {position} changed something when it was journaled"
            self.reached.position, self.reached.now_ns = position, transaction.now_ns
        usage.end_batch(together)

    # --- checkpoints ------------------------------------------------------------------------------------------------------

    async def _checkpoint_if_due(self) -> None:
        now_ns = self._clock.monotonic_ns()
        is_late = now_ns >= self._checkpoint_due_ns and self.reached.position > self.reached.checkpointed
        if is_late or self._store.pending_bytes >= CHECKPOINT_BYTES:
            self._checkpoint_due_ns = now_ns + int(CHECKPOINT_INTERVAL_S * 1e9)
            await self.checkpoint()

    async def checkpoint(self) -> None:
        """Write the state. On a full disk it stays in memory, and is tried again."""
        reached = self.reached
        try:
            await self._store.checkpoint(marks.write(Marks(reached.position, reached.term, reached.now_ns)))
        except StoreFull as error:
            log.warning("the state directory's disk is full; checkpoints wait", error=str(error))
            return
        reached.checkpointed = reached.position
