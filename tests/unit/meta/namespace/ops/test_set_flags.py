"""SetFlags: who may set which, and what immutable and append-only then forbid, to everybody."""

from typing import Any

import pytest

from ringfs.base.errors import Code
from ringfs.meta.namespace import acl
from ringfs.wire.messages import content
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.files import FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOATIME, FLAG_NODUMP, SetFlags, Tmpfile
from ringfs.wire.messages.session import OPEN_WRITE
from tests.support.namespace import TrialNamespace, inline
from tests.support.refusals import refused

BOTH = [FLAG_IMMUTABLE, FLAG_APPEND]


def set_flags(trial: TrialNamespace, number: int, flags: int, *, is_privileged: bool = True) -> None:
    assert trial.do(SetFlags(number, flags, is_privileged)).flags == flags
    assert trial.attributes(number).flags == flags


def setattr(number: int, valid: int, **fields: int) -> m.Setattr:
    given = {"mode": 0, "uid": 0, "gid": 0, "size_bytes": 0, "atime_ns": 0, "mtime_ns": 0, "ctime_ns": 0} | fields
    return m.Setattr(number, valid, **given, privileged=True)


def all_refused(trial: TrialNamespace, *operations: Any) -> None:
    for operation in operations:
        with refused(Code.NOT_PERMITTED):
            trial.do(operation)


def all_done(trial: TrialNamespace, *operations: Any) -> None:
    for operation in operations:
        trial.do(operation)


def test_set_and_taken_back(trial: TrialNamespace) -> None:
    """ctime is now; flags of files and of directories."""
    for number in (trial.file(b"f"), trial.directory(b"d")):
        set_flags(trial, number, FLAG_IMMUTABLE | FLAG_NOATIME)
        assert trial.attributes(number).ctime_ns == trial.now_ns
        set_flags(trial, number, 0)


def test_who_may(trial: TrialNamespace) -> None:
    """Owners set nodump and noatime; immutable and append-only change by root's will alone."""
    file = trial.file(b"f")
    set_flags(trial, file, FLAG_NODUMP, is_privileged=False)
    all_refused(trial, SetFlags(file, FLAG_APPEND, False))
    set_flags(trial, file, FLAG_APPEND)
    set_flags(trial, file, FLAG_APPEND | FLAG_NOATIME, is_privileged=False)
    all_refused(trial, SetFlags(file, 0, False))


def test_refused(trial: TrialNamespace) -> None:
    """Other flags, symlinks, no inode."""
    for number, flags in ((trial.file(b"f"), 1), (trial.symlink(b"s"), FLAG_NODUMP)):
        with refused(Code.NOT_SUPPORTED):
            trial.do(SetFlags(number, flags, True))
    with refused(Code.STALE):
        trial.do(SetFlags(99, 0, True))


@pytest.mark.parametrize("flag", BOTH)
def test_a_file_that_is_kept(trial: TrialNamespace, flag: int) -> None:
    """It keeps mode, owner, size, xattrs and names."""
    file, other = trial.file(b"f"), trial.file(b"other")
    trial.commit(file, inline(0, b"content"))
    trial.do(m.SetXattr(file, b"user.a", b"1", 0, False))
    set_flags(trial, file, flag)
    all_refused(
        trial,
        setattr(file, m.SET_MODE, mode=0o600),
        setattr(file, m.SET_UID, uid=5),
        setattr(file, m.SET_GID, gid=5),
        setattr(file, m.SET_SIZE, size_bytes=1),
        m.SetXattr(file, b"user.a", b"2", 0, False),
        m.SetXattr(file, acl.ACCESS, b"", 0, False),
        m.RemoveXattr(file, b"user.a"),
        m.Link(file, 1, b"g"),
        m.Unlink(1, b"f"),
        m.Rename(1, b"f", 1, b"g", 0),
        m.Rename(1, b"other", 1, b"f", 0),
        m.Rename(1, b"other", 1, b"f", m.RENAME_EXCHANGE),
        content.Allocate(file, content.ZERO_RANGE, 0, 1, False),
    )
    set_flags(trial, file, 0)
    all_done(trial, m.Rename(1, b"other", 1, b"f", 0))
    assert (trial.exists(file), trial.exists(other)) == (False, True)


def test_content_of_an_immutable_file(trial: TrialNamespace) -> None:
    """Nothing new comes in, no time is set; bytes may go to another place, an access time may be told."""
    file, source = trial.file(b"f"), trial.file(b"source")
    trial.commit(file, inline(0, b"content"))
    trial.commit(source, inline(0, b"x"))
    set_flags(trial, file, FLAG_IMMUTABLE)
    assert trial.commit(file, inline(0, b"x")).code == Code.NOT_PERMITTED.number
    assert trial.commit(file, mtime_ns=5).code == Code.NOT_PERMITTED.number
    all_refused(
        trial,
        setattr(file, m.SET_MTIME, mtime_ns=5),
        setattr(file, m.SET_MTIME_NOW),
        content.Allocate(file, content.KEEP_SIZE, 0, 1, False),
        content.CopyRange(source, 0, file, 0, 1, False),
    )
    assert trial.commit(file, inline(0, b"content"), rewrite=True).code == 0
    assert trial.commit(file, atime_ns=trial.now_ns).code == 0
    all_done(trial, content.CopyRange(file, 0, source, 0, 7, False))


