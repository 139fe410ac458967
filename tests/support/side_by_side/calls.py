"""System calls as data: what there is to call, with which arguments, how one is drawn and how it is written down.

No argument depends on what happened before: a path is one of a few, an open file one of a few slots. So any part of a
program is a program, which is what shrinking needs. Nothing here touches a file system; actor.py does what is said here.
"""

import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Choice = TypeVar("Choice")

#: Who calls: root, and two users that share a group.
USERS = {0: (0, 0), 1: (30001, 30003), 2: (30002, 30003)}
SLOTS = 4
#: Processes that call; of those, each has its own slots. The second may be on another mount.
ACTORS = 2
NO_SLOT = -1
#: Sizes and offsets lie below it, but for a few just around a chunk's edge.
_BYTES_MAX = 200_000
_EDGES = (0, 1, 4095, 4096, 4097, 16384, 65535, 65536, 65537, 131072)
_CHUNK_BYTES = 64 << 20
_NAMES = ("a", "b", "c", "d")
#: What stands for strings that would be hard to read.
_STANDS_FOR = {"@name": "n" * 256, "@path": "a/" * 2100 + "a", "@target": "t" * 300, "@xattr": "user." + "x" * 256}

_OPEN_FLAGS = {
    "CREAT": os.O_CREAT,
    "EXCL": os.O_EXCL,
    "TRUNC": os.O_TRUNC,
    "APPEND": os.O_APPEND,
    "NOFOLLOW": os.O_NOFOLLOW,
    "DIRECTORY": os.O_DIRECTORY,
    "PATH": os.O_PATH,
    "TMPFILE": os.O_TMPFILE,
    "SYNC": os.O_SYNC,
    "DSYNC": os.O_DSYNC,
    "DIRECT": os.O_DIRECT,
    "NOATIME": os.O_NOATIME,
}
_ACCESS_MODES = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR)
#: Usual ways to open; any flags at all are drawn besides.
_OPEN_WAYS = ((), ("CREAT",), ("CREAT",), ("CREAT", "EXCL"), ("CREAT", "TRUNC"), ("APPEND",), ("DIRECTORY",), ("TMPFILE",))

_XATTR_NAMES = ("user.a", "user.b", "trusted.t", "security.s", "nonsense.n", "user.", "@xattr")
_ACL_NAMES = ("system.posix_acl_access", "system.posix_acl_default")
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32


class Draw(Protocol):
    """Where choices come from: a seed, or Hypothesis."""

    def integer(self, low: int, high: int) -> int:
        """One of low … high."""

    def choice(self, options: Sequence[Choice]) -> Choice:
        """One of them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call, or a few that belong together. Arguments stand in the order of the kind's parameters."""

    kind: str
    arguments: tuple[Any, ...] = ()
    actor: int = 0
    user: int = 0

    def line(self) -> str:
        """As in a file of calls."""
        return json.dumps([self.actor, self.user, self.kind, *self.arguments])

    @classmethod
    def parse(cls, line: str) -> "Call":
        """The call of such a line."""
        actor, user, kind, *arguments = json.loads(line)
        if kind not in KINDS or len(arguments) != len(KINDS[kind][1].split()):
            raise ValueError(f"not a call: {line}")
        return cls(kind, tuple(arguments), actor, user)

    def __getitem__(self, name: str) -> Any:
        """The argument of that name; None if the kind has none."""
        names = KINDS[self.kind][1].split()
        return self.arguments[names.index(name)] if name in names else None


def plain(argument: Any) -> Any:
    """The string that an argument stands for, or the argument."""
    return _STANDS_FOR.get(argument, argument) if isinstance(argument, str) else argument


def read_program(text: str) -> list[Call]:
    """Calls of a file; blank lines and # comments are skipped."""
    return [Call.parse(line) for line in text.splitlines() if line and not line.startswith("#")]


