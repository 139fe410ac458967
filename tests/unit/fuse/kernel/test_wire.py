"""The kernel's structures: captured requests are read field by field, replies have the kernel's sizes and places."""

import struct

import pytest

from ringfs.base.errors import Code
from ringfs.fuse.entry import KernelEntry
from ringfs.fuse.kernel import opcodes, wire
from ringfs.fuse.kernel.answers import changes_of
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.queries import FsFigures
from tests.support.fuse_requests import CAPTURED, captured
from tests.support.refusals import refused

KNOWN = Attributes(7, 0o100640, 5, 6, 2, 1000, 4097, 0, -1, 2_000_000_003, 4_000_000_005, 6_000_000_007, 9, 0, 0)
TOLD = KernelEntry(KNOWN, 1.5, 86400.0)
LARGE = 0x8000  # O_LARGEFILE


@pytest.mark.parametrize("name", CAPTURED)
def test_every_captured_request_is_in_the_table(name: str) -> None:
    """Under the number that the kernel used."""
    assert opcodes.BY_NUMBER[captured(name).opcode].name == name


@pytest.mark.parametrize(
    ("name", "layout", "expected"),
    [
        ("INIT", wire.INIT_IN, (7, 45, 0x20000, 0x73FFFFFB, 0x5FD)),
        ("MKDIR", wire.MKDIR_IN, (0o750, 0o022)),
        ("MKNOD", wire.MKNOD_IN, (0o100640, 0, 0o022, 0)),
        ("LINK", wire.LINK_IN, (7,)),
        ("RENAME", wire.RENAME_IN, (1,)),
        ("OPEN", wire.OPEN_IN, (LARGE | 2, 0)),
        ("CREATE", wire.CREATE_IN, (LARGE | 0o302, 0o100640, 0o022, 0)),
        ("SETXATTR", wire.SETXATTR_IN, (5, 1, 0, 0)),
        ("GETXATTR", wire.GETXATTR_IN, (128, 0)),
        ("LISTXATTR", wire.GETXATTR_IN, (256, 0)),
        ("LSEEK", wire.LSEEK_IN, (3, 1, 4, 0)),
        ("FALLOCATE", wire.FALLOCATE_IN, (3, 10, 20, 0, 0)),
        ("COPY_FILE_RANGE", wire.COPY_FILE_RANGE_IN, (3, 0, 7, 3, 3, 1, 0)),
        ("COPY_FILE_RANGE_64", wire.COPY_FILE_RANGE_IN, (3, 0, 7, 3, 3, 1, 0)),
        ("FSYNC", wire.FSYNC_IN, (3, 0, 0)),
        ("RELEASE", wire.RELEASE_IN, (3, LARGE | 2, 0, 0)),
    ],
)
def test_captured_fields(name: str, layout: struct.Struct, expected: tuple[int, ...]) -> None:
    """What the kernel put where, as the programs that made the system calls meant it."""
    assert captured(name).fields(layout) == expected


def test_captured_reads_and_writes() -> None:
    """Handle, offset and size; the data is what follows."""
    assert captured("READ").fields(wire.READ_IN)[:3] == (3, 2, 100)
    write = captured("WRITE")
    assert write.fields(wire.WRITE_IN)[:3] == (3, 3, 5)
    assert write.body[wire.WRITE_IN.size :] == b"bytes"
    assert captured("READDIRPLUS").fields(wire.READ_IN)[:3] == (3, 0, 1 << 20)
    assert captured("FLUSH").fields(wire.FLUSH_IN)[0] == 3


def test_captured_names() -> None:
    """One name, two names, a name and a value."""
    assert captured("LOOKUP").name() == b"directory"
    assert captured("MKDIR").name(wire.MKDIR_IN.size) == b"directory"
    assert captured("RENAME").names(wire.RENAME_IN.size) == (b"file", b"renamed")
    assert captured("SYMLINK").names(0) == (b"symlink", b"target")
    setxattr = captured("SETXATTR")
    assert setxattr.name(wire.SETXATTR_IN.size) == b"user.name"
    assert setxattr.body.endswith(b"\0value")


def test_captured_setattr() -> None:
    """chmod(0o600) changes the mode and nothing else."""
    changes = changes_of(captured("SETATTR"), privileged=True)
    assert (changes.mode, changes.uid, changes.gid, changes.size_bytes, changes.mtime_ns) == (0o600, None, None, None, None)
    assert changes.privileged


@pytest.mark.parametrize("name", ["SETATTR", "MKNOD", "CREATE", "WRITE", "RENAME"])
def test_what_is_too_short_is_refused(name: str) -> None:
    """A structure that is cut short is not read beyond its end, nor is a name without a NUL."""
    layouts = {"SETATTR": wire.SETATTR_IN, "MKNOD": wire.MKNOD_IN, "CREATE": wire.CREATE_IN, "WRITE": wire.WRITE_IN}
    request = captured(name)
    request.body = request.body[: layouts.get(name, wire.RENAME_IN).size - 1]
    with refused(Code.BAD_REQUEST):
        request.fields(layouts.get(name, wire.RENAME_IN))
    request.body = b"name"
    with refused(Code.BAD_REQUEST):
        request.names(0)


