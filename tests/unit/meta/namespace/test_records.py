"""The namespace's bytes: a recorded example of every row, and each record there and back."""

from pathlib import Path
from unittest.mock import patch

import pytest

from ringfs.base.errors import UserError
from ringfs.meta.namespace import acl, facts, keys, records, system
from ringfs.meta.namespace.records import pack_usage, unpack_attributes, unpack_counters, unpack_inode, unpack_usage
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.cluster import NODE_DOWN
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.messages.heal import ReplaceDisk
from ringfs.wire.messages.locks import SetLock
from ringfs.wire.messages.quota import SetQuota
from ringfs.wire.packing import pack
from tests.support.locks import READ, WRITE, ranged, whole
from tests.support.namespace import TrialNamespace, hole, inline, object_id, piece_of

#: Lines of "key value" in hex, in order of key. Recorded from history(); a change of it is a change of the format.
GOLDEN = Path(__file__).with_name("namespace.v2.hex")


def history() -> TrialNamespace:
    """A namespace with every kind of row in it."""
    trial = TrialNamespace()
    directory = trial.directory(b"directory", uid=0, gid=100)
    file = trial.file(b"file \xff", directory)
    trial.symlink(b"symlink", b"file")
    trial.file(b"device", mode=0o060660, rdev=0x0801)
    trial.do(m.Link(file, 1, b"link"))
    trial.do(m.SetXattr(file, b"user.a", b"\1\2", 0, False))
    trial.do(m.SetXattr(directory, acl.DEFAULT, acl.serialize(plain_acl()), 0, False))
    objects = [trial.new_object(1, 5000), trial.new_object(2, 7)]
    trial.commit(file, inline(0, b"abc"), piece_of(1, 3, 4000, 2), hole(2000, 8), piece_of(1, (1 << 26) + 5, 6), objects=objects)
    trial.file(b"orphan")
    trial.do(m.Unlink(1, b"orphan"), holders=[trial.session])
    huge = trial.file(b"huge")
    trial.commit(huge, *[inline(index << 26, b"x") for index in range(3)])
    with patch("ringfs.meta.namespace.work.RELEASED_EXTENTS_MAX", 1):
        trial.do(m.Unlink(1, b"huge"))
    for name in ("data1", "data2"):
        trial.system(system.EnterNode(f"uuid-{name}", name, f"{name}:7000", "rack", 100))
    trial.do(m.SetXattr(directory, CLASS_XATTR, b"replica:1", 0, False))
    trial.system(system.SetNodeState(2, NODE_DOWN))
    trial.system(ReplaceDisk("data2"))
    trial.system(system.MarkReaped(1, 1))
    trial.do(SetLock(ranged(file, 0xFEDC_BA98_7654_3210, WRITE, 0x4000_0000, 0x4000_01FD, pid=4711)))
    trial.do(SetLock(ranged(file, 0xFEDC_BA98_7654_3210, READ, 0x4000_0200)))
    trial.do(SetLock(whole(file, 5, READ)))
    trial.do(SetQuota(directory, 1 << 30, 1000))
    trial.do(m.ReserveInodes(100))
    return trial


def plain_acl() -> acl.Acl:
    return [acl.AclEntry(tag, bits, acl.UNDEFINED_ID) for tag, bits in ((acl.USER_OBJ, 7), (acl.GROUP_OBJ, 5), (acl.OTHER, 0))]


def recorded() -> dict[bytes, bytes]:
    lines = (line.split() for line in GOLDEN.read_text().splitlines())
    return {bytes.fromhex(key): bytes.fromhex(value) for key, value in lines}


def test_golden() -> None:
    """The same history gives the recorded bytes, in which every family occurs."""
    made = history().view.pairs()
    assert made == recorded()
    assert {key[:1] for key in made} == {*keys.FAMILIES, b"M"}
    assert {key for key in made if key[:1] == b"M"} == set(keys.SINGLE_ROWS)


def test_inodes_there_and_back() -> None:
    """Packing what was unpacked gives the same bytes; attributes are the inode's."""
    for key, value in recorded().items():
        if key[:1] == keys.INODE:
            inode = unpack_inode(keys.number_at(key, 1), value)
            assert inode.pack() == value
            assert inode.attributes() == unpack_attributes(inode.number, value)


def test_counters_there_and_back() -> None:
    """Packing what was unpacked gives the same bytes."""
    value = recorded()[keys.COUNTERS]
    assert unpack_counters(value).pack() == value


def test_usage_there_and_back() -> None:
    """With limits and without: packing what was unpacked gives the same bytes."""
    rows = [value for key, value in recorded().items() if key[:1] == keys.USAGE]
    assert {len(unpack_usage(value)) for value in rows} == {3, 5}
    assert [pack_usage(unpack_usage(value)) for value in rows] == rows


def test_keys_sort_as_numbers() -> None:
    """Big-endian numbers: directories, chunks and cookies are ranges in order."""
    numbers = [0, 1, 255, 256, 65535, 1 << 32, (1 << 64) - 1]
    for make in (keys.inode, keys.condemned, keys.session, lambda n: keys.cookie(5, n), lambda n: keys.reply(n, 0)):
        assert sorted(map(make, numbers)) == list(map(make, numbers))
    assert keys.dentry(1, b"\xff" * 255) < keys.dentry(2, b"")
    assert keys.reference(object_id(1), keys.chunk(2, 3)[1:]) == b"R" + object_id(1) + bytes(7) + b"\2" + bytes(3) + b"\3"


def test_another_format() -> None:
    """A view that another version formatted is refused, with what to do."""
    trial = history()
    facts.check_format(trial.view)
    trial.view.put(keys.FORMAT, pack(records.FORMAT_VERSION + 1))
    with pytest.raises(UserError, match="format 3"):
        facts.check_format(trial.view)
