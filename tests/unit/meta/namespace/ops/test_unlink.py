"""Unlink: names and inodes end; what is open lives on as an orphan."""

from ringfs.base.errors import Code
from ringfs.meta.namespace import facts
from ringfs.wire.messages import namespace as m
from tests.support.namespace import TrialNamespace, hole, inline, piece_of
from tests.support.refusals import refused


def test_last_name(trial: TrialNamespace) -> None:
    """The inode goes with all its rows; the answer shows it with no links, and its directory afterwards."""
    rows = len(trial.view.pairs())
    inode = trial.file(b"a")
    trial.do(m.SetXattr(inode, b"user.a", b"1", 0, False))
    trial.commit(inode, inline(0, b"x" * 10), piece_of(1, 100, 50), objects=[trial.new_object(1, 50)])
    outcome = trial.outcome(m.Unlink(1, b"a"))
    assert (outcome.answer.removed.inode, outcome.answer.removed.links) == (inode, 0)
    assert outcome.answer.parent == trial.attributes(1)
    assert outcome.touched == {1, inode}
    assert not trial.exists(inode)
    assert len(trial.view.pairs()) == rows + 3, "a reply, and the verdict on the object"


def test_one_of_two_names(trial: TrialNamespace) -> None:
    """The inode stays, with one link less and ctime now."""
    inode = trial.file(b"a")
    trial.do(m.Link(inode, 1, b"b"))
    removed = trial.do(m.Unlink(1, b"b")).removed
    assert removed == trial.attributes(inode)
    assert (removed.links, removed.ctime_ns) == (1, trial.now_ns)


def test_holders_keep_it(trial: TrialNamespace) -> None:
    """An open file keeps attributes and extents without a name, and can still be written and cut."""
    inode = trial.file(b"a")
    trial.commit(inode, inline(0, b"data"))
    trial.do(m.Unlink(1, b"a"), holders=[trial.session])
    assert trial.attributes(inode).links == 0
    trial.commit(inode, inline(4, b"more"))
    assert trial.extents(inode) == [(0, 8, m.INLINE, b"datamore")]
    trial.do(m.Setattr(inode, m.SET_SIZE, 0, 0, 0, 3, 0, 0, 0, True))
    assert list(facts.orphans_of(trial.view, trial.session)) == [inode]


def test_holders_that_have_ended_keep_nothing(trial: TrialNamespace) -> None:
    """A holder without a session is passed over."""
    inode = trial.file(b"a")
    trial.do(m.Unlink(1, b"a"), holders=[999])
    assert not trial.exists(inode)


def test_holders_of_a_file_with_another_name(trial: TrialNamespace) -> None:
    """Holders matter for the last name only."""
    inode = trial.file(b"a")
    trial.do(m.Link(inode, 1, b"b"))
    trial.do(m.Unlink(1, b"a"), holders=[trial.session])
    assert list(facts.orphans_of(trial.view, trial.session)) == []


def test_refused(trial: TrialNamespace) -> None:
    """NOT_FOUND without such a name, IS_DIRECTORY for a directory."""
    trial.directory(b"d")
    with refused(Code.NOT_FOUND):
        trial.do(m.Unlink(1, b"a"))
    with refused(Code.IS_DIRECTORY):
        trial.do(m.Unlink(1, b"d"))


def test_holes_hold_nothing(trial: TrialNamespace) -> None:
    """A file of holes alone goes without a trace as well."""
    inode = trial.file(b"a")
    trial.commit(inode, hole(0, 1 << 20))
    trial.do(m.Unlink(1, b"a"))
    assert not trial.exists(inode)
