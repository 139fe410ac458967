"""Clone: everything that an inode is, under another name; content by reference."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES, COPIED_EXTENTS_MAX
from ringfs.meta.namespace import acl
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.content import Clone
from tests.support.namespace import TrialNamespace, inline, piece_of
from tests.support.refusals import refused


def clone(trial: TrialNamespace, source: int, name: bytes = b"clone", parent: int = 1) -> Attributes:
    entry: m.Entry = trial.do(Clone(source, parent, name))
    assert entry.attributes is not None
    assert entry.attributes == trial.attributes(entry.attributes.inode)
    assert entry.parent == trial.attributes(parent)
    return entry.attributes


def set_times(trial: TrialNamespace, inode: int) -> None:
    trial.do(m.Setattr(inode, m.SET_ATIME | m.SET_MTIME, 0, 0, 0, 0, 5, 6, 0, True))


def test_file(trial: TrialNamespace) -> None:
    """Mode with suid, owner, times, xattrs, ACL, extents; its ctime and btime are now, and it has one link."""
    inode = trial.file(b"file", mode=0o104750, uid=7, gid=8)
    trial.do(m.Link(inode, 1, b"link"))
    trial.commit(inode, piece_of(1, 0, 100), inline(200, b"data"), objects=[trial.new_object(1, 100)])
    trial.do(m.SetXattr(inode, b"user.a", b"value", 0, False))
    entries = [(acl.USER_OBJ, 7), (acl.USER, 6), (acl.GROUP_OBJ, 5), (acl.MASK, 5), (acl.OTHER, 0)]
    trial.do(m.SetXattr(inode, acl.ACCESS, acl.serialize([acl.AclEntry(tag, bits, 5) for tag, bits in entries]), 0, False))
    trial.do(m.SetXattr(inode, b"security.capability", b"caps", 0, False))
    trial.do(m.Setattr(inode, m.SET_MODE, 0o4750, 0, 0, 0, 0, 0, 0, True))
    set_times(trial, inode)
    before = trial.attributes(inode)
    got = clone(trial, inode)
    for field in ("mode", "uid", "gid", "size_bytes", "stored_bytes", "rdev", "atime_ns", "mtime_ns", "xattr_count"):
        assert getattr(got, field) == getattr(before, field), field
    assert (got.links, got.ctime_ns, got.btime_ns) == (1, trial.now_ns, trial.now_ns)
    assert trial.extents(got.inode) == trial.extents(inode)
    for name in (b"user.a", acl.ACCESS, b"security.capability"):
        assert trial.ask(q.GetXattr(got.inode, name)) == trial.ask(q.GetXattr(inode, name))
    assert trial.attributes(inode) == before


def test_directory(trial: TrialNamespace) -> None:
    """An empty one with its attributes and default ACL, which the parent's default ACL does not touch."""
    inode = trial.directory(b"d", mode=0o1750)
    trial.file(b"child", inode)
    trial.do(m.SetXattr(inode, b"user.a", b"value", 0, False))
    parent = trial.directory(b"parent", mode=0o2777, gid=99)
    entries = [(acl.USER_OBJ, 7), (acl.GROUP_OBJ, 0), (acl.OTHER, 0)]
    trial.do(
        m.SetXattr(parent, acl.DEFAULT, acl.serialize([acl.AclEntry(*entry, acl.UNDEFINED_ID) for entry in entries]), 0, False)
    )
    got = clone(trial, inode, parent=parent)
    assert (got.mode, got.gid, got.size_bytes, got.links, got.xattr_count) == (0o041750, 1000, 0, 2, 1)
    assert trial.attributes(parent).links == 3
    trial.file(b"another", got.inode)
    assert trial.names(inode) == [b"child"]


def test_others(trial: TrialNamespace) -> None:
    """A symlink keeps its target, a device its number."""
    link = clone(trial, trial.symlink(b"s", b"over there"), b"t")
    assert (trial.ask(q.ReadLink(link.inode)).target, link.size_bytes) == (b"over there", 10)
    device = clone(trial, trial.file(b"device", mode=0o060660, rdev=0x0801), b"d")
    assert (device.mode, device.rdev) == (0o060660, 0x0801)


def test_large_file(trial: TrialNamespace) -> None:
    """With too many extents it is copied up to the beginning of a chunk."""
    inode = trial.file(b"a")
    trial.commit(inode, *[inline(index * 2, b"x") for index in range(COPIED_EXTENTS_MAX)], inline(CHUNK_BYTES, b"y"))
    assert clone(trial, inode).size_bytes == CHUNK_BYTES


@pytest.mark.parametrize(
    ("source", "parent", "name", "code"),
    [
        (999, 1, b"b", Code.STALE),
        (2, 999, b"b", Code.STALE),
        (2, 2, b"b", Code.NOT_DIRECTORY),
        (2, 1, b"a", Code.EXISTS),
        (2, 1, b"..", Code.EXISTS),
        (2, 1, b"n" * 256, Code.NAME_TOO_LONG),
        (2, 1, b"a/b", Code.INVALID),
    ],
)
def test_refused(trial: TrialNamespace, source: int, parent: int, name: bytes, code: Code) -> None:
    """As for anything that makes a name."""
    trial.file(b"a")
    with refused(code):
        clone(trial, source, name, parent)
