"""Rename: moving, replacing, NOREPLACE, EXCHANGE, cycles, link counts, cookies, times."""

import pytest

from ringfs.base.errors import Code
from ringfs.meta.namespace.ops import rename
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from tests.support.namespace import TrialNamespace, inline
from tests.support.refusals import refused

NOREPLACE, EXCHANGE = m.RENAME_NOREPLACE, m.RENAME_EXCHANGE


def cookies(trial: TrialNamespace, number: int) -> dict[bytes, int]:
    return {entry.name: entry.cookie for entry in trial.ask(q.ReadDirectory(number, 0, 4096)).entries}


def test_within_a_directory(trial: TrialNamespace) -> None:
    """The name changes; the entry keeps its place, so that a reader that renames what it reads comes to an end."""
    inode = trial.file(b"a")
    trial.file(b"z")
    before = cookies(trial, 1)[b"a"]
    outcome = trial.outcome(m.Rename(1, b"a", 1, b"b", 0))
    assert trial.names() == [b"b", b"z"]
    assert cookies(trial, 1)[b"b"] == before
    assert outcome.answer.parent == outcome.answer.new_parent == trial.attributes(1)
    assert (outcome.answer.moved.inode, outcome.answer.other) == (inode, None)
    assert outcome.touched == {1, inode}


def test_between_directories(trial: TrialNamespace) -> None:
    """Both directories and the inode change now; the entry comes last in its new directory."""
    a, b = trial.directory(b"a"), trial.directory(b"b")
    inode = trial.file(b"f", a)
    trial.file(b"old", b)
    answer = trial.do(m.Rename(a, b"f", b, b"g", 0))
    assert (trial.names(a), trial.names(b)) == ([], [b"old", b"g"])
    for attributes in (answer.parent, answer.new_parent, answer.moved):
        assert attributes.ctime_ns == trial.now_ns
        assert attributes == trial.attributes(attributes.inode)
    assert answer.moved.mtime_ns < trial.now_ns
    assert trial.attributes(inode).links == 1


def test_directory_moves(trial: TrialNamespace) -> None:
    """Its parents' links follow, its ".." leads to the new one."""
    a, b = trial.directory(b"a"), trial.directory(b"b")
    moved = trial.directory(b"d", a)
    trial.do(m.Rename(a, b"d", b, b"e", 0))
    assert (trial.attributes(a).links, trial.attributes(b).links) == (2, 3)
    assert trial.ask(q.Lookup(moved, b"..")).attributes.inode == b


def test_replaces_a_file(trial: TrialNamespace) -> None:
    """What had the name is gone, and answered as gone."""
    moved, replaced = trial.file(b"a"), trial.file(b"b")
    trial.commit(replaced, inline(0, b"data"))
    outcome = trial.outcome(m.Rename(1, b"a", 1, b"b", 0))
    assert (outcome.answer.other.inode, outcome.answer.other.links) == (replaced, 0)
    assert outcome.touched == {1, moved, replaced}
    assert not trial.exists(replaced)
    assert trial.names() == [b"b"]


def test_replaced_file_is_held(trial: TrialNamespace) -> None:
    """A holder keeps it, as with unlink."""
    trial.file(b"a")
    replaced = trial.file(b"b")
    trial.do(m.Rename(1, b"a", 1, b"b", 0), holders=[trial.session])
    assert trial.attributes(replaced).links == 0


def test_replaced_file_has_another_name(trial: TrialNamespace) -> None:
    """Then it only loses this one."""
    trial.file(b"a")
    replaced = trial.file(b"b")
    trial.do(m.Link(replaced, 1, b"c"))
    trial.do(m.Rename(1, b"a", 1, b"b", 0))
    assert trial.attributes(replaced).links == 1


def test_replaces_an_empty_directory(trial: TrialNamespace) -> None:
    """In the same directory the parent loses a link, between two the new one keeps its count."""
    a, b = trial.directory(b"a"), trial.directory(b"b")
    trial.directory(b"d", a)
    trial.directory(b"e", b)
    trial.do(m.Rename(a, b"d", b, b"e", 0))
    assert (trial.attributes(a).links, trial.attributes(b).links) == (2, 3)
    trial.do(m.Rename(1, b"a", 1, b"c", 0))
    trial.directory(b"x")
    trial.do(m.Rename(1, b"x", 1, b"c", 0))
    assert trial.attributes(1).links == 4


def test_types_must_match(trial: TrialNamespace) -> None:
    """A file does not replace a directory, nor a directory a file; a full directory is NOT_EMPTY."""
    trial.file(b"f")
    trial.directory(b"d")
    trial.file(b"x", trial.directory(b"full"))
    with refused(Code.IS_DIRECTORY):
        trial.do(m.Rename(1, b"f", 1, b"d", 0))
    with refused(Code.NOT_DIRECTORY):
        trial.do(m.Rename(1, b"d", 1, b"f", 0))
    with refused(Code.NOT_EMPTY):
        trial.do(m.Rename(1, b"d", 1, b"full", 0))
    with refused(Code.IS_DIRECTORY):
        trial.do(m.Rename(1, b"f", 1, b"full", 0))


def test_onto_its_own_ancestor(trial: TrialNamespace) -> None:
    """What would replace the directory that holds it is NOT_EMPTY, be it a file or a directory."""
    a = trial.directory(b"a")
    trial.file(b"f", a)
    trial.directory(b"d", a)
    for name in (b"f", b"d"):
        with refused(Code.NOT_EMPTY):
            trial.do(m.Rename(a, name, 1, b"a", 0))


