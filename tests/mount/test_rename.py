"""rename(2) and renameat2(2): every kind of source on every kind of target with every flag, cycles, and what must stay."""

import os
import stat
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from tests.support.posix import ALICE, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, as_user, names, outcome, renameat2, tick

MAKE: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "file": lambda path: path.write_text(path.name),
    "directory": lambda path: path.mkdir(),
    "full directory": lambda path: (path / "inside").mkdir(parents=True),
    "symlink": lambda path: path.symlink_to("target"),
    "fifo": lambda path: os.mkfifo(path),
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
}
DIRECTORIES = ("directory", "full directory")


def expected_of(old: str, new: str, flags: int) -> str:
    """The rule of rename(2) and renameat2(2)."""
    if flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
        return "EINVAL"
    if old == "absent":
        return "ENOENT"
    if flags == RENAME_NOREPLACE:
        return "ok" if new == "absent" else "EEXIST"
    if flags == RENAME_EXCHANGE:
        return "ENOENT" if new == "absent" else "ok"
    if new == "absent":
        return "ok"
    if old in DIRECTORIES:
        return {"directory": "ok", "full directory": "ENOTEMPTY"}.get(new, "ENOTDIR")
    return "EISDIR" if new in DIRECTORIES else "ok"


def identity(path: Path) -> tuple[int, int] | None:
    """Inode and type, if it is there."""
    return (path.lstat().st_ino, stat.S_IFMT(path.lstat().st_mode)) if os.path.lexists(path) else None


@pytest.mark.parametrize("across", [False, True], ids=["same directory", "across directories"])
@pytest.mark.parametrize("flags", [0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_NOREPLACE | RENAME_EXCHANGE])
def test_matrix(place: Path, flags: int, across: bool) -> None:
    """For each pair of kinds: the outcome, and who is where afterwards."""
    for number, (old_kind, new_kind) in enumerate(product(MAKE, MAKE)):
        case = f"{old_kind} to {new_kind}"
        source, target = place / f"{number}", place / f"{number}.{'target' if across else 'same'}"
        source.mkdir()
        target.mkdir()
        old, new = source / "old", (target if across else source) / "new"
        MAKE[old_kind](old)
        MAKE[new_kind](new)
        was_old, was_new = identity(old), identity(new)
        expected = expected_of(old_kind, new_kind, flags)
        assert outcome(renameat2, old, new, flags) == expected, case
        if expected != "ok":
            assert (identity(old), identity(new)) == (was_old, was_new), case
        elif flags == RENAME_EXCHANGE:
            assert (identity(old), identity(new)) == (was_new, was_old), case
        else:
            assert (identity(old), identity(new)) == (None, was_old), case


@pytest.mark.parametrize(
    ("old", "new", "flags", "expected"),
    [
        ("a", "a/b/c", 0, "EINVAL"),
        ("a", "a/new", 0, "EINVAL"),
        ("a/b", "a", 0, "ENOTEMPTY"),
        ("a/b", "a", RENAME_EXCHANGE, "EINVAL"),
        ("a", "a/b", RENAME_EXCHANGE, "EINVAL"),
        ("a/b/file", "a", 0, "ENOTEMPTY"),
        ("a", "a", 0, "ok"),
        ("a", "a", RENAME_NOREPLACE, "EEXIST"),
        ("a", "a", RENAME_EXCHANGE, "ok"),
        ("a/b/file", "a/b/file", 0, "ok"),
        ("a/b", "a/c", 0, "ok"),
        ("a", "absent/x", 0, "ENOENT"),
        ("a", "a/b/file/x", 0, "ENOTDIR"),
        ("a/b/file/x", "new", 0, "ENOTDIR"),
        ("link", "a/link", 0, "ok"),
        ("link/file", "file", 0, "ok"),
    ],
)
def test_cycles_and_paths(place: Path, old: str, new: str, flags: int, expected: str) -> None:
    """A directory never goes into itself, never replaces its ancestor; renaming to itself does nothing."""
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").touch()
    (place / "link").symlink_to("a/b")
    assert outcome(renameat2, place / old, place / new, flags) == expected


def test_two_names_of_one_file(place: Path) -> None:
    """Renaming one link onto another of the same inode does nothing, and succeeds."""
    (place / "one").touch()
    os.link(place / "one", place / "two")
    os.rename(place / "one", place / "two")
    assert names(place) == ["one", "two"]
    renameat2(place / "one", place / "two", RENAME_EXCHANGE)
    assert (place / "one").stat().st_nlink == 2