def test_content_of_an_append_only_file(trial: TrialNamespace) -> None:
    """It grows; what handles from before may write is their affair, as on Linux."""
    file = trial.file(b"f")
    set_flags(trial, file, FLAG_APPEND)
    assert trial.commit(file, inline(0, b"content")).code == 0
    all_done(trial, setattr(file, m.SET_MTIME_NOW), content.Allocate(file, content.KEEP_SIZE, 0, 100, False))


@pytest.mark.parametrize("flag", BOTH)
def test_entries_that_stay(trial: TrialNamespace, flag: int) -> None:
    """Nothing goes out of such a directory."""
    place = trial.directory(b"d")
    trial.file(b"f", place)
    trial.directory(b"sub", place)
    trial.file(b"outside")
    set_flags(trial, place, flag)
    all_refused(
        trial,
        m.Unlink(place, b"f"),
        m.Rmdir(place, b"sub"),
        m.Rename(place, b"f", place, b"g", 0),
        m.Rename(place, b"f", 1, b"f", 0),
        m.Rename(1, b"outside", place, b"f", 0),
        m.Rename(1, b"outside", place, b"f", m.RENAME_EXCHANGE),
        m.Rename(1, b"d", 1, b"e", 0),
        m.Rmdir(1, b"d"),
    )


def test_entries_that_come(trial: TrialNamespace) -> None:
    """Into an append-only directory, not into an immutable one; what exists there is said to exist."""
    place, file = trial.directory(b"d"), trial.file(b"f")
    trial.file(b"there", place)

    def comers(prefix: bytes) -> list[Any]:
        return [
            m.Mknod(place, prefix + b"1", 0o100644, 0, 0, 0, 0, 0, True),
            m.Mkdir(place, prefix + b"2", 0o755, 0, 0, 0),
            m.Symlink(place, prefix + b"3", b"target", 0, 0),
            m.Link(file, place, prefix + b"4"),
            content.Clone(file, place, prefix + b"5"),
            Tmpfile(place, 0o600, 0, 0, 0, OPEN_WRITE, True),
            m.Rename(1, prefix, place, prefix + b"6", 0),
        ]

    for name in (b"a", b"i"):
        trial.file(name)
    set_flags(trial, place, FLAG_APPEND)
    all_done(trial, *comers(b"a"))
    set_flags(trial, place, FLAG_IMMUTABLE)
    all_refused(trial, *comers(b"i"))
    with refused(Code.EXISTS):
        trial.do(m.Mkdir(place, b"there", 0o755, 0, 0, 0))
    trial.do(m.Mknod(place, b"there", 0o100644, 0, 0, 0, 0, 0, False))


def test_what_is_made_takes_over(trial: TrialNamespace) -> None:
    """nodump and noatime, of whatever type it is, and a whiteout; a clone takes over nothing, nor does what is moved there."""
    place, file = trial.directory(b"d"), trial.file(b"f")
    set_flags(trial, place, FLAG_APPEND | FLAG_NODUMP | FLAG_NOATIME)
    makers: list[Any] = [
        m.Mknod(place, b"1", 0o100644, 0, 0, 0, 0, 0, True),
        m.Mknod(place, b"2", 0o010644, 0, 0, 0, 0, 0, True),
        m.Mkdir(place, b"3", 0o755, 0, 0, 0),
        m.Symlink(place, b"4", b"target", 0, 0),
        Tmpfile(place, 0o600, 0, 0, 0, OPEN_WRITE, True),
    ]
    for maker in makers:
        assert trial.do(maker).attributes.flags == FLAG_NODUMP | FLAG_NOATIME
    set_flags(trial, place, FLAG_NOATIME)
    trial.do(m.Rename(place, b"1", place, b"5", m.RENAME_WHITEOUT))
    assert trial.do(m.Mknod(place, b"6", 0o100644, 0, 0, 0, 0, 0, True)).attributes.flags == FLAG_NOATIME
    whiteout = trial.ask(q.Lookup(place, b"1")).attributes
    assert (whiteout.mode, whiteout.flags) == (0o020000, FLAG_NOATIME)
    assert trial.do(content.Clone(file, place, b"7")).attributes.flags == 0
    trial.do(m.Rename(1, b"f", place, b"f", 0))
    assert trial.attributes(file).flags == 0
