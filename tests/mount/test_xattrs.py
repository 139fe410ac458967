"""Extended attributes: namespaces, flags, sizes, lists."""

import os
from pathlib import Path

import pytest

from tests.support.posix import ALICE, as_user, outcome

VALUE_MAX = 65536


@pytest.fixture
def file(place: Path) -> Path:
    """An empty file."""
    path = place / "file"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("first", "flags", "expected"),
    [
        (None, 0, "ok"),
        (b"old", 0, "ok"),
        (None, os.XATTR_CREATE, "ok"),
        (b"old", os.XATTR_CREATE, "EEXIST"),
        (None, os.XATTR_REPLACE, "ENODATA"),
        (b"old", os.XATTR_REPLACE, "ok"),
    ],
)
def test_flags(file: Path, first: bytes | None, flags: int, expected: str) -> None:
    """CREATE refuses an existing attribute, REPLACE an absent one; a refusal changes nothing."""
    if first is not None:
        os.setxattr(file, "user.name", first)
    assert outcome(os.setxattr, file, "user.name", b"new", flags) == expected
    if expected == "ok":
        assert os.getxattr(file, "user.name") == b"new"
    elif first is not None:
        assert os.getxattr(file, "user.name") == first


@pytest.mark.parametrize("value", [b"", b"\0", b"x", bytes(range(256)), b"v" * 1000], ids=len)
def test_values(file: Path, value: bytes) -> None:
    """Any bytes are a value, none too."""
    os.setxattr(file, "user.name", value)
    assert os.getxattr(file, "user.name") == value


def test_large_values(file: Path, is_ringfs: bool) -> None:
    """64 KiB fit, as much as Linux allows; more is E2BIG."""
    if is_ringfs:
        value = os.urandom(VALUE_MAX)
        os.setxattr(file, "user.large", value)
        assert os.getxattr(file, "user.large") == value
        os.setxattr(file, "user.second", value[::-1])
        assert os.getxattr(file, "user.second") == value[::-1]
    assert outcome(os.setxattr, file, "user.larger", bytes(VALUE_MAX + 1)) == "E2BIG"


def test_list_and_remove(file: Path) -> None:
    """The list has each name once; removing takes one, twice is ENODATA."""
    assert os.listxattr(file) == []
    wanted = [f"user.n{number}" for number in range(50)]
    for name in wanted:
        os.setxattr(file, name, name.encode())
    assert sorted(os.listxattr(file)) == sorted(wanted)
    assert {name: os.getxattr(file, name).decode() for name in wanted} == {name: name for name in wanted}
    os.removexattr(file, wanted[0])
    assert outcome(os.removexattr, file, wanted[0]) == "ENODATA"
    assert outcome(os.getxattr, file, wanted[0]) == "ENODATA"
    assert sorted(os.listxattr(file)) == sorted(wanted[1:])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("user.", "EINVAL"),
        ("user", "EOPNOTSUPP"),
        ("unknown.x", "EOPNOTSUPP"),
        ("user." + "n" * 250, "ok"),
        ("user." + "n" * 251, "ERANGE"),
    ],
)
def test_names(file: Path, name: str, expected: str) -> None:
    """Names need a namespace, and have up to 255 bytes."""
    assert outcome(os.setxattr, file, name, b"v") == expected


def test_longest_name(file: Path) -> None:
    """A name of 255 bytes is kept and listed."""
    name = "user." + "n" * 250
    os.setxattr(file, name, b"v")
    assert os.listxattr(file) == [name]


def test_inodes_that_have_them(place: Path) -> None:
    """Files and directories carry user attributes; symlinks and fifos do not (EPERM), but trusted ones of root."""
    (place / "dir").mkdir()
    (place / "link").symlink_to("dir")
    os.mkfifo(place / "fifo")
    os.setxattr(place / "link", "user.name", b"through the link")
    assert os.getxattr(place / "dir", "user.name") == b"through the link"
    assert outcome(os.setxattr, place / "link", "user.name", b"v", follow_symlinks=False) == "EPERM"
    assert outcome(os.setxattr, place / "fifo", "user.name", b"v") == "EPERM"
    os.setxattr(place / "link", "trusted.name", b"v", follow_symlinks=False)
    assert os.getxattr(place / "link", "trusted.name", follow_symlinks=False) == b"v"
    assert outcome(os.getxattr, place / "dir", "trusted.name") == "ENODATA"


def test_trusted_is_for_root(file: Path) -> None:
    """Others neither read nor list trusted attributes."""
    os.setxattr(file, "trusted.secret", b"v")
    os.setxattr(file, "user.open", b"v")
    file.chmod(0o666)
    assert as_user(ALICE, lambda: outcome(os.getxattr, file, "trusted.secret")) == "ENODATA"
    assert as_user(ALICE, lambda: os.getxattr(file, "user.open")) == b"v"
    assert as_user(ALICE, lambda: os.listxattr(file)) == ["user.open"]
    assert sorted(os.listxattr(file)) == ["trusted.secret", "user.open"]


def test_reading_needs_permission(file: Path) -> None:
    """user attributes follow the file's mode."""
    os.setxattr(file, "user.name", b"v")
    file.chmod(0o600)
    assert as_user(ALICE, lambda: outcome(os.getxattr, file, "user.name")) == "EACCES"


def test_they_follow_the_inode(place: Path) -> None:
    """Attributes stay through rename and link, and go with the inode."""
    (place / "a").touch()
    os.setxattr(place / "a", "user.name", b"v")
    (place / "a").rename(place / "b")
    os.link(place / "b", place / "c")
    assert os.getxattr(place / "c", "user.name") == b"v"
    (place / "b").unlink()
    (place / "c").unlink()
    (place / "a").touch()
    assert os.listxattr(place / "a") == []
