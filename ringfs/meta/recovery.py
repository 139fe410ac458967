"""From what a state directory holds to the state as it was acknowledged: first format, or checkpoint plus the rest of the journal.

Every start is a new term, written down before anything is served, unless the disk is full: then the journal, which only one
process can hold, is what keeps terms apart. Crashing anywhere in here and starting again is harmless.
"""

from dataclasses import dataclass

import structlog

from ringfs.base.clock import Clock
from ringfs.base.errors import UserError
from ringfs.base.kv.store import Store, StoreFull
from ringfs.meta import marks
from ringfs.meta.journal.interface import Journal
from ringfs.meta.leader import CHECKPOINT_BYTES
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import facts, machine
from ringfs.meta.namespace.machine import Transaction

log = structlog.get_logger("ringfs.meta")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a leader begins with. checkpointed: the position that the store has durably; less than position if its disk is full.

    replayed_count: transactions that were in the journal only.
    """

    term: int
    position: int
    checkpointed: int
    now_ns: int
    replayed_count: int
    is_new: bool


async def recover(store: Store, journal: Journal, clock: Clock, *, cluster: str, default_class: str) -> Recovered:
    """Bring the store to the journal's end, and begin a term.

    Raises UserError if they do not belong together, or if there is no space for a new state.
    """
    found = marks.read(store)
    if found is None:
        if journal.last:
            raise UserError(f"the journal has {journal.last} transactions, but there is no checkpoint: restore the store directory")
        machine.format_namespace(store, cluster, default_class, clock.wall_ns())
    else:
        _check_cluster(store, cluster)
    checkpoint = found or Marks(0, 0, clock.wall_ns())
    if not journal.first - 1 <= checkpoint.position <= journal.last:
        raise UserError(
            f"the checkpoint is at transaction {checkpoint.position}, but the journal has {journal.first} to {journal.last}: "
            "store and journal are not of one moment; restore both from one copy"
        )
    now_ns = await _replay(store, journal, checkpoint)
    term = max(journal.term, checkpoint.term) + 1
    if not await _try_checkpoint(store, Marks(journal.last, term, now_ns)) and found is None:
        raise UserError("there is no space for a new state: free some on the disk of the state directory")
    written = marks.read(store)
    assert written is not None, "the first checkpoint of a new state was written"
    await journal.trim(written.position)
    return Recovered(term, journal.last, written.position, now_ns, journal.last - checkpoint.position, found is None)


async def _replay(store: Store, journal: Journal, checkpoint: Marks) -> int:
    """Apply what the journal has after the checkpoint; the time of the last transaction."""
    now_ns = checkpoint.now_ns
    # On a full disk all of it stays in memory, as it did in the process that could not write it either.
    has_space = True
    async for position, entry in journal.replay(checkpoint.position):
        transaction = Transaction.decode(entry)
        outcome = machine.apply(store, transaction)
        assert outcome.changed, f"transaction {position} changed something when it was journaled"
        now_ns = transaction.now_ns
        if has_space and store.pending_bytes >= CHECKPOINT_BYTES:
            has_space = await _try_checkpoint(store, Marks(position, checkpoint.term, now_ns))
    return now_ns


async def _try_checkpoint(store: Store, reached: Marks) -> bool:
    try:
        await store.checkpoint(marks.write(reached))
    except StoreFull as error:
        log.warning("the state directory's disk is full; going on with what the journal has", error=str(error))
        return False
    return True


def _check_cluster(store: Store, cluster: str) -> None:
    facts.check_format(store)
    found = facts.cluster_id(store)
    if found != cluster:
        raise UserError(f"the state is of cluster {found}, the configuration of {cluster}: use another state directory")