@pytest.mark.parametrize(
    ("packed", "size_bytes"),
    [
        (wire.pack_error(9, 2), 0),
        (wire.pack_entry(9, TOLD), 128),
        (wire.pack_absent(9, 1.0), 128),
        (wire.pack_attributes(9, TOLD), 104),
        (wire.pack_statx(9, TOLD), 288),
        (wire.pack_open(9, 3, 1), 16),
        (wire.pack_create(9, TOLD, 3, 1), 144),
        (wire.pack_written(9, 5), 8),
        (wire.pack_statfs(9, FsFigures(1 << 30, 1 << 29, 4, 0, 0)), 80),
        (wire.pack_xattr_size(9, 5), 8),
        (wire.pack_lock(9, 0, 1, 2, 3), 24),
        (wire.pack_offset(9, 5), 8),
        (wire.pack_init(9, 45, 131072, 1 << 36, wire.InitLimits()), 64),
        (wire.pack_inval_inode(7, 0, 0), 24),
        (wire.pack_inval_entry(1, b"name"), 16 + 5),
        (wire.pack_delete(1, 7, b"name"), 24 + 5),
        (wire.pack_store(7, 0, b"bytes"), 24 + 5),
        (wire.pack_increase_epoch(), 0),
        (wire.pack_resend(), 0),
    ],
)
def test_sizes_of_replies(packed: bytes, size_bytes: int) -> None:
    """The kernel takes no reply of another length; each says its own."""
    assert len(packed) == 16 + size_bytes == struct.unpack_from("=I", packed)[0]


def test_golden_attributes() -> None:
    """One entry, byte for byte: times before 1970 are negative seconds with nanoseconds after them."""
    expected = struct.pack("=IiQ", 144, 0, 9) + struct.pack("=QQQQII", 7, 0, 1, 86400, 500_000_000, 0)
    expected += struct.pack("=QQQqqq", 7, 1000, 9, -1, 2, 4)
    expected += struct.pack("=IIIIIIIIII", 999_999_999, 3, 5, 0o100640, 2, 5, 6, 0, 1 << 20, 0)
    assert wire.pack_entry(9, TOLD) == expected
    assert wire.pack_attributes(9, TOLD)[32:] == expected[56:]


def test_birth_time() -> None:
    """statx's structure has it after atime, and says so in its mask."""
    packed = wire.pack_statx(9, TOLD)
    assert struct.unpack_from("=I", packed, 48)[0] == 0xFFF
    assert struct.unpack_from("=qI", packed, 48 + 64 + 16) == (6, 7)


@pytest.mark.parametrize("plus", [False, True])
def test_directory_entries(plus: bool) -> None:
    """Each is padded to eight bytes. If inodes are asked for, as LOOKUP has them; dots have none: nobody counts a lookup."""
    names = (b"n", b"12345678", b"123456789", b".", b"..")
    page = bytes(wire.pack_directory([(name, TOLD, 70 + len(name)) for name in names], 4096, plus=plus))
    expected = b""
    for name in names:
        if plus:
            expected += bytes(128) if name.startswith(b".") else wire.pack_entry(9, TOLD)[16:]
        expected += struct.pack("=QQII", 7, 70 + len(name), len(name), 8) + name + bytes(-len(name) % 8)
    assert page == expected


@pytest.mark.parametrize(("plus", "entry_bytes"), [(False, 40), (True, 168)])
def test_a_full_directory_page(plus: bool, entry_bytes: int) -> None:
    """An entry for which there is no whole room is not begun."""
    entries = [(b"123456789", TOLD, 3), (b"987654321", TOLD, 4)]
    for room_bytes, count in ((0, 0), (entry_bytes - 1, 0), (entry_bytes, 1), (2 * entry_bytes - 1, 1), (2 * entry_bytes, 2)):
        page = wire.pack_directory(entries, room_bytes, plus=plus)
        assert len(page) == count * entry_bytes
        assert page == wire.pack_directory(entries[:count], 4096, plus=plus)
    assert len(wire.pack_directory(entries, 0xFFFF_FFFF, plus=plus)) == 2 * entry_bytes


def test_statfs() -> None:
    """Space is counted in fragments of 4 KiB."""
    fields = wire.STATFS_OUT.unpack(wire.pack_statfs(9, FsFigures(1 << 30, 1 << 29, 4, 0, 0)))
    assert fields[3:6] == (1 << 18, 1 << 17, 1 << 17)
    assert fields[6:8] == (4 + (1 << 40), 1 << 40)


def test_statfs_under_a_quota() -> None:
    """Inodes are those that the quota allows; none is free once it is exceeded."""
    for used, free in ((4, 6), (12, 0)):
        fields = wire.STATFS_OUT.unpack(wire.pack_statfs(9, FsFigures(1 << 30, 1 << 29, used, 10, 1)))
        assert fields[6:8] == (used + free, free)


def test_flags_beyond_the_32nd_travel_apart() -> None:
    """INIT's flags2."""
    fields = wire.INIT_OUT.unpack(wire.pack_init(9, 45, 131072, 1 << 36 | 1, wire.InitLimits()))
    assert fields[3:7] == (7, 45, 131072, 1)
    assert fields[13] == 1 << 4
