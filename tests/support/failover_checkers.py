"""What must hold of metadata servers on etcd, whatever was done and whatever went wrong (DESIGN §7): laws over what was recorded.

Each law is a function from the record to findings; nothing here knows workloads or faults.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ringfs.base.ids import NO_SESSION
from ringfs.base.kv.memory import MemoryView
from ringfs.base.kv.prefix import scan_prefix
from ringfs.meta.journal.batches import Assembler, parse_value
from ringfs.meta.journal.etcd import journal_prefix
from ringfs.meta.journal.interface import JournalDamaged
from ringfs.meta.namespace import keys, machine
from ringfs.meta.namespace.check import check
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.origin import Origin
from tests.support.failover_record import PREFIX, Appended, Record, digest_of


def one_leader_per_term(appended: list[Appended], origin: Origin) -> Iterator[str]:
    """A batch was put by whose key the leader's was at that moment, under the term that this key began."""
    leaders: dict[int, str] = {}
    for each in appended:
        term = parse_value(journal_prefix(PREFIX), each.key, each.value).term
        if each.by != each.leader or term != origin.base_term + each.leader_revision:
            yield f"{each.by} appended {each.key!r} in term {term}, while {each.leader} led since {each.leader_revision}"
        if leaders.setdefault(term, each.by) != each.by:
            yield f"{leaders[term]} and {each.by} both appended in term {term}"


@dataclass(slots=True)
class History:
    """The journal from its beginning: all that was ever accepted, in order, and what it makes of an empty namespace."""

    entries: list[Transaction] = field(default_factory=list)
    state: MemoryView = field(default_factory=MemoryView)
    findings: list[str] = field(default_factory=list)
    #: Position → digest, where somebody's state is to be compared.
    digests: dict[int, bytes] = field(default_factory=dict)


def read_history(record: Record, origin: Origin) -> History:
    """Put together and applied as a server would, and every transaction changes something: it was journaled for that."""
    history = History()
    wanted = {each.position for each in record.checkpointed}
    machine.format_namespace(history.state, origin.cluster, origin.default_class, origin.now_ns)
    history.digests[0] = digest_of(history.state.pairs())
    assembler = Assembler(origin.base_position)
    try:
        for each in record.appended:
            for position, entry in assembler.take(parse_value(journal_prefix(PREFIX), each.key, each.value), each.key):
                _apply(history, position, Transaction.decode(entry))
                if position in wanted:
                    history.digests[position] = digest_of(history.state.pairs())
    except JournalDamaged as damage:
        history.findings.append(str(damage))
    return history


def _apply(history: History, position: int, transaction: Transaction) -> None:
    history.entries.append(transaction)
    outcome = machine.apply(history.state, transaction)
    if not outcome.changed:
        history.findings.append(f"transaction {position} changes nothing: {transaction}: {outcome.answer!r}")


def each_request_once(history: History) -> Iterator[str]:
    """No request number of a session is in the journal twice."""
    seen: dict[tuple[int, int], int] = {}
    for position, entry in enumerate(history.entries, 1):
        if entry.session != NO_SESSION:
            before = seen.setdefault((entry.session, entry.number), position)
            if before != position:
                yield f"request {entry.number} of session {entry.session} took effect at {before} and at {position}"


def time_never_goes_back(history: History) -> Iterator[str]:
    """Whoever leads, and whatever its clock says."""
    latest_ns = 0
    for position, entry in enumerate(history.entries, 1):
        if entry.now_ns < latest_ns:
            yield f"transaction {position} is {latest_ns - entry.now_ns} ns earlier than one before it"
        latest_ns = max(latest_ns, entry.now_ns)


def states_agree(record: Record, history: History) -> Iterator[str]:
    """What any server wrote to its disk is what the journal says up to that position."""
    for each in record.checkpointed:
        expected = history.digests.get(each.position)
        if expected is None:
            yield f"{each.server} wrote a state at {each.position}, where the journal has only {len(history.entries)} transactions"
        elif expected != each.digest:
            yield f"{each.server} wrote another state at {each.position} than the journal makes"


def namespace_is_right(history: History) -> Iterator[str]:
    """A tree, with exact counts (DESIGN §7.4), at the end."""
    yield from map(str, check(history.state))


def nothing_is_left(history: History) -> Iterator[str]:
    """At the end everybody has gone: no session is left, no lock, and nothing is kept without a name but for a snapshot."""
    for family, what in ((keys.SESSION, "session"), (keys.LOCK, "lock"), (keys.LOCKER, "locker"), (keys.REPLY, "reply")):
        yield from (f"{what} {key.hex()} is left" for key, _ in scan_prefix(history.state, family))
    for key, _ in scan_prefix(history.state, keys.HELD):
        if keys.number_at(key, 1) != NO_SESSION:
            yield f"inode {keys.number_at(key, 9)} is kept by session {keys.number_at(key, 1)}, which is no more"


def find_broken_laws(record: Record, origin: Origin) -> list[str]:
    """All of the above."""
    history = read_history(record, origin)
    return [
        *one_leader_per_term(record.appended, origin),
        *history.findings,
        *each_request_once(history),
        *time_never_goes_back(history),
        *states_agree(record, history),
        *namespace_is_right(history),
        *nothing_is_left(history),
    ]
