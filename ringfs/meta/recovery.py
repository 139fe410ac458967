"""From what a state directory holds to the state as it was acknowledged: first format, or checkpoint plus the rest of the journal.

Every start is a new term, written down before anything is served. Crashing anywhere in here and starting again is harmless.
"""

from dataclasses import dataclass

from ringfs.base.clock import Clock
from ringfs.base.errors import UserError
from ringfs.base.kv.store import Store
from ringfs.meta import marks
from ringfs.meta.journal.interface import Journal
from ringfs.meta.leader import CHECKPOINT_BYTES
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import facts, machine
from ringfs.meta.namespace.machine import Transaction


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a leader begins with. replayed_count: transactions that were in the journal only."""

    term: int
    position: int
    now_ns: int
    replayed_count: int
    is_new: bool


async def recover(store: Store, journal: Journal, clock: Clock, *, cluster: str, default_class: str) -> Recovered:
    """Bring the store to the journal's end, and begin a term. Raises UserError if they do not belong together."""
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
    await store.checkpoint(marks.write(Marks(journal.last, term, now_ns)))
    await journal.trim(journal.last)
    return Recovered(term, journal.last, now_ns, journal.last - checkpoint.position, found is None)


async def _replay(store: Store, journal: Journal, checkpoint: Marks) -> int:
    """Apply what the journal has after the checkpoint; the time of the last transaction."""
    now_ns = checkpoint.now_ns
    for position, entry in journal.replay(checkpoint.position):
        transaction = Transaction.decode(entry)
        outcome = machine.apply(store, transaction)
        assert outcome.changed, f"transaction {position} changed something when it was journaled"
        now_ns = transaction.now_ns
        if store.pending_bytes >= CHECKPOINT_BYTES:
            await store.checkpoint(marks.write(Marks(position, checkpoint.term, now_ns)))
    return now_ns


def _check_cluster(store: Store, cluster: str) -> None:
    facts.check_format(store)
    found = facts.cluster_id(store)
    if found != cluster:
        raise UserError(f"the state is of cluster {found}, the configuration of {cluster}: use another state directory")
