"""Names and paths: which are allowed, how long they may be, what resolves them."""

import os
from pathlib import Path

import pytest

from tests.support.posix import names, outcome

NAME_MAX, PATH_MAX = 255, 4096
MAKERS = {
    "open": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)),
    "mkdir": os.mkdir,
    "mkfifo": os.mkfifo,
    "symlink": lambda path: os.symlink("x", path),
}


@pytest.mark.parametrize("make", MAKERS)
def test_longest_name(place: Path, make: str) -> None:
    """255 bytes are a name, 256 are ENAMETOOLONG, for every way to make one; bytes count, not characters."""
    long, longer = str(place / ("n" * NAME_MAX)), str(place / ("n" * (NAME_MAX + 1)))
    assert outcome(MAKERS[make], long) == "ok"
    assert outcome(MAKERS[make], longer) == "ENAMETOOLONG"
    assert names(place) == ["n" * NAME_MAX]
    assert outcome(MAKERS[make], str(place / ("é" * 128))) == "ENAMETOOLONG"
    assert outcome(MAKERS[make], str(place / ("é" * 127))) == "ok"


@pytest.mark.parametrize(
    "call", [os.stat, os.listdir, os.unlink, os.rmdir, os.readlink, os.listxattr], ids=lambda call: call.__name__
)
def test_too_long_names_are_refused_everywhere(place: Path, call: object) -> None:
    """A name that cannot exist is ENAMETOOLONG, not ENOENT."""
    assert callable(call)
    assert outcome(call, place / ("n" * (NAME_MAX + 1))) == "ENAMETOOLONG"


def test_rename_and_link_to_a_too_long_name(place: Path) -> None:
    """The new name is checked as well."""
    (place / "file").touch()
    longer = place / ("n" * (NAME_MAX + 1))
    assert outcome(os.rename, place / "file", longer) == "ENAMETOOLONG"
    assert outcome(os.link, place / "file", longer) == "ENAMETOOLONG"
    assert outcome(os.rename, place / "file", place / ("n" * NAME_MAX)) == "ok"


def test_path_max(place: Path) -> None:
    """A path of 4096 bytes is ENAMETOOLONG; a tree may be deeper than that, and is reached step by step."""
    assert outcome(os.stat, str(place).ljust(PATH_MAX, "/")) == "ENAMETOOLONG"
    assert outcome(os.stat, str(place).ljust(PATH_MAX - 1, "/")) == "ok"
    step = "d" * 200
    here = os.open(place, os.O_RDONLY)
    for _ in range(25):
        os.mkdir(step, dir_fd=here)
        below = os.open(step, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("deepest", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    assert os.listdir(here) == ["deepest"]
    assert outcome(os.readlink, f"/proc/self/fd/{here}") == "ENAMETOOLONG", "the tree is deeper than a path is long"
    os.close(here)


@pytest.mark.parametrize(
    "name",
    [
        " ",
        "a b",
        "tab\t",
        "new\nline",
        "\x01\x7f",
        "-rf",
        "*",
        "\\",
        "'\"",
        "…",
        "日本語",
        "e\u0301",
        "\u00e9",
        "...",
        ".hidden",
        "CON",
        "nul:",
        "a" * 254 + "~",
    ],
    ids=ascii,
)
def test_any_text_is_a_name(place: Path, name: str) -> None:
    """Names are bytes: kept as given, not folded, not normalized."""
    (place / name).write_text(name)
    assert os.listdir(place) == [name]
    assert (place / name).read_text() == name


def test_any_bytes_are_a_name(place: Path) -> None:
    """Bytes that are no UTF-8 work in every call that takes a name."""
    directory = os.fsencode(place)
    name = bytes(range(1, 47)) + bytes(range(48, 256))
    path = directory + b"/" + name
    os.mkdir(path)
    os.symlink(name, path + b"/\xff")
    assert os.listdir(directory) == [name]
    assert os.readlink(path + b"/\xff") == name
    os.rename(path + b"/\xff", path + b"/\xfe")
    os.unlink(path + b"/\xfe")
    os.setxattr(path, b"user.\xff", b"\x00\xff")
    assert os.getxattr(path, b"user.\xff") == b"\x00\xff"


def test_case_and_normal_forms_differ(place: Path) -> None:
    """A, a, é and e + accent are four files."""
    for name in ("A", "a", "\u00e9", "e\u0301"):
        (place / name).write_text(name)
    assert names(place) == sorted(["A", "a", "\u00e9", "e\u0301"])


def test_nul_never_reaches_the_file_system(place: Path) -> None:
    """A path with NUL is refused by the caller's runtime."""
    with pytest.raises(ValueError, match="null"):
        os.stat(f"{place}/a\0b")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda place: os.mkdir(place / "."), "EEXIST"),
        (lambda place: os.mkdir(f"{place}/.."), "EEXIST"),
        (lambda place: os.rmdir(f"{place}/dir/."), "EINVAL"),
        (lambda place: os.rmdir(f"{place}/dir/.."), "ENOTEMPTY"),
        (lambda place: os.unlink(f"{place}/dir/."), "EISDIR"),
        (lambda place: os.rename(f"{place}/dir/.", place / "x"), "EBUSY"),
        (lambda place: os.rename(f"{place}/dir/..", place / "x"), "EBUSY"),
        (lambda place: os.rename(place / "dir", f"{place}/other/."), "EBUSY"),
        (lambda place: os.stat(f"{place}/dir/../file/."), "ENOTDIR"),
        (lambda place: os.stat(f"{place}/dir/../dir/./"), "ok"),
        (lambda place: os.stat(f"{place}//dir///"), "ok"),
        (lambda place: os.mkdir(f"{place}/new/"), "ok"),
        (lambda place: os.rmdir(f"{place}/dir/"), "ok"),
        (lambda place: os.unlink(f"{place}/file/"), "ENOTDIR"),
        (lambda place: os.rename(f"{place}/dir/", f"{place}/moved/"), "ok"),
        (lambda place: os.rename(f"{place}/file", f"{place}/moved/"), "ENOTDIR"),
    ],
)
def test_dots_and_slashes(place: Path, call: object, expected: str) -> None:
    """Dot, dot-dot and slashes at the end as path_resolution(7) has them."""
    (place / "dir").mkdir()
    (place / "other").mkdir()
    (place / "file").touch()
    assert callable(call)
    assert outcome(call, place) == expected


def test_dot_dot_follows_a_move(place: Path) -> None:
    """After a directory moved, `..` in it is its new parent."""
    for name in ("a", "b", "a/moving"):
        (place / name).mkdir()
    inside = os.open(place / "a/moving", os.O_RDONLY)
    (place / "a/moving").rename(place / "b/moving")
    assert os.stat("..", dir_fd=inside).st_ino == (place / "b").stat().st_ino
    os.close(inside)
