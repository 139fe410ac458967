"""ReserveInodes: numbers that nobody else gets, once; they end with the session."""

from ringfs.base.errors import Code
from ringfs.base.ids import ROOT_INODE
from ringfs.meta.namespace import keys, system
from ringfs.wire.messages import namespace as m
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


def _mkdir(name: bytes, number: int) -> m.Mkdir:
    return m.Mkdir(ROOT_INODE, name, 0o755, 0, 0, 0, number)


def test_numbers_are_apart() -> None:
    """Neither another session nor who asks without a number gets one of them."""
    space = TrialNamespace()
    other = space.begin_session()
    mine, theirs = space.do(m.ReserveInodes(100)), space.do(m.ReserveInodes(10), session=other)
    assert mine.stop - mine.first == 100
    assert (theirs.first, theirs.stop) == (mine.stop, mine.stop + 10)
    assert space.directory(b"next") == theirs.stop
    assert space.do(_mkdir(b"a", mine.first)).attributes.inode == mine.first
    with refused(Code.INVALID):
        space.do(_mkdir(b"b", theirs.first))


def test_new_numbers_take_the_place_of_old_ones() -> None:
    """What was left is never used; a repeated request gets the same answer."""
    space = TrialNamespace()
    first = space.do(m.ReserveInodes(100))
    second = space.do(m.ReserveInodes(1))
    assert second.first == first.stop
    with refused(Code.INVALID):
        space.do(_mkdir(b"a", first.first))
    space.do(_mkdir(b"a", second.first))
    with refused(Code.INVALID):
        space.do(_mkdir(b"b", second.first))


def test_a_session_that_ends_leaves_none() -> None:
    """Its row goes with it."""
    space = TrialNamespace()
    other = space.begin_session()
    space.do(m.ReserveInodes(100), session=other)
    space.system(system.EndSession(other))
    assert space.view.get(keys.reserved(other)) is None
