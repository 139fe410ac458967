"""The machine: all or nothing, exactly once, deterministic; who may ask for what; transactions as bytes."""

import pytest

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.memory import MemoryView
from ringfs.base.limits import REPLY_WINDOW_MAX
from ringfs.meta.namespace import machine, system
from ringfs.meta.namespace.machine import Transaction
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import Done
from tests.support.namespace import START_NS, TrialNamespace


def mkdir(name: bytes) -> m.Mkdir:
    return m.Mkdir(1, name, 0o755, 0, 0, 0)


@pytest.fixture
def trial() -> TrialNamespace:
    return TrialNamespace()


def transaction(trial: TrialNamespace, number: int, acknowledged: int, operation: object) -> Transaction:
    return Transaction(trial.session, number, acknowledged, START_NS, [], operation)


def code_of(outcome: machine.Outcome) -> Code:
    assert isinstance(outcome.answer, Refused)
    return outcome.answer.code


def test_repeated_request_gets_the_first_answer(trial: TrialNamespace) -> None:
    """The same number twice: one effect, the same answer, nothing touched the second time, whatever the operation says."""
    first = trial.apply(transaction(trial, 1, 1, mkdir(b"a")))
    again = trial.apply(transaction(trial, 1, 1, mkdir(b"a")))
    assert again.answer == first.answer
    assert first.touched == {1, first.answer.attributes.inode}
    assert (again.touched, again.changed) == (set(), False)
    trial.apply(transaction(trial, 2, 1, m.Rmdir(1, b"a")))
    assert trial.apply(transaction(trial, 1, 1, mkdir(b"a"))).answer == first.answer
    assert trial.names() == []


def test_acknowledged_replies_are_forgotten(trial: TrialNamespace) -> None:
    """A reply below the acknowledged number is dropped, and its request refused FORGOTTEN from then on."""
    trial.apply(transaction(trial, 1, 1, mkdir(b"a")))
    trial.apply(transaction(trial, 2, 2, mkdir(b"b")))
    assert code_of(trial.apply(transaction(trial, 1, 1, mkdir(b"a")))) is Code.FORGOTTEN
    assert code_of(trial.apply(transaction(trial, 3, 4, mkdir(b"c")))) is Code.FORGOTTEN
    assert code_of(trial.apply(transaction(trial, 0, 0, mkdir(b"c")))) is Code.FORGOTTEN


def test_long_windows_are_forgotten_too(trial: TrialNamespace) -> None:
    """However many replies one acknowledgement covers, none is left behind."""
    for number in range(1, 101):
        trial.apply(transaction(trial, number, 1, mkdir(b"%d" % number)))
    trial.apply(transaction(trial, 101, 101, mkdir(b"last")))
    assert sum(key[:1] == b"A" for key in trial.view.pairs()) == 1


def test_window_is_bounded(trial: TrialNamespace) -> None:
    """A request too far ahead of what is acknowledged is refused OVERLOADED."""
    assert code_of(trial.apply(transaction(trial, REPLY_WINDOW_MAX + 1, 1, mkdir(b"a")))) is Code.OVERLOADED
    assert trial.apply(transaction(trial, REPLY_WINDOW_MAX, 1, mkdir(b"a"))).changed


def test_refusals_change_nothing_and_are_not_kept(trial: TrialNamespace) -> None:
    """A refused request sent again is tried again."""
    assert code_of(trial.apply(transaction(trial, 1, 1, m.Rmdir(1, b"a")))) is Code.NOT_FOUND
    trial.apply(transaction(trial, 2, 1, mkdir(b"a")))
    assert isinstance(trial.apply(transaction(trial, 1, 1, m.Rmdir(1, b"a"))).answer, m.Removed)


def test_unknown_session(trial: TrialNamespace) -> None:
    """Without a registered session nothing happens; nor after its end."""
    assert code_of(trial.apply(Transaction(99, 1, 1, START_NS, [], mkdir(b"a")))) is Code.NO_SESSION
    trial.system(system.EndSession(trial.session))
    assert code_of(trial.apply(transaction(trial, 1, 1, mkdir(b"a")))) is Code.NO_SESSION


def test_who_may_ask(trial: TrialNamespace) -> None:
    """A client cannot act as the leader, questions are no transactions, the leader acts on no client's behalf."""
    assert code_of(trial.apply(transaction(trial, 1, 1, system.EndSession(1)))) is Code.BAD_REQUEST
    assert code_of(trial.apply(transaction(trial, 1, 1, q.Lookup(1, b"a")))) is Code.BAD_REQUEST
    assert code_of(trial.apply(Transaction(0, 0, 0, START_NS, [], mkdir(b"a")))) is Code.NO_SESSION
    with pytest.raises(Refused) as refused:
        trial.ask(Done())
    assert refused.value.code is Code.BAD_REQUEST


def test_transactions_travel_as_bytes() -> None:
    """What the journal keeps is what was applied."""
    made = Transaction(3, 4, 2, START_NS, [7], mkdir(b"a"))
    assert Transaction.decode(made.encode()) == made


def test_the_same_transactions_make_the_same_bytes() -> None:
    """Two copies that apply the same history are equal byte by byte."""
    views = [MemoryView(), MemoryView()]
    for view in views:
        machine.format_namespace(view, "c", "replica:2", START_NS)
    history = [Transaction(0, 0, 0, START_NS, [], system.BeginSession("a"))]
    history += [Transaction(1, n, max(1, n - 3), START_NS + n, [], mkdir(b"%d" % n)) for n in range(1, 20)]
    for done in history:
        assert machine.apply(views[0], done) == machine.apply(views[1], Transaction.decode(done.encode()))
    assert views[0].pairs() == views[1].pairs()
