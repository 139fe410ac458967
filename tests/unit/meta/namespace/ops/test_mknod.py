"""Mknod: types, modes, umask, what comes with a file, and opening what is there already."""

import pytest

from ringfs.base.errors import Code
from ringfs.wire.messages import namespace as m
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused


@pytest.mark.parametrize("kind", [0o010000, 0o020000, 0o060000, 0o100000, 0o140000])
def test_types(trial: TrialNamespace, kind: int) -> None:
    """Fifo, character device, block device, file and socket; rdev only for devices."""
    attributes = trial.attributes(trial.file(b"a", mode=kind | 0o640, rdev=0x0102))
    assert attributes.mode == kind | 0o640
    assert attributes.rdev == (0x0102 if kind in (0o020000, 0o060000) else 0)


def test_fresh_attributes(trial: TrialNamespace) -> None:
    """One link, no bytes, all times now, the caller's ids."""
    got = trial.attributes(trial.file(b"a", uid=5, gid=6))
    assert (got.uid, got.gid, got.links, got.size_bytes, got.stored_bytes, got.xattr_count) == (5, 6, 1, 0, 0, 0)
    assert {got.atime_ns, got.mtime_ns, got.ctime_ns, got.btime_ns} == {trial.now_ns}


def test_no_type_is_a_file(trial: TrialNamespace) -> None:
    """As mknod(2): type 0 is a regular file."""
    assert trial.attributes(trial.file(b"a", mode=0o600)).mode == 0o100600


@pytest.mark.parametrize(
    ("mode", "code"), [(0o040755, Code.NOT_PERMITTED), (0o120777, Code.INVALID), (0o030644, Code.INVALID), (0o170644, Code.INVALID)]
)
def test_types_refused(trial: TrialNamespace, mode: int, code: Code) -> None:
    """Directories and symlinks are not made by mknod, and other types do not exist."""
    with refused(code):
        trial.file(b"a", mode=mode)


def test_umask_and_high_bits(trial: TrialNamespace) -> None:
    """The umask takes permission bits only; suid, sgid and sticky pass."""
    assert trial.attributes(trial.file(b"a", mode=0o107777, umask=0o7027)).mode == 0o107750


def test_inode_numbers_are_never_reused(trial: TrialNamespace) -> None:
    """A removed file's number does not come back."""
    first = trial.file(b"a")
    trial.do(m.Unlink(1, b"a"))
    assert trial.file(b"a") == first + 1


def test_not_exclusive_answers_what_is_there(trial: TrialNamespace) -> None:
    """The regular file of that name, unchanged; nothing is written."""
    there = trial.file(b"a", mode=0o100600)
    outcome = trial.outcome(m.Mknod(1, b"a", 0o100777, 0, 0, 0, 0, 2, False))
    assert (outcome.answer.attributes.inode, outcome.answer.attributes.mode) == (there, 0o100600)
    assert (outcome.touched, outcome.changed) == (set(), False)
    assert trial.file(b"b", exclusive=False) == there + 1


def test_not_exclusive_over_something_else(trial: TrialNamespace) -> None:
    """A directory IS_DIRECTORY; other types EXIST; and only regular files are asked for without O_EXCL."""
    trial.directory(b"d")
    trial.symlink(b"s")
    trial.file(b"f")
    with refused(Code.IS_DIRECTORY):
        trial.file(b"d", exclusive=False)
    with refused(Code.EXISTS):
        trial.file(b"s", exclusive=False)
    with refused(Code.EXISTS):
        trial.file(b"f", mode=0o010644, exclusive=False)
