"""Setattr: each field, truncation to the byte, privileges, ACLs, times."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES, FILE_BYTES_MAX
from ringfs.meta.namespace import acl, facts
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import Attributes
from tests.support.namespace import TrialNamespace, inline, piece_of
from tests.support.refusals import refused


def setattr(trial: TrialNamespace, inode: int, valid: int, **fields: int) -> Attributes:
    """Privileged unless said otherwise."""
    given = {"mode": 0, "uid": 0, "gid": 0, "size_bytes": 0, "atime_ns": 0, "mtime_ns": 0, "ctime_ns": 0, "privileged": True}
    answer: Attributes = trial.do(m.Setattr(inode, valid, **(given | fields)))  # type: ignore[arg-type]
    assert answer == trial.attributes(inode)
    return answer


def test_mode(trial: TrialNamespace) -> None:
    """All twelve bits; the type stays; ctime is now, mtime is not."""
    inode = trial.file(b"a")
    got = setattr(trial, inode, m.SET_MODE, mode=0o047123)
    assert got.mode == 0o107123
    assert got.ctime_ns == trial.now_ns > got.mtime_ns


def test_owner_and_group(trial: TrialNamespace) -> None:
    """Each alone."""
    inode = trial.file(b"a", uid=1, gid=2)
    assert setattr(trial, inode, m.SET_UID, uid=7).uid == 7
    got = setattr(trial, inode, m.SET_GID, gid=8)
    assert (got.uid, got.gid) == (7, 8)


def test_times(trial: TrialNamespace) -> None:
    """Given, or now; before 1970 too; a given ctime counts."""
    inode = trial.file(b"a")
    got = setattr(trial, inode, m.SET_ATIME | m.SET_MTIME, atime_ns=-5, mtime_ns=6)
    assert (got.atime_ns, got.mtime_ns, got.ctime_ns) == (-5, 6, trial.now_ns)
    got = setattr(trial, inode, m.SET_ATIME | m.SET_ATIME_NOW | m.SET_MTIME_NOW, atime_ns=9)
    assert (got.atime_ns, got.mtime_ns) == (trial.now_ns, trial.now_ns)
    assert setattr(trial, inode, m.SET_CTIME, ctime_ns=11).ctime_ns == 11


def test_change_grows(trial: TrialNamespace) -> None:
    """With every Setattr, even one of no field."""
    inode = trial.file(b"a")
    before = trial.attributes(inode).change
    assert setattr(trial, inode, 0).change == before + 1


def test_truncate_up_and_down(trial: TrialNamespace) -> None:
    """Up: a hole. Down: extents are cut at the byte, an object that nothing points to any more is condemned."""
    inode = trial.file(b"a")
    trial.commit(inode, piece_of(1, 0, 1000), inline(1000, b"x" * 100), objects=[trial.new_object(1, 1000)])
    got = setattr(trial, inode, m.SET_SIZE, size_bytes=5000)
    assert (got.size_bytes, got.stored_bytes, got.mtime_ns) == (5000, 1100, trial.now_ns)
    assert setattr(trial, inode, m.SET_SIZE, size_bytes=1050).stored_bytes == 1050
    assert trial.extents(inode) == [(0, 1000, 0, trial.new_object(1, 1).object), (1000, 50, m.INLINE, b"x" * 50)]
    assert setattr(trial, inode, m.SET_SIZE, size_bytes=400).stored_bytes == 400
    figures = facts.counters(trial.view)
    assert figures.live_bytes + figures.dead_bytes == 1000
    assert setattr(trial, inode, m.SET_SIZE, size_bytes=0).stored_bytes == 0
    assert trial.extents(inode) == []
    assert [key for key in trial.view.pairs() if key[:1] == b"V"]


def test_truncate_across_chunks(trial: TrialNamespace) -> None:
    """Whole chunks go, the one that is cut keeps its beginning; at a chunk's boundary none is cut."""
    inode = trial.file(b"a")
    trial.commit(inode, *[inline(index * CHUNK_BYTES, b"data") for index in range(4)])
    setattr(trial, inode, m.SET_SIZE, size_bytes=2 * CHUNK_BYTES + 2)
    assert trial.extents(inode)[-1] == (2 * CHUNK_BYTES, 2, m.INLINE, b"da")
    setattr(trial, inode, m.SET_SIZE, size_bytes=CHUNK_BYTES)
    assert trial.extents(inode) == [(0, 4, m.INLINE, b"data")]
    assert setattr(trial, inode, m.SET_SIZE, size_bytes=FILE_BYTES_MAX).stored_bytes == 4
    assert setattr(trial, inode, m.SET_SIZE, size_bytes=FILE_BYTES_MAX - 1).stored_bytes == 4


