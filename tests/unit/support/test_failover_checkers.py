"""Each law of failover_checkers.py holds for a record in which nothing went wrong, and is broken by what it is about."""

import re
from collections.abc import Callable

import pytest

from ringfs.base.ids import NO_SESSION, ROOT_INODE
from ringfs.base.kv.memory import MemoryView
from ringfs.meta.journal.batches import Batch, key_of
from ringfs.meta.journal.etcd import journal_prefix
from ringfs.meta.namespace import keys, machine
from ringfs.meta.namespace.machine import Transaction
from ringfs.meta.namespace.system import BeginSession, EndSession
from ringfs.meta.origin import Origin
from ringfs.wire.messages.namespace import Mkdir, Mknod, Unlink
from tests.support.failover_checkers import find_broken_laws, namespace_is_right, read_history
from tests.support.failover_record import PREFIX, Appended, Checkpointed, Record, digest_of

ORIGIN = Origin("12345678-1234-5678-1234-567812345678", "replica:2", 1)
BEGIN = Transaction(NO_SESSION, 0, 0, 10, [], BeginSession("client"))
END = Transaction(NO_SESSION, 0, 0, 40, [], EndSession(1))
Spoil = Callable[[Record], None]


def made(number: int, name: bytes, now_ns: int) -> Transaction:
    """The request of that number of session 1: a directory."""
    return Transaction(1, number, number, now_ns, [], Mkdir(ROOT_INODE, name, 0o755, 0, 0, 0))


def appended(number: int, entry: Transaction, term: int = 5, by: str = "meta1", leader: str = "meta1") -> Appended:
    """A batch of one transaction at the position of its number."""
    value = Batch(number, term, number, False, False, [entry.encode()]).pack()
    return Appended(
        by, key_of(journal_prefix(PREFIX), Batch(number, term, number, False, False, [b""]), len(value)), value, leader, term
    )


def good() -> Record:
    """Three transactions of two leaders and the end of the session, and what one of them wrote to its disk after the second."""
    state = MemoryView()
    machine.format_namespace(state, ORIGIN.cluster, ORIGIN.default_class, ORIGIN.now_ns)
    for entry in (BEGIN, made(1, b"a", 20)):
        assert machine.apply(state, entry).changed
    later = (made(2, b"b", 30), END)
    batches = [appended(1, BEGIN), appended(2, made(1, b"a", 20))]
    batches += [appended(number, entry, 9, "meta2", "meta2") for number, entry in enumerate(later, 3)]
    return Record(batches, [Checkpointed("meta2", 2, digest_of(state.pairs()))])


def test_nothing_is_wrong() -> None:
    """With what servers do."""
    assert find_broken_laws(good(), ORIGIN) == []


def deposed(record: Record) -> None:
    """It appended when it led no more."""
    record.appended[2] = appended(3, made(2, b"b", 30), 9, "meta1", "meta2")


def two_leaders(record: Record) -> None:
    """Both had the key in one term."""
    record.appended[2] = appended(3, made(2, b"b", 30), 5, "meta2", "meta2")


def twice(record: Record) -> None:
    """A request that was sent again took effect again."""
    record.appended[2] = appended(3, made(1, b"b", 30), 9, "meta2", "meta2")


def back_in_time(record: Record) -> None:
    """A new leader's clock is behind."""
    record.appended[2] = appended(3, made(2, b"b", 15), 9, "meta2", "meta2")


def missing(record: Record) -> None:
    """A batch was lost."""
    del record.appended[1]


def other_state(record: Record) -> None:
    """A server's state is not what the journal says."""
    record.checkpointed[0] = Checkpointed("meta2", 2, b"another")


def ahead(record: Record) -> None:
    """A server wrote what the journal never had."""
    record.checkpointed[0] = Checkpointed("meta2", 7, b"another")


def without_end(record: Record) -> None:
    """A client has gone, and its session was forgotten."""
    del record.appended[3]


def with_orphan(record: Record) -> None:
    """It had a file open that it removed, and did not end."""
    file = Transaction(1, 3, 3, 35, [], Mknod(ROOT_INODE, b"file", 0o100644, 0, 0, 0, 0, 0, True))
    gone = Transaction(1, 4, 4, 36, [1], Unlink(ROOT_INODE, b"file"))
    record.appended[3:] = [appended(number, entry, 9, "meta2", "meta2") for number, entry in enumerate((file, gone), 4)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (deposed, "meta1 appended .* while meta2 led"),
        (two_leaders, "both appended in term 5"),
        (twice, "request 1 of session 1|changes nothing"),
        (back_in_time, "5 ns earlier"),
        (missing, "missing"),
        (other_state, "another state at 2"),
        (ahead, "only 4 transactions"),
        (without_end, "session 53.* is left"),
        (with_orphan, "is kept by session 1"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_each_law_can_be_broken(spoil: Spoil, said: str) -> None:
    """And says so."""
    record = good()
    spoil(record)

    assert any(re.search(said, finding) for finding in find_broken_laws(record, ORIGIN))


def test_a_namespace_that_is_no_tree_is_found() -> None:
    """Whatever has led there."""
    history = read_history(good(), ORIGIN)
    ((key, _),) = [pair for pair in history.state.pairs().items() if pair[0].endswith(b"a") and pair[0][:1] == keys.DENTRY]
    history.state.delete(key)

    assert list(namespace_is_right(history))