def test_unknown_flags(place: Path) -> None:
    """Flags that do not exist are EINVAL."""
    (place / "file").touch()
    assert outcome(renameat2, place / "file", place / "new", 1 << 10) == "EINVAL"


def test_whiteout(place: Path) -> None:
    """For overlayfs: a device 0:0 takes the old name, whoever asks for it next."""
    (place / "old").write_text("x")
    (place / "new").touch()
    renameat2(place / "old", place / "new", RENAME_WHITEOUT)
    assert (place / "new").read_text() == "x"
    left = (place / "old").lstat()
    assert (stat.S_ISCHR(left.st_mode), left.st_rdev) == (True, 0)
    assert names(place) == ["new", "old"]
    assert outcome(renameat2, place / "new", place / "old", RENAME_WHITEOUT | RENAME_NOREPLACE) == "EEXIST"
    assert outcome(renameat2, place / "new", place / "old", RENAME_WHITEOUT | RENAME_EXCHANGE) == "EINVAL"


def test_replaced_link_counts(place: Path) -> None:
    """Replacing one of two names takes one link; ctime of what moved and of what lost a name changes."""
    (place / "target").touch()
    os.link(place / "target", place / "second")
    (place / "source").touch()
    before = (place / "second").stat()
    tick()
    (place / "source").rename(place / "target")
    after = (place / "second").stat()
    assert (after.st_nlink, after.st_ino) == (1, before.st_ino)
    assert after.st_ctime_ns > before.st_ctime_ns


def test_times(place: Path) -> None:
    """A rename sets mtime and ctime of both directories, and keeps the file's mtime."""
    for name in ("a", "b"):
        (place / name).mkdir()
    (place / "a/file").write_text("x")
    before = {name: (place / name).stat() for name in ("a", "b")}
    mtime = (place / "a/file").stat().st_mtime_ns
    tick()
    (place / "a/file").rename(place / "b/file")
    for name, status in before.items():
        assert (place / name).stat().st_mtime_ns > status.st_mtime_ns
        assert (place / name).stat().st_ctime_ns > status.st_ctime_ns
    assert (place / "b/file").stat().st_mtime_ns == mtime


@pytest.mark.parametrize("source_mode", [0o755, 0o777])
@pytest.mark.parametrize("target_mode", [0o755, 0o777])
def test_permissions(place: Path, source_mode: int, target_mode: int) -> None:
    """Both directories must be writable."""
    for name, mode in (("source", source_mode), ("target", target_mode)):
        (place / name).mkdir()
        (place / name).chmod(mode)
    (place / "source/file").touch()
    expected = "ok" if source_mode == target_mode == 0o777 else "EACCES"
    assert as_user(ALICE, lambda: outcome(os.rename, place / "source/file", place / "target/file")) == expected


def test_moving_a_directory_of_somebody_else(place: Path) -> None:
    """Moving a directory to another parent rewrites its `..`, and so needs write permission of itself."""
    for name in ("from", "to"):
        (place / name).mkdir()
        (place / name).chmod(0o777)
    (place / "from/dir").mkdir(0o755)
    assert as_user(ALICE, lambda: outcome(os.rename, place / "from/dir", place / "to/dir")) == "EACCES"
    assert as_user(ALICE, lambda: outcome(os.rename, place / "from/dir", place / "from/renamed")) == "ok"


def test_whole_tree_moves_with_its_bytes(place: Path) -> None:
    """A renamed tree has the same inodes and bytes below; open files go on."""
    (place / "tree/deep/er").mkdir(parents=True)
    (place / "tree/deep/er/file").write_bytes(b"before")
    inode = (place / "tree/deep/er/file").stat().st_ino
    with open(place / "tree/deep/er/file", "ab", buffering=0) as file:
        (place / "tree").rename(place / "moved")
        file.write(b" and after")
    assert (place / "moved/deep/er/file").read_bytes() == b"before and after"
    assert (place / "moved/deep/er/file").stat().st_ino == inode
    assert outcome(os.stat, place / "tree/deep") == "ENOENT"


def test_atomic_for_readers(place: Path) -> None:
    """While a name is replaced again and again, every open finds a whole file."""
    (place / "name").write_text("whole")
    child = os.fork()
    if child == 0:
        for number in range(300):
            (place / f"new{number}").write_text("whole")
            (place / f"new{number}").rename(place / "name")
        os._exit(0)
    reads = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert (place / "name").read_text() == "whole"
        reads += 1
    assert reads
