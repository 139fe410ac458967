"""Tmpfile: a file without a name, and what may become of it."""

import pytest

from ringfs.base.errors import Code
from ringfs.meta.namespace import system
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.files import Tmpfile
from ringfs.wire.messages.quota import GetQuota, SetQuota
from ringfs.wire.messages.session import OPEN_WRITE
from tests.support.namespace import TrialNamespace, inline
from tests.support.refusals import refused


def tmpfile(trial: TrialNamespace, parent: int = 1, *, is_linkable: bool = True) -> int:
    answer = trial.do(Tmpfile(parent, 0o666, 7, 8, 0o022, OPEN_WRITE, is_linkable))
    number: int = answer.attributes.inode
    return number


def test_made_without_a_trace(trial: TrialNamespace) -> None:
    """Mode as of a created file; nothing of the directory moves."""
    before = trial.attributes(1)
    found = trial.attributes(tmpfile(trial))
    assert (found.mode, found.uid, found.gid, found.links) == (0o100644, 7, 8, 0)
    assert trial.attributes(1) == before
    assert trial.names() == []


def test_group_of_a_setgid_directory(trial: TrialNamespace) -> None:
    """As with mknod."""
    directory = trial.directory(b"d", gid=77, mode=0o2755)
    trial.do(m.Setattr(directory, m.SET_MODE, 0o2755, 0, 0, 0, 0, 0, 0, True))
    assert trial.attributes(tmpfile(trial, directory)).gid == 77


@pytest.mark.parametrize("end", [system.FreeOrphans, system.EndSession])
def test_it_ends_with_its_session_or_before(trial: TrialNamespace, end: type) -> None:
    """With all that it stores."""
    number = tmpfile(trial)
    trial.commit(number, inline(0, b"x" * 100))
    trial.system(end(trial.session, [number]) if end is system.FreeOrphans else end(trial.session))
    assert not trial.exists(number)


def test_it_may_get_a_name(trial: TrialNamespace) -> None:
    """Then it is like any other file, and outlives the session."""
    directory = trial.directory(b"d")
    number = tmpfile(trial)
    trial.commit(number, inline(0, b"x" * 100))
    answer = trial.do(m.Link(number, directory, b"f"))
    assert (answer.attributes.links, trial.names(directory)) == (1, [b"f"])
    assert trial.ask(GetQuota(directory)).bytes_used == 100
    trial.do(m.Link(number, 1, b"g"))
    trial.system(system.EndSession(trial.session))
    assert trial.attributes(number).links == 2


def test_not_by_others_nor_twice(trial: TrialNamespace) -> None:
    """Another session, one made with O_EXCL, and one that lost its name again."""
    number, exclusive = tmpfile(trial), tmpfile(trial, is_linkable=False)
    other = trial.begin_session()
    with refused(Code.NOT_FOUND):
        trial.do(m.Link(number, 1, b"f"), session=other)
    with refused(Code.NOT_FOUND):
        trial.do(m.Link(exclusive, 1, b"f"))
    trial.do(m.Link(number, 1, b"f"))
    trial.do(m.Unlink(1, b"f"), holders=[trial.session])
    with refused(Code.NOT_FOUND):
        trial.do(m.Link(number, 1, b"f"))


def test_a_quota_counts_it_with_its_name(trial: TrialNamespace) -> None:
    """It is free before, and must fit then."""
    directory = trial.directory(b"d")
    trial.do(SetQuota(directory, 99, 0))
    number = tmpfile(trial, directory)
    assert trial.commit(number, inline(0, b"x" * 100)).code == 0
    with refused(Code.QUOTA):
        trial.do(m.Link(number, directory, b"f"))
    trial.do(m.Link(number, 1, b"f"))


def test_refusals(trial: TrialNamespace) -> None:
    """The directory must take entries; somebody must have it open."""
    with refused(Code.NOT_DIRECTORY):
        tmpfile(trial, trial.file(b"f"))
    with refused(Code.STALE):
        tmpfile(trial, 99)
    with refused(Code.INVALID):
        trial.do(Tmpfile(1, 0o666, 0, 0, 0, 0, True))
