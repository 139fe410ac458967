"""link, symlink, readlink, unlink: errors, counts, loops, and files that live on without a name."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.posix import ALICE, BOB, as_user, names, outcome, tick


@pytest.fixture
def scene(place: Path) -> Path:
    """A file, a directory, a symlink to each, one to nothing, a fifo."""
    (place / "file").write_bytes(b"content")
    (place / "dir").mkdir()
    (place / "to_file").symlink_to("file")
    (place / "to_dir").symlink_to("dir")
    (place / "dangling").symlink_to("nothing")
    os.mkfifo(place / "fifo")
    return place


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("file", "new", "ok"),
        ("fifo", "new", "ok"),
        ("to_file", "new", "ok"),
        ("dangling", "new", "ok"),
        ("dir", "new", "EPERM"),
        ("absent", "new", "ENOENT"),
        ("file", "file", "EEXIST"),
        ("file", "dir", "EEXIST"),
        ("file", "dangling", "EEXIST"),
        ("file", "absent/new", "ENOENT"),
        ("file", "file/new", "ENOTDIR"),
        ("file/x", "new", "ENOTDIR"),
    ],
)
def test_link(scene: Path, old: str, new: str, expected: str) -> None:
    """What link(2) says of each pair; a link to a symlink is one to the symlink itself."""
    assert outcome(os.link, scene / old, scene / new, follow_symlinks=False) == expected
    if expected == "ok":
        first, second = (scene / old).lstat(), (scene / new).lstat()
        assert (first.st_ino, first.st_nlink, first.st_mode) == (second.st_ino, 2, second.st_mode)


def test_hard_links_are_one_file(scene: Path) -> None:
    """Bytes, mode, times, xattrs are seen through each name, and stay when others go."""
    tick()
    before = (scene / "file").stat().st_ctime_ns
    os.link(scene / "file", scene / "dir/second")
    assert (scene / "file").stat().st_ctime_ns > before, "link changes ctime"
    with open(scene / "file", "r+b") as file:
        os.link(scene / "file", scene / "third")
        file.write(b"CHANGED")
        file.flush()
        assert (scene / "third").read_bytes() == b"CHANGED"
    (scene / "third").chmod(0o611)
    os.setxattr(scene / "third", "user.k", b"v")
    (scene / "file").unlink()
    status = (scene / "dir/second").stat()
    assert (status.st_nlink, stat.S_IMODE(status.st_mode), status.st_size) == (2, 0o611, 7)
    assert os.getxattr(scene / "dir/second", "user.k") == b"v"
    (scene / "third").unlink()
    assert (scene / "dir/second").stat().st_nlink == 1
    assert (scene / "dir/second").read_bytes() == b"CHANGED"


def test_many_links(place: Path) -> None:
    """A thousand links are counted exactly, up and down."""
    (place / "0").touch()
    for number in range(1, 1000):
        os.link(place / "0", place / str(number))
    assert (place / "500").stat().st_nlink == 1000
    for number in range(999):
        (place / str(number)).unlink()
    assert (place / "999").stat().st_nlink == 1


@pytest.mark.parametrize("target", ["file", "/", "..", "a/b/../c", " ", "x" * 4095, "\u00e9\n\t", "./" * 2000])
def test_symlink_keeps_its_text(place: Path, target: str) -> None:
    """A target is text, kept as it is, up to 4095 bytes; st_size is its length."""
    (place / "link").symlink_to(target)
    os.symlink(target, place / "again")
    assert os.readlink(place / "again") == target
    status = (place / "again").lstat()
    assert status.st_size == len(os.fsencode(target))
    assert stat.S_ISLNK(status.st_mode)


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        ("x" * 4096, "new", "ENAMETOOLONG"),
        ("", "new", "ENOENT"),
        ("x", "file", "EEXIST"),
        ("x", "dangling", "EEXIST"),
        ("x", "dir", "EEXIST"),
        ("x", "absent/new", "ENOENT"),
        ("x", "file/new", "ENOTDIR"),
    ],
)
def test_symlink_errors(scene: Path, target: str, name: str, expected: str) -> None:
    """What symlink(2) says."""
    assert outcome(os.symlink, target, scene / name) == expected


@pytest.mark.parametrize(("name", "expected"), [("to_file", "ok"), ("file", "EINVAL"), ("dir", "EINVAL"), ("absent", "ENOENT")])
def test_readlink_errors(scene: Path, name: str, expected: str) -> None:
    """Only symlinks are read."""
    assert outcome(os.readlink, scene / name) == expected


@pytest.mark.parametrize(("length", "expected"), [(39, "ok"), (40, "ok"), (41, "ELOOP")])
def test_chain_of_symlinks(place: Path, length: int, expected: str) -> None:
    """Forty in a row are followed, no more."""
    (place / "0").touch()
    for number in range(1, length + 1):
        (place / str(number)).symlink_to(str(number - 1))
    assert outcome(os.stat, place / str(length)) == expected


@pytest.mark.parametrize("call", [os.stat, os.listdir, lambda path: os.chmod(path, 0o600), lambda path: os.truncate(path, 0)])
def test_loops(place: Path, call: object) -> None:
    """A pair of symlinks to each other is ELOOP for whoever follows them."""
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    assert callable(call)
    assert outcome(call, place / "a") == "ELOOP"
    assert outcome(call, place / "a/x") == "ELOOP"
    assert outcome(os.unlink, place / "a") == "ok"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file", "ok"),
        ("fifo", "ok"),
        ("to_dir", "ok"),
        ("dangling", "ok"),
        ("dir", "EISDIR"),
        ("absent", "ENOENT"),
        ("file/x", "ENOTDIR"),
    ],
)
def test_unlink(scene: Path, name: str, expected: str) -> None:
    """What unlink(2) says; what a symlink points to is left alone."""
    assert outcome(os.unlink, scene / name) == expected
    if expected == "ok":
        assert name not in names(scene)
    assert (scene / "dir").is_dir()


def test_file_without_a_name(place: Path) -> None:
    """An open file whose last name is gone can be read, written, truncated, stated and synced; the next of that name is another."""
    path = place / "file"
    path.write_bytes(b"x" * 100_000)
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY)
    path.unlink()
    assert names(place) == []
    assert os.fstat(first).st_nlink == 0
    assert os.pread(second, 10, 99_995) == b"x" * 5
    os.pwrite(first, b"y" * 300_000, 50_000)
    os.fsync(first)
    assert os.fstat(second).st_size == 350_000
    assert os.pread(second, 2, 49_999) == b"xy"
    os.ftruncate(first, 60_000)
    os.ftruncate(first, 70_000)
    assert os.pread(second, 20_000, 59_999) == b"y" + bytes(10_000)
    os.fchmod(first, 0o640)
    os.setxattr(first, "user.k", b"v")
    assert os.getxattr(second, "user.k") == b"v"
    path.write_bytes(b"new")
    assert os.fstat(first).st_ino != path.stat().st_ino
    os.close(first)
    assert os.pread(second, 2, 0) == b"xx"
    os.close(second)
    assert path.read_bytes() == b"new"


def test_file_replaced_while_open(place: Path) -> None:
    """A file that a rename replaced lives on for whoever has it open."""
    (place / "old").write_bytes(b"old bytes")
    (place / "new").write_bytes(b"new bytes")
    fd = os.open(place / "old", os.O_RDWR)
    (place / "new").rename(place / "old")
    assert os.fstat(fd).st_nlink == 0
    os.pwrite(fd, b"OLD", 0)
    assert os.pread(fd, 100, 0) == b"OLD bytes"
    assert (place / "old").read_bytes() == b"new bytes"
    os.close(fd)


def test_name_given_back_to_an_unlinked_link(place: Path) -> None:
    """With a second name the open file can be linked again and again."""
    (place / "a").write_bytes(b"content")
    fd = os.open(place / "a", os.O_RDONLY)
    for _ in range(20):
        os.link(place / "a", place / "b")
        (place / "a").unlink()
        (place / "b").rename(place / "a")
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)
    assert (place / "a").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("directory_owner", "file_owner", "expected"),
    [(0, 0, "EPERM"), (0, ALICE, "ok"), (ALICE, 0, "ok"), (BOB, BOB, "EPERM"), (BOB, 0, "EPERM")],
)
def test_sticky_directory(place: Path, directory_owner: int, file_owner: int, expected: str) -> None:
    """In a sticky directory only the owners of the entry or of the directory remove, rename or replace it."""
    directory = place / "sticky"
    directory.mkdir()
    for name in ("gone", "moved", "replaced"):
        (directory / name).touch()
        os.chown(directory / name, file_owner, file_owner)
    (directory / "sub").mkdir()
    os.chown(directory / "sub", file_owner, file_owner)
    os.chown(directory, directory_owner, directory_owner)
    directory.chmod(0o1777)
    (place / "mine").touch()
    os.chown(place / "mine", ALICE, ALICE)

    def attempts() -> list[str]:
        return [
            outcome(os.unlink, directory / "gone"),
            outcome(os.rmdir, directory / "sub"),
            outcome(os.rename, directory / "moved", place / "away"),
            outcome(os.rename, place / "mine", directory / "replaced"),
        ]

    assert as_user(ALICE, attempts) == [expected] * 4


def test_unlink_needs_write_permission_of_the_directory_only(place: Path) -> None:
    """A file of somebody else goes from a directory that one may write; from others not even one's own."""
    (place / "theirs").touch(0o600)
    (place / "closed").mkdir(0o755)
    (place / "closed/mine").touch()
    os.chown(place / "closed/mine", ALICE, ALICE)
    assert as_user(ALICE, lambda: outcome(os.unlink, place / "theirs")) == "ok"
    assert as_user(ALICE, lambda: outcome(os.unlink, place / "closed/mine")) == "EACCES"
