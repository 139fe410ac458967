"""SetQuota: limits of a directory, and what every operation does at them."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import QUOTA_MAX
from ringfs.meta.namespace import facts
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.quota import GetQuota, ListQuotas, Quota, SetQuota
from tests.support.namespace import TrialNamespace, hole, inline
from tests.support.refusals import refused


def set_quota(trial: TrialNamespace, directory: int, bytes_max: int = 0, files_max: int = 0) -> Quota:
    answer: Quota = trial.do(SetQuota(directory, bytes_max, files_max))
    return answer


def used(trial: TrialNamespace, directory: int) -> tuple[int, int]:
    answer: Quota = trial.ask(GetQuota(directory))
    return answer.bytes_used, answer.files_used


@pytest.fixture
def home(trial: TrialNamespace) -> int:
    """/home, with nothing in it."""
    return trial.directory(b"home")


def test_usage_is_known_before_anybody_asks(trial: TrialNamespace, home: int) -> None:
    """What was there before the quota counts at once, at any depth; the directory itself does not."""
    deep = trial.directory(b"deep", trial.directory(b"sub", home))
    trial.commit(trial.file(b"f", deep), inline(0, b"x" * 100), hole(100, 50))
    assert set_quota(trial, home, 1000, 10) == Quota(home, 100, 3, 1000, 10, b"/home")
    assert used(trial, deep) == (100, 1)
    assert used(trial, 1) == (100, 4)


def test_limits_come_change_and_go(trial: TrialNamespace, home: int) -> None:
    """They are counted and listed as long as they are there; setting what is set changes nothing."""
    set_quota(trial, home, 5)
    assert not trial.outcome(SetQuota(home, 5, 0)).changed
    set_quota(trial, home, 0, 7)
    assert facts.counters(trial.view).quota_count == 1
    assert [(each.directory, each.bytes_max, each.files_max) for each in trial.ask(ListQuotas(0, 10)).quotas] == [(home, 0, 7)]
    set_quota(trial, home)
    assert facts.counters(trial.view).quota_count == 0
    assert trial.ask(ListQuotas(0, 10)).quotas == []


def test_files_are_limited(trial: TrialNamespace, home: int) -> None:
    """Each way of making one; at any depth; a removal makes room."""
    below = trial.directory(b"below", home)
    set_quota(trial, home, files_max=2)
    trial.file(b"a", home)
    for operation in (
        m.Mknod(below, b"n", 0o100644, 0, 0, 0, 0, 0, True),
        m.Mkdir(below, b"n", 0o755, 0, 0, 0),
        m.Symlink(below, b"n", b"target", 0, 0),
        m.Rename(1, b"outside", below, b"n", 0),
    ):
        if isinstance(operation, m.Rename):
            trial.file(b"outside")
        with refused(Code.QUOTA):
            trial.do(operation)
    trial.do(m.Unlink(home, b"a"))
    trial.file(b"n", below)


def test_bytes_are_limited_file_by_file(trial: TrialNamespace, home: int) -> None:
    """A commit of several files takes those that fit; overwriting and holes always do; truncating makes room."""
    first, second, third = (trial.file(name, home) for name in (b"1", b"2", b"3"))
    set_quota(trial, home, 100)
    files = [
        m.FileCommit(inode, [inline(0, b"x" * size)], -1, -1, -1, 0, False)
        for inode, size in ((first, 60), (second, 41), (third, 40), (first, 60))
    ]
    answer = trial.do(m.Commit([], files))
    assert [file.code for file in answer.files] == [0, Code.QUOTA.number, 0, 0]
    assert trial.attributes(second).size_bytes == 0
    assert used(trial, home) == (100, 3)
    assert trial.commit(second, hole(0, 1000)).code == 0
    assert trial.commit(second, inline(0, b"y")).code == Code.QUOTA.number
    trial.do(m.Setattr(first, m.SET_SIZE, 0, 0, 0, 10, 0, 0, 0, True))
    assert trial.commit(second, inline(0, b"y" * 50)).code == 0


def test_what_is_over_its_limit(trial: TrialNamespace, home: int) -> None:
    """A limit below what is there takes nothing away: it refuses growth of what it limits, and nothing else."""
    file = trial.file(b"f", home)
    trial.commit(file, inline(0, b"x" * 100))
    assert set_quota(trial, home, 10).bytes_used == 100
    other = trial.file(b"empty", home)
    assert trial.commit(other, inline(0, b"x")).code == Code.QUOTA.number
    assert trial.commit(file, inline(10, b"y" * 20)).code == 0
    trial.do(m.Rename(home, b"f", home, b"g", 0))
    assert trial.commit(file, hole(0, 50)).code == 0


def test_the_nearest_is_not_the_only_one(trial: TrialNamespace, home: int) -> None:
    """All quotas on the way up count."""
    below = trial.directory(b"below", home)
    set_quota(trial, home, 10)
    set_quota(trial, below, 1000)
    assert trial.commit(trial.file(b"f", below), inline(0, b"x" * 11)).code == Code.QUOTA.number


def test_directories_come_with_all_below(trial: TrialNamespace, home: int) -> None:
    """A rename carries what is below over to where it goes, if it fits there; in an exchange, the difference."""
    tree = trial.directory(b"tree")
    trial.commit(trial.file(b"f", tree), inline(0, b"x" * 100))
    set_quota(trial, home, 99)
    with refused(Code.QUOTA):
        trial.do(m.Rename(1, b"tree", home, b"tree", 0))
    set_quota(trial, home, 100, 1)
    with refused(Code.QUOTA):
        trial.do(m.Rename(1, b"tree", home, b"tree", 0))
    set_quota(trial, home, 100, 2)
    trial.do(m.Rename(1, b"tree", home, b"tree", 0))
    assert (used(trial, home), used(trial, 1)) == ((100, 2), (100, 3))
    other = trial.directory(b"other")
    trial.commit(trial.file(b"f", other), inline(0, b"x" * 100))
    trial.do(m.Rename(1, b"other", home, b"tree", m.RENAME_EXCHANGE))
    assert (used(trial, home), used(trial, 1)) == ((100, 2), (200, 5))


def test_names_in_two_quotas(trial: TrialNamespace, home: int) -> None:
    """No file gets names in and outside of a quota, by link or by rename; within one, and where there are none, all is as ever."""
    below = trial.directory(b"below", home)
    file, free = trial.file(b"f", home), trial.file(b"free")
    trial.do(m.Link(free, 1, b"free2"))
    set_quota(trial, home, 1000)
    trial.do(m.Link(file, below, b"g"))
    assert used(trial, home) == (0, 2)
    for operation in (
        m.Link(file, 1, b"x"),
        m.Link(free, home, b"x"),
        m.Rename(below, b"g", 1, b"x", 0),
        m.Rename(1, b"free2", home, b"x", 0),
        m.Rename(1, b"free2", home, b"f", m.RENAME_EXCHANGE),
    ):
        with refused(Code.CROSSES_QUOTA):
            trial.do(operation)
    trial.do(m.Rename(home, b"below", 1, b"below", 0))


def test_a_removal_is_never_refused(trial: TrialNamespace, home: int) -> None:
    """A file that had names on both sides before the quota comes in when its name outside goes, even if it does not fit."""
    file = trial.file(b"outside")
    trial.do(m.Link(file, home, b"inside"))
    trial.commit(file, inline(0, b"x" * 100))
    set_quota(trial, home, 10, 1)
    assert used(trial, home) == (0, 0)
    trial.file(b"other")
    trial.do(m.Rename(1, b"other", 1, b"outside", 0))
    assert used(trial, home) == (100, 1)
    with refused(Code.QUOTA):
        trial.file(b"more", home)


def test_what_has_no_name_counts_nowhere(trial: TrialNamespace, home: int) -> None:
    """An unlinked file that is still open gives its room back at once."""
    file = trial.file(b"f", home)
    trial.commit(file, inline(0, b"x" * 100))
    set_quota(trial, home, 100, 1)
    trial.do(m.Unlink(home, b"f"), holders=[trial.session])
    assert used(trial, home) == (0, 0)
    assert trial.commit(file, inline(100, b"y" * 100)).code == 0


def test_removed_directories_lose_their_quota(trial: TrialNamespace, home: int) -> None:
    """Nothing of it is left."""
    set_quota(trial, home, 10)
    trial.do(m.Rmdir(1, b"home"), holders=[trial.session])
    assert facts.counters(trial.view).quota_count == 0
    with refused(Code.NOT_FOUND):
        set_quota(trial, home, 10)


def test_refusals(trial: TrialNamespace, home: int) -> None:
    """What is no directory, or a limit that is none."""
    with refused(Code.NOT_DIRECTORY):
        set_quota(trial, trial.file(b"f"), 1)
    with refused(Code.STALE):
        set_quota(trial, 99, 1)
    with refused(Code.INVALID):
        set_quota(trial, home, QUOTA_MAX + 1)
