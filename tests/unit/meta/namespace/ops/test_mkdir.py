"""Mkdir: links, modes, setgid; the cookie that entries start with."""

import pytest

from ringfs.base import limits
from ringfs.base.errors import Code
from ringfs.meta.namespace.ops import mkdir
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


def test_links(trial: TrialNamespace) -> None:
    """A new directory has 2 links, and its parent one more for each."""
    a = trial.directory(b"a")
    trial.directory(b"b", a)
    trial.file(b"c", a)
    assert (trial.attributes(1).links, trial.attributes(a).links) == (3, 3)
    assert trial.attributes(a).size_bytes == 2


def test_mode(trial: TrialNamespace) -> None:
    """umask applies, sticky is kept, suid and sgid are not the caller's to give."""
    assert trial.attributes(trial.directory(b"a", mode=0o7777, umask=0o022)).mode == 0o041755


def test_setgid_is_handed_down(trial: TrialNamespace) -> None:
    """In a setgid directory a new one is setgid too, and so on."""
    top = trial.directory(b"a", gid=77)
    trial.do(m.Setattr(top, m.SET_MODE, 0o2755, 0, 0, 0, 0, 0, 0, True))
    below = trial.directory(b"b", trial.directory(b"a", top))
    assert (trial.attributes(below).mode, trial.attributes(below).gid) == (0o042755, 77)


def test_cookies_start_above_two(trial: TrialNamespace) -> None:
    """The first entry has cookie 3."""
    top = trial.directory(b"a")
    trial.file(b"x", top)
    assert [entry.cookie for entry in trial.ask(q.ReadDirectory(top, 0, 10)).entries] == [3]


def test_too_many_links(trial: TrialNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with LINKS_MAX links takes no more subdirectories, but files."""
    assert limits.LINKS_MAX == 1 << 31
    monkeypatch.setattr(mkdir, "LINKS_MAX", 3)
    trial.directory(b"a")
    with refused(Code.TOO_MANY_LINKS):
        trial.directory(b"b")
    trial.file(b"c")
