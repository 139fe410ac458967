"""Questions: lookups, readdir that stays right while entries come and go, xattrs, extents."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES, INLINE_CHUNK_BYTES_MAX
from ringfs.meta.namespace import facts
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.schema import decode, encode
from tests.support.namespace import TrialNamespace, inline
from tests.support.refusals import refused


def test_lookup(trial: TrialNamespace) -> None:
    """An entry with its directory; no attributes for no name; "." and ".."."""
    a = trial.directory(b"a")
    f = trial.file(b"f", a)
    found = trial.ask(q.Lookup(a, b"f"))
    assert found == m.Entry(trial.attributes(f), trial.attributes(a), True, True)
    assert trial.ask(q.Lookup(a, b"g")).attributes is None
    assert trial.ask(q.Lookup(a, b".")).attributes.inode == a
    assert trial.ask(q.Lookup(a, b"..")).attributes.inode == 1
    assert trial.ask(q.Lookup(1, b"..")).attributes.inode == 1


def test_lookup_refused(trial: TrialNamespace) -> None:
    """STALE, NOT_DIRECTORY, NAME_TOO_LONG."""
    file = trial.file(b"f")
    with refused(Code.STALE):
        trial.ask(q.Lookup(99, b"f"))
    with refused(Code.NOT_DIRECTORY):
        trial.ask(q.Lookup(file, b"f"))
    with refused(Code.NAME_TOO_LONG):
        trial.ask(q.Lookup(1, b"n" * 256))


@pytest.mark.parametrize(
    "question",
    [
        q.GetAttributes(99),
        q.ReadDirectory(99, 0, 1),
        q.ReadLink(99),
        q.GetXattr(99, b"user.a"),
        q.ListXattrs(99),
        q.ReadExtents(99, 0, 1),
    ],
)
def test_unknown_inode(trial: TrialNamespace, question: object) -> None:
    """STALE, whatever is asked."""
    with refused(Code.STALE):
        trial.ask(question)


def test_read_directory_in_pages(trial: TrialNamespace) -> None:
    """In order of creation, each entry with its attributes, pages that end where more begins."""
    for index in range(5):
        trial.file(b"%d" % index)
    first = trial.ask(q.ReadDirectory(1, 0, 2))
    assert first.directory == trial.attributes(1)
    assert ([entry.name for entry in first.entries], first.more) == ([b"0", b"1"], True)
    assert first.entries[0].attributes == trial.attributes(first.entries[0].attributes.inode)
    rest = trial.ask(q.ReadDirectory(1, first.entries[-1].cookie, 3))
    assert ([entry.name for entry in rest.entries], rest.more) == ([b"2", b"3", b"4"], False)
    end = trial.ask(q.ReadDirectory(1, rest.entries[-1].cookie, 3))
    assert (end.entries, end.more) == ([], False)
    assert trial.ask(q.ReadDirectory(1, (1 << 64) - 1, 3)).entries == []
    assert len(trial.ask(q.ReadDirectory(1, 0, 0)).entries) == 1, "a page is never empty for want of a limit"


def test_cookies_while_entries_come_and_go(trial: TrialNamespace) -> None:
    """What stays is read once, though others are removed, made anew, replaced and renamed between two pages."""
    for index in range(6):
        trial.file(b"%d" % index)
    seen = [entry.name for entry in trial.ask(q.ReadDirectory(1, 0, 3)).entries]
    after = trial.ask(q.ReadDirectory(1, 0, 3)).entries[-1].cookie
    trial.do(m.Unlink(1, b"1"))
    trial.file(b"1")
    trial.do(m.Unlink(1, b"2"))
    trial.do(m.Rename(1, b"0", 1, b"zero", 0))
    trial.do(m.Rename(1, b"4", 1, b"5", 0))
    rest = [entry.name for entry in trial.ask(q.ReadDirectory(1, after, 100)).entries]
    assert (seen, rest) == ([b"0", b"1", b"2"], [b"3", b"5", b"1"])
    cookies = [entry.cookie for entry in trial.ask(q.ReadDirectory(1, 0, 100)).entries]
    assert cookies == sorted(set(cookies))
    assert cookies[-1] == 9, "no cookie was used twice"


def test_read_directory_of_a_file(trial: TrialNamespace) -> None:
    """NOT_DIRECTORY."""
    with refused(Code.NOT_DIRECTORY):
        trial.ask(q.ReadDirectory(trial.file(b"f"), 0, 1))


def test_read_link_of_a_file(trial: TrialNamespace) -> None:
    """INVALID, as readlink(2)."""
    with refused(Code.INVALID):
        trial.ask(q.ReadLink(trial.file(b"f")))


def test_extents_of_chunks(trial: TrialNamespace) -> None:
    """Exactly the chunks asked for."""
    file = trial.file(b"f")
    trial.commit(file, *[inline(index * CHUNK_BYTES + 5, b"abc") for index in range(4)])
    found = trial.ask(q.ReadExtents(file, 1, 2))
    assert found.attributes == trial.attributes(file)
    assert [extent.offset // CHUNK_BYTES for extent in found.extents] == [1, 2]
    assert trial.ask(q.ReadExtents(file, 4, 100)).extents == []
    assert trial.ask(q.ReadExtents(file, 0xFFFFFFFF, 0xFFFF)).extents == []
    assert trial.ask(q.ReadExtents(file, 0, 0)).extents == []


def test_extents_fit_a_frame(trial: TrialNamespace) -> None:
    """One chunk always fits; more than fit together are refused RANGE, and the client asks for fewer."""
    file = trial.file(b"f")
    for chunk in range(3):
        for index in range(15):
            trial.commit(file, inline(chunk * CHUNK_BYTES + index * INLINE_CHUNK_BYTES_MAX, b"x" * INLINE_CHUNK_BYTES_MAX))
    with refused(Code.RANGE):
        trial.ask(q.ReadExtents(file, 0, 3))
    answer = trial.ask(q.ReadExtents(file, 0, 2))
    assert decode(encode(answer)) == answer


def test_stat_fs(trial: TrialNamespace) -> None:
    """Inodes are counted, the root included."""
    trial.file(b"f")
    assert trial.ask(q.StatFs(1)).inode_count == 2


def test_facts(trial: TrialNamespace) -> None:
    """What the server asks beside."""
    file = trial.file(b"f")
    assert (facts.cluster_id(trial.view), facts.default_class(trial.view)) == ("11111111-2222-3333-4444-555555555555", "replica:2")
    assert (facts.child_number(trial.view, 1, b"f"), facts.child_number(trial.view, 1, b"g")) == (file, None)
    assert (facts.has_session(trial.view, 1), facts.has_session(trial.view, 2)) == (True, False)