def test_cycles(trial: TrialNamespace) -> None:
    """A directory never comes below itself, however deep, in either direction of an exchange."""
    a = trial.directory(b"a")
    b = trial.directory(b"b", a)
    c = trial.directory(b"c", b)
    for destination in (a, b, c):
        with refused(Code.INVALID):
            trial.do(m.Rename(1, b"a", destination, b"x", 0))
    with refused(Code.INVALID):
        trial.do(m.Rename(1, b"a", b, b"c", EXCHANGE))
    with refused(Code.INVALID):
        trial.do(m.Rename(b, b"c", 1, b"a", EXCHANGE))
    trial.do(m.Rename(b, b"c", 1, b"c", 0))
    trial.do(m.Rename(1, b"a", c, b"a", 0))


def test_same_inode(trial: TrialNamespace) -> None:
    """Two names of one inode, or a name and itself: nothing happens, nothing changes."""
    inode = trial.file(b"a")
    trial.do(m.Link(inode, 1, b"b"))
    for new_name, flags in ((b"b", 0), (b"a", 0), (b"b", EXCHANGE)):
        outcome = trial.outcome(m.Rename(1, b"a", 1, new_name, flags))
        assert outcome.answer.moved.inode == outcome.answer.other.inode == inode
        assert not outcome.changed
    assert trial.names() == [b"a", b"b"]
    with refused(Code.EXISTS):
        trial.do(m.Rename(1, b"a", 1, b"b", NOREPLACE))


def test_noreplace(trial: TrialNamespace) -> None:
    """EXISTS over anything, "." and ".." too; else as without."""
    trial.file(b"a")
    trial.directory(b"d")
    for name in (b"d", b".", b".."):
        with refused(Code.EXISTS):
            trial.do(m.Rename(1, b"a", 1, name, NOREPLACE))
    trial.do(m.Rename(1, b"a", 1, b"b", NOREPLACE))


def test_exchange(trial: TrialNamespace) -> None:
    """Each gets the other's name and place; links of parents follow the directory; all four change now."""
    a, b = trial.directory(b"a"), trial.directory(b"b")
    file, directory = trial.file(b"f", a), trial.directory(b"d", b)
    places = cookies(trial, a)[b"f"], cookies(trial, b)[b"d"]
    answer = trial.do(m.Rename(a, b"f", b, b"d", EXCHANGE))
    assert (trial.ask(q.Lookup(a, b"f")).attributes.inode, trial.ask(q.Lookup(b, b"d")).attributes.inode) == (directory, file)
    assert (trial.attributes(a).links, trial.attributes(b).links) == (3, 2)
    assert (cookies(trial, a)[b"f"], cookies(trial, b)[b"d"]) == places
    assert trial.ask(q.Lookup(directory, b"..")).attributes.inode == a
    assert {x.ctime_ns for x in (answer.parent, answer.new_parent, answer.moved, answer.other)} == {trial.now_ns}
    trial.do(m.Rename(b, b"d", a, b"f", EXCHANGE))
    trial.do(m.Rename(a, b"f", b, b"d", EXCHANGE))
    assert (trial.attributes(a).links, trial.attributes(b).links) == (3, 2)


def test_exchange_in_one_directory(trial: TrialNamespace) -> None:
    """A file and a directory side by side."""
    file, directory = trial.file(b"f"), trial.directory(b"d")
    trial.do(m.Rename(1, b"f", 1, b"d", EXCHANGE))
    assert (trial.ask(q.Lookup(1, b"d")).attributes.inode, trial.ask(q.Lookup(1, b"f")).attributes.inode) == (file, directory)


def test_refused(trial: TrialNamespace) -> None:
    """No source, no other to exchange with, flags that do not exist or go together."""
    trial.file(b"a")
    with refused(Code.NOT_FOUND):
        trial.do(m.Rename(1, b"x", 1, b"y", 0))
    with refused(Code.NOT_FOUND):
        trial.do(m.Rename(1, b"a", 1, b"y", EXCHANGE))
    for flags in (NOREPLACE | EXCHANGE, m.RENAME_WHITEOUT | EXCHANGE, 8):
        with refused(Code.INVALID):
            trial.do(m.Rename(1, b"a", 1, b"b", flags))


def test_too_many_links(trial: TrialNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory cannot come where LINKS_MAX links are; replacing one there it can."""
    monkeypatch.setattr(rename, "LINKS_MAX", 3)
    a = trial.directory(b"a")
    trial.directory(b"x", a)
    trial.directory(b"d")
    with refused(Code.TOO_MANY_LINKS):
        trial.do(m.Rename(1, b"d", a, b"d", 0))
    trial.do(m.Rename(1, b"d", a, b"x", 0))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("replaces", [False, True])
def test_whiteout(trial: TrialNamespace, across: bool, replaces: bool) -> None:
    """A device 0:0 without permissions is left in the old place."""
    place = trial.directory(b"d") if across else 1
    file = trial.file(b"a")
    if replaces:
        trial.file(b"b", place)
    trial.do(m.Rename(1, b"a", place, b"b", m.RENAME_WHITEOUT))
    assert trial.ask(q.Lookup(place, b"b")).attributes.inode == file
    left = trial.ask(q.Lookup(1, b"a")).attributes
    assert (left.mode, left.rdev, left.links) == (0o020000, 0, 1)


def test_whiteout_with_other_flags(trial: TrialNamespace) -> None:
    """NOREPLACE goes with it, EXCHANGE does not."""
    trial.file(b"a")
    trial.file(b"b")
    with refused(Code.EXISTS):
        trial.do(m.Rename(1, b"a", 1, b"b", m.RENAME_WHITEOUT | m.RENAME_NOREPLACE))
    with refused(Code.INVALID):
        trial.do(m.Rename(1, b"a", 1, b"b", m.RENAME_WHITEOUT | m.RENAME_EXCHANGE))