def content(fill: int, length: int) -> bytes:
    """What is written: fill 0 is zeros, any other makes bytes that are not zero and differ from place to place."""
    if not fill:
        return bytes(length)
    period = bytes((fill * 37 + index * 11) % 255 + 1 for index in range(251))
    return (period * (length // len(period) + 1))[:length]


# --- arguments --------------------------------------------------------------------------------------------------------


def _path(draw: Draw) -> str:
    kind = draw.integer(0, 39)
    if kind == 0:
        return draw.choice(("", ".", "/dev/null/x", "@name", "@path", "d/..", "missing/a"))
    parts = [draw.choice(_NAMES) for _ in range(draw.choice((1, 1, 1, 2, 2, 3)))]
    if kind == 1:
        parts.insert(1, draw.choice((".", "..")))
    return "/".join(parts) + ("/" if kind == 2 else "")


def _offset(draw: Draw) -> int:
    kind = draw.integer(0, 29)
    if kind == 0:
        return draw.choice((-1, _CHUNK_BYTES, _CHUNK_BYTES - 100, _CHUNK_BYTES + 70_000))
    if kind < 20:
        return max(0, draw.choice(_EDGES) + draw.choice((0, 0, 0, -1, 1, 100)))
    return draw.integer(0, _BYTES_MAX)


def _length(draw: Draw) -> int:
    kind = draw.integer(0, 9)
    if kind < 4:
        return draw.integer(0, 300)
    return draw.choice(_EDGES) if kind < 8 else draw.integer(0, _BYTES_MAX)


def _open_flags(draw: Draw) -> int:
    names = list(draw.choice(_OPEN_WAYS))
    while draw.integer(0, 3) == 0:
        names.append(draw.choice(sorted(_OPEN_FLAGS)))
    flags = draw.choice(_ACCESS_MODES)
    for name in names:
        flags |= _OPEN_FLAGS[name]
    return flags


def _mode(draw: Draw) -> int:
    return draw.choice((0o777, 0o755, 0o644, 0o600, 0o666, 0o700, 0o4755, 0o2755, 0o2775, 0o1777, 0o070, 0o007, 0o444, 0, 0o6711))


def _time(draw: Draw) -> list[int]:
    """[seconds, nanoseconds]; the odd values are UTIME_NOW, UTIME_OMIT and out of range."""
    nanoseconds = draw.choice((0, 1, 123_456_789, 999_999_999, (1 << 30) - 1, (1 << 30) - 2, 1_000_000_000))
    return [draw.choice((0, 1, 1_000_000_000, 1_234_567_890)), nanoseconds]


def acl(*entries: tuple[int, int, int]) -> str:
    """The value of an ACL's xattr in hexadecimal: version 2, then tag, permissions, id."""
    return b"".join([(2).to_bytes(4, "little"), *(_acl_entry(*entry) for entry in entries)]).hex()


def _acl_entry(tag: int, permissions: int, identity: int) -> bytes:
    return b"".join((tag.to_bytes(2, "little"), permissions.to_bytes(2, "little"), identity.to_bytes(4, "little", signed=False)))


_NOBODY = 0xFFFFFFFF
_ACLS = (
    acl((1, 7, _NOBODY), (2, 6, 30001), (4, 5, _NOBODY), (16, 7, _NOBODY), (32, 4, _NOBODY)),
    acl((1, 6, _NOBODY), (2, 7, 30002), (4, 4, _NOBODY), (8, 7, 30003), (16, 5, _NOBODY), (32, 0, _NOBODY)),
    acl((1, 7, _NOBODY), (4, 5, _NOBODY), (32, 5, _NOBODY)),
    acl((1, 7, _NOBODY), (2, 6, 30001), (4, 5, _NOBODY), (32, 4, _NOBODY)),  # no mask: EINVAL
    acl(),
    "00",
)


_DOMAINS: dict[str, Callable[[Draw], Any]] = {
    "path": _path,
    "new": _path,
    "target": lambda draw: draw.choice((_path(draw), draw.choice(_NAMES), "../" + draw.choice(_NAMES), "@target")),
    "at": lambda draw: draw.integer(0, SLOTS - 1) if draw.integer(0, 7) == 0 else NO_SLOT,
    "slot": lambda draw: draw.integer(0, SLOTS - 1),
    "other": lambda draw: draw.integer(0, SLOTS - 1),
    "offset": _offset,
    "offset2": _offset,
    "length": _length,
    "length2": _length,
    "fill": lambda draw: draw.choice((*range(1, 60), 0)),
    "open_flags": _open_flags,
    "mode": _mode,
    "umask": lambda draw: draw.choice((0o022, 0o022, 0, 0o077, 0o027)),
    "whence": lambda draw: draw.choice((os.SEEK_SET, os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, 9)),
    "falloc": lambda draw: draw.choice(
        (
            0,
            KEEP_SIZE,
            *[PUNCH_HOLE | KEEP_SIZE] * 3,
            ZERO_RANGE,
            ZERO_RANGE | KEEP_SIZE,
            COLLAPSE_RANGE,
            INSERT_RANGE,
            PUNCH_HOLE,
            64,
        )
    ),
    "rename_flags": lambda draw: draw.choice((0, 0, 0, 1, 2, 2, 3, 4, 8)),
    "follow": lambda draw: draw.choice((True, True, False)),
    "node": lambda draw: draw.choice((stat.S_IFIFO, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG, 0, stat.S_IFDIR, 0o150000)),
    "uid": lambda draw: draw.choice((0, 30001, 30002, -1)),
    "gid": lambda draw: draw.choice((0, 30003, 30004, -1)),
    "atime": _time,
    "mtime": _time,
    "access": lambda draw: draw.integer(0, 7),
    "xattr": lambda draw: draw.choice((*_XATTR_NAMES[:3], *_XATTR_NAMES)),
    "value_length": lambda draw: draw.choice((0, 1, 5, 100, 1000)),
    "xattr_flags": lambda draw: draw.choice((0, 0, 0, os.XATTR_CREATE, os.XATTR_REPLACE, 3)),
    "acl_name": lambda draw: draw.choice(_ACL_NAMES),
    "acl": lambda draw: draw.choice(_ACLS),
    "flock": lambda draw: draw.choice(("SH", "EX", "EX", "UN")),
    "family": lambda draw: draw.choice(("posix", "posix", "ofd")),
    "lock": lambda draw: draw.choice(("RD", "WR", "WR", "UN")),
    "protection": lambda draw: draw.choice(("r", "rw", "rw", "private")),
}

#: What can be called: how often it is drawn, and its parameters, each by the name of its domain.
KINDS: dict[str, tuple[int, str]] = {
    "open": (24, "slot at path open_flags mode"),
    "close": (4, "slot"),
    "dup": (1, "slot other"),
    "read": (4, "slot length"),
    "readv": (2, "slot length length2"),
    "pread": (5, "slot offset length"),
    "preadv": (2, "slot offset length length2"),
    "write": (6, "slot fill length"),
    "writev": (2, "slot fill length length2"),
    "pwrite": (8, "slot offset fill length"),
    "pwritev": (2, "slot offset fill length length2"),
    "lseek": (3, "slot offset whence"),
    "holes": (3, "slot"),
    "truncate": (3, "path offset"),
    "ftruncate": (4, "slot offset"),
    "fallocate": (6, "slot falloc offset length"),
    "copy_file_range": (4, "slot other offset offset2 length"),
    "sendfile": (1, "slot other offset length"),
    "link": (4, "path new follow"),
    "linkfd": (2, "slot new follow"),
    "symlink": (3, "target at path"),
    "readlink": (2, "at path"),
    "unlink": (5, "at path"),
    "rmdir": (3, "at path"),
    "rename": (8, "path new rename_flags"),
    "mkdir": (7, "at path mode"),
    "mknod": (2, "at path node mode"),
    "chmod": (4, "path mode"),
    "fchmod": (2, "slot mode"),
    "chown": (4, "path uid gid follow"),
    "fchown": (1, "slot uid gid"),
    "utime": (3, "path atime mtime follow"),
    "futime": (1, "slot atime mtime"),
    "access": (3, "at path access follow"),
    "setxattr": (4, "path xattr fill value_length xattr_flags follow"),
    "fsetxattr": (1, "slot xattr fill value_length xattr_flags"),
    "setacl": (3, "path acl_name acl"),
    "getxattr": (2, "path xattr follow"),
    "listxattr": (1, "path follow"),
    "removexattr": (2, "path xattr follow"),
    "removeacl": (1, "path acl_name"),
    "stat": (5, "at path follow"),
    "fstat": (5, "slot"),
    "readdir": (2, "path"),
    "freaddir": (2, "slot"),
    "flock": (3, "slot flock"),
    "lock": (4, "slot family lock offset length"),
    "getlock": (1, "slot family lock offset length"),
    "map": (2, "slot protection"),
    "load": (3, "slot offset length"),
    "store": (3, "slot offset fill length"),
    "msync": (1, "slot"),
    "fsync": (1, "slot"),
    "fdatasync": (1, "slot"),
    "syncfs": (1, "slot"),
    "umask": (1, "umask"),
    "tree": (1, ""),
}
_DRAWN = tuple(kind for kind, (weight, _) in KINDS.items() for _ in range(weight))


_RDWR_CREAT = os.O_RDWR | os.O_CREAT
#: How programs begin: with something to work on.
PRELUDE = (
    Call("mkdir", (NO_SLOT, "d", 0o777)),
    Call("mkdir", (NO_SLOT, "d/d", 0o755), user=1),
    Call("open", (0, NO_SLOT, "a", _RDWR_CREAT, 0o666)),
    Call("pwrite", (0, 0, 1, 70_000)),
    Call("open", (1, NO_SLOT, "d/a", _RDWR_CREAT, 0o644), user=1),
    Call("write", (1, 2, 5_000), user=1),
    Call("open", (0, NO_SLOT, "a", os.O_RDWR, 0), actor=1),
    Call("open", (2, NO_SLOT, "d", os.O_RDONLY | os.O_DIRECTORY, 0)),
    Call("symlink", ("d/a", NO_SLOT, "c")),
)


def draw_call(draw: Draw) -> Call:
    """Any call of any process and user; mostly of the first one, as root. The tree is always looked at by root, who may."""
    kind = draw.choice(_DRAWN)
    arguments = tuple(_DOMAINS[name](draw) for name in KINDS[kind][1].split())
    user = 0 if kind == "tree" else draw.choice((0, 0, 0, 0, 1, 1, 2))
    return Call(kind, arguments, draw.choice((0, 0, 0, 1)), user)
