"""Rules that all operations share: which directories take entries, which names are names."""

from collections.abc import Callable
from typing import Any

import pytest

from ringfs.base.errors import Code
from ringfs.wire.messages import namespace as m
from tests.support.namespace import TrialNamespace
from tests.support.refusals import refused

Maker = Callable[[int, bytes], Any]

MAKERS: dict[str, Maker] = {
    "mknod": lambda parent, name: m.Mknod(parent, name, 0o100644, 0, 0, 0, 0, 0, True),
    "mkdir": lambda parent, name: m.Mkdir(parent, name, 0o755, 0, 0, 0),
    "symlink": lambda parent, name: m.Symlink(parent, name, b"t", 0, 0),
    "link": lambda parent, name: m.Link(2, parent, name),
}
REMOVERS: dict[str, Maker] = {
    "unlink": lambda parent, name: m.Unlink(parent, name),
    "rmdir": lambda parent, name: m.Rmdir(parent, name),
    "rename from": lambda parent, name: m.Rename(parent, name, 1, b"new", 0),
    "rename to": lambda parent, name: m.Rename(1, b"file", parent, name, 0),
}
ALL = MAKERS | REMOVERS


@pytest.fixture
def trial() -> TrialNamespace:
    """With a file, inode 2."""
    trial = TrialNamespace()
    assert trial.file(b"file") == 2
    return trial


@pytest.mark.parametrize("op", ALL.values(), ids=ALL)
def test_parent_must_live(trial: TrialNamespace, op: Maker) -> None:
    """STALE for an unknown parent, NOT_DIRECTORY for a file, NOT_FOUND for a directory that was removed but is held."""
    gone = trial.directory(b"gone")
    trial.do(m.Rmdir(1, b"gone"), holders=[trial.session])
    with refused(Code.STALE):
        trial.do(op(999, b"a"))
    with refused(Code.NOT_DIRECTORY):
        trial.do(op(2, b"a"))
    with refused(Code.NOT_FOUND):
        trial.do(op(gone, b"a"))


@pytest.mark.parametrize("op", ALL.values(), ids=ALL)
def test_names(trial: TrialNamespace, op: Maker) -> None:
    """Over 255 bytes NAME_TOO_LONG, with / or NUL INVALID, the empty name NOT_FOUND."""
    with refused(Code.NAME_TOO_LONG):
        trial.do(op(1, b"n" * 256))
    with refused(Code.INVALID):
        trial.do(op(1, b"a/b"))
    with refused(Code.INVALID):
        trial.do(op(1, b"a\0b"))
    with refused(Code.NOT_FOUND):
        trial.do(op(1, b""))


@pytest.mark.parametrize("op", MAKERS.values(), ids=MAKERS)
def test_making_what_exists(trial: TrialNamespace, op: Maker) -> None:
    """A name that is taken EXISTS, and so do "." and ".."."""
    for name in (b"file", b".", b".."):
        with refused(Code.EXISTS):
            trial.do(op(1, name))


@pytest.mark.parametrize("op", MAKERS.values(), ids=MAKERS)
def test_longest_name_and_odd_bytes(trial: TrialNamespace, op: Maker) -> None:
    """255 bytes of anything but / and NUL are a name."""
    trial.do(op(1, b"\xff" * 255))
    trial.do(op(1, b"..."))
    assert trial.names()[1:] == [b"\xff" * 255, b"..."]


@pytest.mark.parametrize(
    ("op", "dot", "dotdot"),
    [
        ("unlink", Code.IS_DIRECTORY, Code.IS_DIRECTORY),
        ("rmdir", Code.INVALID, Code.NOT_EMPTY),
        ("rename from", Code.BUSY, Code.BUSY),
        ("rename to", Code.BUSY, Code.BUSY),
    ],
)
def test_dots(trial: TrialNamespace, op: str, dot: Code, dotdot: Code) -> None:
    """ "." and ".." cannot be removed or renamed, each with Linux's errno."""
    with refused(dot):
        trial.do(REMOVERS[op](1, b"."))
    with refused(dotdot):
        trial.do(REMOVERS[op](1, b".."))


@pytest.mark.parametrize("op", ["mknod", "mkdir", "symlink"])
def test_group_of_a_setgid_directory(trial: TrialNamespace, op: str) -> None:
    """What is made in a setgid directory belongs to the directory's group."""
    shared = trial.directory(b"shared", gid=77)
    trial.do(m.Setattr(shared, m.SET_MODE, 0o2755, 0, 0, 0, 0, 0, 0, True))
    made = trial.do(MAKERS[op](shared, b"a")).attributes
    assert made.gid == 77


@pytest.mark.parametrize("op", MAKERS.values(), ids=MAKERS)
def test_what_making_touches(trial: TrialNamespace, op: Maker) -> None:
    """The directory's mtime, ctime and change go on, its atime does not; both inodes count as touched."""
    before = trial.attributes(1)
    outcome = trial.outcome(op(1, b"new"))
    after = outcome.answer.parent
    assert after == trial.attributes(1)
    assert (after.mtime_ns, after.ctime_ns, after.atime_ns) == (trial.now_ns, trial.now_ns, before.atime_ns)
    assert after.change == before.change + 1
    assert after.size_bytes == before.size_bytes + 1
    assert outcome.touched == {1, outcome.answer.attributes.inode}
    assert outcome.answer.attributes == trial.attributes(outcome.answer.attributes.inode)
