"""Where file systems are known to differ, each with its reason and a program that shows it.

A difference either forbids calls, or hides what cannot be compared. tests/mount/test_against_local.py fails when a
program shows its difference no more: then the entry goes, and the calls are compared from then on.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.side_by_side.calls import (
    COLLAPSE_RANGE,
    INSERT_RANGE,
    NO_SLOT,
    ZERO_RANGE,
    Call,
)


def _none(_call: Call) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Difference:
    """side: the file system that is different, by kind; or "two mounts", where the second process works on another one."""

    name: str
    side: str
    reason: str
    avoids: Callable[[Call], bool] = _none
    #: Fields of a status that are not compared; "suid": the suid and sgid bits of files; "holes": where data is.
    hides: frozenset[str] = frozenset()
    #: What shows it.
    example: tuple[Call, ...] = ()


def _open(path: str = "a", flags: int = os.O_RDWR | os.O_CREAT, mode: int = 0o644, slot: int = 0) -> Call:
    return Call("open", (slot, NO_SLOT, path, flags, mode))


def _fstat(slot: int = 0) -> Call:
    return Call("fstat", (slot,))


_LONG_AGO = Call("futime", (0, [1, 0], [1_000_000_000, 0]))

#: Of local file systems. No examples: they are not ours to mend.
LOCAL = (
    Difference(
        "alignment",
        "ext4",
        "O_DIRECT must be aligned to blocks",
        lambda call: bool((call["open_flags"] or 0) & os.O_DIRECT & ~os.O_TMPFILE),
    ),
    Difference(
        "whole blocks",
        "ext4",
        "ranges are collapsed and inserted in whole blocks only",
        lambda call: (
            call.kind == "fallocate"
            and bool(call["falloc"] & (COLLAPSE_RANGE | INSERT_RANGE))
            and bool(call["offset"] % 4096 or call["length"] % 4096)
        ),
    ),
    Difference("holes", "tmpfs", "pages are larger or smaller than blocks", hides=frozenset({"holes"})),
    Difference("symlink atime", "tmpfs", "resolving does not move it", hides=frozenset({"atime_ns"})),
    Difference(
        "few modes",
        "tmpfs",
        "no ZERO_RANGE, COLLAPSE_RANGE, INSERT_RANGE",
        lambda call: call.kind == "fallocate" and bool(call["falloc"] & (ZERO_RANGE | COLLAPSE_RANGE | INSERT_RANGE)),
    ),
)

#: Of ringfs (docs/posix.md).
RINGFS = (
    Difference(
        "atime",
        "ringfs",
        "what the kernel reads from its page cache, or of a symlink, does not move it",
        hides=frozenset({"atime_ns"}),
        example=(_open(), Call("write", (0, 1, 10)), _LONG_AGO, Call("pread", (0, 0, 10)), _fstat()),
    ),
    Difference(
        "holes",
        "pyfuse3",
        "no SEEK_DATA and SEEK_HOLE: all is data",
        hides=frozenset({"holes"}),
        example=(_open(), Call("ftruncate", (0, 65536)), Call("holes", (0,))),
    ),
    Difference(
        "fallocate",
        "pyfuse3",
        "no handler: EOPNOTSUPP",
        lambda call: call.kind == "fallocate",
        example=(_open(), Call("fallocate", (0, 0, 0, 4096))),
    ),
    Difference(
        "O_TMPFILE",
        "pyfuse3",
        "no handler: EOPNOTSUPP",
        lambda call: ((call["open_flags"] or 0) & os.O_TMPFILE) == os.O_TMPFILE,
        example=(_open(".", os.O_RDWR | os.O_TMPFILE),),
    ),
    Difference(
        "both xattr flags",
        "pyfuse3",
        "the driver checks them itself, one by one",
        lambda call: call["xattr_flags"] == 3,
        example=(_open(), Call("setxattr", ("a", "user.a", 1, 1, 3, True))),
    ),
    Difference(
        "chown that changes nothing",
        "ringfs",
        "others may do it to a file with suid too: the kernel leaves the bits to us, and so does not check whose they are",
        lambda call: call.kind in ("chown", "fchown") and call["uid"] == call["gid"] == -1,
        example=(_open(), Call("fchmod", (0, 0o4755)), Call("chown", ("a", -1, -1, True), user=1)),
    ),
    Difference(
        "moving ranges",
        "ringfs",
        "the kernel's FUSE passes on neither COLLAPSE_RANGE nor INSERT_RANGE",
        lambda call: call.kind == "fallocate" and bool(call["falloc"] & (COLLAPSE_RANGE | INSERT_RANGE)),
        example=(_open(), Call("pwrite", (0, 0, 1, 8192)), Call("fallocate", (0, COLLAPSE_RANGE, 0, 4096))),
    ),
    Difference(
        "whiteouts",
        "ringfs",
        "owned by the directory's owner, whoever renames; and opening one is EACCES, as of any device on a mount without them",
        lambda call: bool((call["rename_flags"] or 0) & 4),
        example=(_open(), Call("rename", ("a", "b", 4), user=1), Call("stat", (NO_SLOT, "a", False))),
    ),
    Difference(
        "xattrs of a removed directory",
        "ringfs",
        "ESTALE, when a directory is changed so that has no name any more",
        lambda call: call.kind == "fsetxattr",
        example=(
            Call("mkdir", (NO_SLOT, "d", 0o777)),
            _open("d", os.O_RDONLY),
            Call("rmdir", (NO_SLOT, "d")),
            Call("fsetxattr", (0, "user.a", 1, 1, 0)),
        ),
    ),
    Difference(
        "suid",
        "pyfuse3",
        "a write clears suid and sgid, root's too",
        hides=frozenset({"suid"}),
        example=(_open(), Call("fchmod", (0, 0o4755)), Call("write", (0, 1, 10)), _fstat()),
    ),
)

_WRITING = frozenset(("write", "writev", "pwrite", "pwritev", "truncate", "ftruncate", "copy_file_range", "sendfile"))
_WRITING_BY_RANGE = frozenset(("fallocate", "map", "store"))


_FOR_OWNERS = frozenset(("chmod", "fchmod", "chown", "fchown", "utime", "futime", "setacl", "removeacl"))


def _writes_there(call: Call) -> bool:
    truncates = bool((call["open_flags"] or 0) & os.O_TRUNC)
    return call.actor == 1 and (call.kind in _WRITING | _WRITING_BY_RANGE or truncates)


#: Between two mounts (docs/posix.md).
TWO_MOUNTS = (
    Difference(
        "writers",
        "two mounts",
        "what is written by both at a time, neither syncing, is in the order in which it was committed",
        _writes_there,
        example=(
            _open(),
            Call("open", (0, NO_SLOT, "a", os.O_RDWR, 0), actor=1),
            Call("pwrite", (0, 0, 1, 65536)),
            Call("pwrite", (0, 0, 2, 100), actor=1),
            Call("pread", (0, 0, 100)),
        ),
    ),
    Difference(
        "rights of an owner",
        "two mounts",
        "whether somebody may change attributes is decided by the owner whom the kernel remembers: it does not ask first",
        lambda call: call.user != 0 and call.kind in _FOR_OWNERS,
        example=(
            _open(),
            Call("open", (0, NO_SLOT, "a", os.O_RDWR, 0), actor=1),
            Call("fchown", (0, 30001, -1)),
            Call("fchmod", (0, 0), actor=1, user=1),
        ),
    ),
)

ALL = (*LOCAL, *RINGFS, *TWO_MOUNTS)
