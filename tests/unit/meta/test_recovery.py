"""Recovery: what store and journal may look like together, and what is refused with the reason."""

import pytest

from ringfs.base.errors import UserError
from ringfs.meta import marks, recovery
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import facts, machine
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.namespace.system import BeginSession
from ringfs.meta.recovery import Recovered, recover
from tests.support.meta_doubles import CLUSTER, MemoryJournal, MemoryStore, TrioClock


async def recovered(store: MemoryStore, journal: MemoryJournal, cluster: str = CLUSTER) -> Recovered:
    return await recover(store, journal, TrioClock(), cluster=cluster, default_class="replica:2")  # type: ignore[arg-type]


def entry(number: int) -> bytes:
    return Transaction(0, 0, 0, 10**18 + number, [], BeginSession(f"s{number}")).encode()


async def test_the_first_start_formats(autojump_clock: object) -> None:
    """An empty state becomes an empty namespace, durable before anything else; the second start finds it."""
    store, journal = MemoryStore(), MemoryJournal()
    first = await recovered(store, journal)
    assert (first.is_new, first.term, first.position) == (True, 1, 0)
    again = await recovered(store.restarted(), journal.restarted())
    assert (again.is_new, again.term, again.position) == (False, 2, 0)
    assert facts.cluster_id(store) == CLUSTER


async def test_replay_continues_where_the_checkpoint_ends(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the journal has is applied, with checkpoints in between if it is much; position, time and term go on from it."""
    monkeypatch.setattr(recovery, "CHECKPOINT_BYTES", 500)
    store, journal = MemoryStore(), MemoryJournal()
    await recovered(store, journal)
    await journal.append(7, [entry(number) for number in range(50)])
    store = store.restarted()
    found = await recovered(store, journal)
    assert (found.term, found.position, found.replayed_count, found.now_ns) == (8, 50, 50, 10**18 + 49)
    assert store.checkpoint_count > 3
    assert marks.read(store) == Marks(50, 8, 10**18 + 49)
    assert len(list(facts.sessions(store.restarted()))) == 50
    assert journal.first == 51


async def test_a_new_state_needs_space(autojump_clock: object) -> None:
    """Without space for the first checkpoint there is nothing to serve: refused with what to do. With space it starts."""
    store, journal = MemoryStore(), MemoryJournal()
    store.is_full = True
    with pytest.raises(UserError, match="free some"):
        await recovered(store, journal)
    assert (await recovered(store.restarted(), journal.restarted())).is_new


async def test_what_does_not_belong_together_is_refused(autojump_clock: object) -> None:
    """Another cluster, a journal without its checkpoint, one that ends before it, one that begins after it: each says so."""
    store, journal = MemoryStore(), MemoryJournal()
    await recovered(store, journal)
    with pytest.raises(UserError, match="is of cluster"):
        await recovered(store, journal, cluster="another")
    await journal.append(7, [entry(1), entry(2)])
    with pytest.raises(UserError, match="no checkpoint"):
        await recovered(MemoryStore(), journal)
    await recovered(store, journal)
    with pytest.raises(UserError, match="not of one moment"):
        await recovered(store, MemoryJournal())
    with pytest.raises(UserError, match="not of one moment"):
        await recovered(store, MemoryJournal([entry(5)], first=5))


async def test_replay_notices_a_machine_that_is_not_deterministic(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journaled transaction that changes nothing when replayed is a bug, and stops the start."""
    store, journal = MemoryStore(), MemoryJournal()
    await recovered(store, journal)
    await journal.append(1, [entry(1)])
    monkeypatch.setattr(machine, "apply", lambda *_: machine.Outcome(None, set(), False))
    with pytest.raises(AssertionError, match="transaction 1"):
        await recovered(store, journal)
