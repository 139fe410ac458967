"""Link: another name for the same inode."""

import pytest

from ringfs.base.errors import Code
from ringfs.meta.namespace.ops import link
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


def test_two_names(trial: TrialNamespace) -> None:
    """Both stand for the inode, links count them, ctime is now and mtime is not."""
    inode = trial.file(b"a")
    made_ns = trial.now_ns
    answer = trial.do(m.Link(inode, 1, b"b"))
    assert (answer.attributes.inode, answer.attributes.links) == (inode, 2)
    assert (answer.attributes.ctime_ns, answer.attributes.mtime_ns) == (trial.now_ns, made_ns)
    trial.do(m.Unlink(1, b"a"))
    assert trial.attributes(inode).links == 1
    assert trial.ask(q.Lookup(1, b"b")).attributes.inode == inode


def test_symlinks_and_fifos_too(trial: TrialNamespace) -> None:
    """Anything but a directory."""
    assert trial.do(m.Link(trial.symlink(b"a"), 1, b"b")).attributes.links == 2
    assert trial.do(m.Link(trial.file(b"f", mode=0o010600), 1, b"g")).attributes.links == 2
    with refused(Code.NOT_PERMITTED):
        trial.do(m.Link(trial.directory(b"d"), 1, b"e"))


def test_existing_name_comes_first(trial: TrialNamespace) -> None:
    """As Linux: a taken name EXISTS even where linking is not permitted."""
    directory = trial.directory(b"d")
    with refused(Code.EXISTS):
        trial.do(m.Link(directory, 1, b"d"))


def test_what_is_gone(trial: TrialNamespace) -> None:
    """STALE for no inode, NOT_FOUND for an orphan: it does not come back."""
    inode = trial.file(b"a")
    trial.do(m.Unlink(1, b"a"), holders=[trial.session])
    with refused(Code.NOT_FOUND):
        trial.do(m.Link(inode, 1, b"b"))
    with refused(Code.STALE):
        trial.do(m.Link(999, 1, b"b"))


def test_too_many_links(trial: TrialNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """LINKS_MAX names are enough."""
    monkeypatch.setattr(link, "LINKS_MAX", 2)
    inode = trial.file(b"a")
    trial.do(m.Link(inode, 1, b"b"))
    with refused(Code.TOO_MANY_LINKS):
        trial.do(m.Link(inode, 1, b"c"))