def test_truncate_with_mtime(trial: TrialNamespace) -> None:
    """A given mtime counts."""
    assert setattr(trial, trial.file(b"a"), m.SET_SIZE | m.SET_MTIME, size_bytes=1, mtime_ns=3).mtime_ns == 3


def test_sizes_refused(trial: TrialNamespace) -> None:
    """Too big, or of a directory, a symlink, a fifo."""
    for inode, code in (
        (trial.file(b"a"), Code.FILE_TOO_BIG),
        (trial.directory(b"d"), Code.IS_DIRECTORY),
        (trial.symlink(b"s"), Code.INVALID),
        (trial.file(b"p", mode=0o010644), Code.INVALID),
    ):
        with refused(code):
            setattr(trial, inode, m.SET_SIZE, size_bytes=FILE_BYTES_MAX + 1)


def test_others_refused(trial: TrialNamespace) -> None:
    """No inode, an id of -1, a symlink's mode, fields that do not exist."""
    inode = trial.file(b"a")
    with refused(Code.STALE):
        setattr(trial, 999, m.SET_MODE)
    with refused(Code.INVALID):
        setattr(trial, inode, m.SET_UID, uid=0xFFFFFFFF)
    with refused(Code.INVALID):
        setattr(trial, inode, m.SET_GID, gid=0xFFFFFFFF)
    with refused(Code.INVALID):
        setattr(trial, inode, 1024)
    with refused(Code.NOT_SUPPORTED):
        setattr(trial, trial.symlink(b"s"), m.SET_MODE)


@pytest.mark.parametrize(
    ("valid", "privileged", "kind", "before", "after"),
    [
        (m.SET_UID, True, "file", 0o6755, 0o0755),
        (m.SET_GID, False, "file", 0o6755, 0o0755),
        (m.SET_UID, False, "file", 0o6745, 0o2745),
        (m.SET_UID, True, "directory", 0o6755, 0o6755),
        (m.SET_SIZE, False, "file", 0o6755, 0o0755),
        (m.SET_SIZE, False, "file", 0o6745, 0o2745),
        (m.SET_SIZE, True, "file", 0o6755, 0o6755),
        (m.KILL_PRIVILEGES, False, "file", 0o6755, 0o0755),
        (m.KILL_PRIVILEGES, False, "directory", 0o6755, 0o6755),
        (m.SET_UID | m.SET_MODE, True, "file", 0o6755, 0o4711),
    ],
)
def test_privileges(trial: TrialNamespace, valid: int, privileged: bool, kind: str, before: int, after: int) -> None:
    """chown takes suid and sgid of group-executable files from everybody, truncation and KILL_PRIVILEGES from the unprivileged; a
    directory keeps them, and a mode that is given counts."""
    inode = trial.file(b"a") if kind == "file" else trial.directory(b"a")
    setattr(trial, inode, m.SET_MODE, mode=before)
    assert setattr(trial, inode, valid, uid=9, gid=9, mode=0o4711, privileged=privileged).mode & 0o7777 == after


@pytest.mark.parametrize("valid", [m.SET_UID, m.SET_SIZE, m.KILL_PRIVILEGES])
def test_capabilities_go(trial: TrialNamespace, valid: int) -> None:
    """security.capability goes with a change of owner or content, whoever makes it."""
    inode = trial.file(b"a")
    trial.do(m.SetXattr(inode, b"security.capability", b"caps", 0, False))
    assert setattr(trial, inode, m.SET_MODE, mode=0o755).xattr_count == 1
    assert setattr(trial, inode, valid).xattr_count == 0


def test_chmod_and_acl(trial: TrialNamespace) -> None:
    """chmod changes owner, mask and other of the access ACL, and leaves named entries and the owning group alone."""
    inode = trial.file(b"a")
    entries = [(acl.USER_OBJ, 7), (acl.USER, 6), (acl.GROUP_OBJ, 5), (acl.MASK, 7), (acl.OTHER, 4)]
    trial.do(m.SetXattr(inode, acl.ACCESS, acl.serialize([acl.AclEntry(tag, bits, 5) for tag, bits in entries]), 0, False))
    assert trial.attributes(inode).mode & 0o777 == 0o774
    setattr(trial, inode, m.SET_MODE, mode=0o610)
    got = acl.parse(trial.ask(q.GetXattr(inode, acl.ACCESS)).value)
    assert [(entry.tag, entry.permissions) for entry in got] == [
        *((acl.USER_OBJ, 6), (acl.USER, 6), (acl.GROUP_OBJ, 5), (acl.MASK, 1), (acl.OTHER, 0)),
    ]
