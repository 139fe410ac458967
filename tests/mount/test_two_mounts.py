"""Two mounts of one cluster: a file closed on one is right when opened on the other, and nothing is lost or mixed up.

Full coherence (locks, caches that follow each other while files are open) comes later and is not claimed here.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.posix import names, outcome, tick
from tools import fsx

#: attr_timeout_s and entry_timeout_s are 1; a loaded machine may be late.
CACHE_SECONDS_MAX = 10


@pytest.fixture
def there(place: Path, mount_point: Path, second_mount_point: Path) -> Path:
    """The same directory as place, seen through the other mount."""
    return second_mount_point / place.relative_to(mount_point)


def test_closed_here_open_there(place: Path, there: Path) -> None:
    """Both ways, small and large, new and overwritten, a file closed on one mount is read right on the other."""
    pick = random.Random(1)
    for turn, size in enumerate([1, 5000, 70_000, 9_000_000, 3, 200_000, 0, 64_000, 1_000_000]):
        writer, reader = (place, there) if turn % 2 else (there, place)
        content = pick.randbytes(size)
        (writer / "file").write_bytes(content)
        with open(reader / "file", "rb") as file:
            assert os.fstat(file.fileno()).st_size == size, f"turn {turn}"
            assert file.read() == content, f"turn {turn}"


def test_partial_overwrites_in_turn(place: Path, there: Path) -> None:
    """Each mount in turn overwrites a few bytes of one file; nobody's bytes are lost."""
    pick = random.Random(2)
    content = bytearray(pick.randbytes(300_000))
    (place / "file").write_bytes(content)
    for turn in range(40):
        here, other = (place, there) if turn % 2 else (there, place)
        offset, piece = pick.randrange(299_000), pick.randbytes(pick.randrange(1, 1000))
        fd = os.open(here / "file", os.O_WRONLY)
        os.pwrite(fd, piece, offset)
        os.close(fd)
        content[offset : offset + len(piece)] = piece
        assert (other / "file").read_bytes() == content, f"turn {turn}"


def test_appends_in_turn(place: Path, there: Path) -> None:
    """A log that both mounts append to, opening and closing it each time, has every line in order."""
    lines = [f"line {number}\n".encode() * 10 for number in range(60)]
    for number, line in enumerate(lines):
        with open((place, there)[number % 2] / "log", "ab") as log:
            log.write(line)
    assert (place / "log").read_bytes() == (there / "log").read_bytes() == b"".join(lines)


CHANGES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("create", lambda here: (here / "new").touch(), ["dir", "file", "new"]),
    ("rename", lambda here: (here / "new").rename(here / "renamed"), ["dir", "file", "renamed"]),
    ("link", lambda here: os.link(here / "renamed", here / "linked"), ["dir", "file", "linked", "renamed"]),
    ("move into", lambda here: (here / "renamed").rename(here / "dir/inside"), ["dir", "file", "linked"]),
    ("unlink", lambda here: (here / "linked").unlink(), ["dir", "file"]),
    ("symlink", lambda here: (here / "sym").symlink_to("file"), ["dir", "file", "sym"]),
    ("replace", lambda here: (here / "sym").rename(here / "file"), ["dir", "file"]),
]


def test_names_made_here_are_seen_there(place: Path, there: Path) -> None:
    """Listings agree at once after each kind of change on either side."""
    (place / "dir").mkdir()
    (place / "file").touch()
    for number, (change, call, expected) in enumerate(CHANGES):
        call((place, there)[number % 2])
        assert names(place) == expected, change
        assert names(there) == expected, change


def create_exclusively(path: Path) -> None:
    """Makes the file if it is not there."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def test_exclusive_creation_has_one_winner(place: Path, there: Path) -> None:
    """O_EXCL and mkdir on both mounts: exactly one succeeds, whoever comes second."""
    for number in range(30):
        sides = [place, there] if number % 2 else [there, place]
        assert [outcome(create_exclusively, side / f"file{number}") for side in sides] == ["ok", "EEXIST"]
        assert [outcome(os.mkdir, side / f"dir{number}") for side in sides] == ["ok", "EEXIST"]


def test_exclusive_creation_at_once(place: Path, there: Path) -> None:
    """Two processes, a mount each, race for a hundred names: each name has one winner."""
    reader, writer = os.pipe()
    children = []
    for side in (place, there):
        child = os.fork()
        if child == 0:
            for number in range(100):
                if outcome(create_exclusively, side / str(number)) == "ok":
                    os.write(writer, b"%d\n" % number)
            os._exit(0)
        children.append(child)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        won = pipe.read().split()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert sorted(won) == sorted(b"%d" % number for number in range(100))


def test_many_files_from_both_sides_at_once(place: Path, there: Path) -> None:
    """Two processes, a mount each, write files into one directory: all are there with their bytes, seen from both."""

    def content(worker: int, number: int) -> bytes:
        return random.Random(worker * 1000 + number).randbytes(number * 997)

    children = []
    for worker, side in enumerate((place, there)):
        child = os.fork()
        if child == 0:
            for number in range(100):
                (side / f"{worker}-{number}").write_bytes(content(worker, number))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert names(place) == names(there) == sorted(f"{worker}-{number}" for worker in range(2) for number in range(100))
    for side in (place, there):
        for worker in range(2):
            for number in range(100):
                assert (side / f"{worker}-{number}").read_bytes() == content(worker, number)


def test_unlinked_there_while_open_here(place: Path, there: Path) -> None:
    """A file that another mount unlinks or replaces lives on for whoever has it open."""
    (place / "file").write_bytes(b"content" * 100_000)
    fd = os.open(place / "file", os.O_RDWR)
    (there / "file").unlink()
    assert outcome(os.stat, there / "file") == "ENOENT"
    assert os.pread(fd, 7, 350_000) == b"content"
    os.pwrite(fd, b"CHANGED", 0)
    os.fsync(fd)
    assert os.pread(fd, 14, 0) == b"CHANGEDcontent"
    os.close(fd)
    assert names(place) == names(there) == []


@pytest.mark.parametrize("size", [3, 100_000, 9_000_000])
def test_changed_there_while_open_here(place: Path, there: Path, size: int) -> None:
    """What another mount wrote and closed is seen at the next open, and through the descriptor that was open all the time."""
    before, after = b"a" * size, b"b" * (size + 1)
    (there / "file").write_bytes(before)
    fd = os.open(place / "file", os.O_RDONLY)
    assert os.pread(fd, size, 0) == before
    (there / "file").write_bytes(after)
    assert (place / "file").read_bytes() == after
    assert os.pread(fd, size + 2, 0) == after
    os.close(fd)
    assert (place / "file").read_bytes() == after
    assert (place / "file").stat().st_size == size + 1


def test_attributes_agree(place: Path, there: Path) -> None:
    """Mode, owner, times, xattrs set on one are what the other says, at the latest after attr_timeout_s."""
    (place / "file").write_text("x")
    assert (there / "file").stat().st_mode & 0o777 != 0o751
    (place / "file").chmod(0o751)
    os.chown(place / "file", 5, 6)
    os.utime(place / "file", ns=(1, 2))
    os.setxattr(place / "file", "user.k", b"v")

    def seen() -> tuple[int, int, int, int]:
        status = (there / "file").stat()
        return status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns

    deadline = time.monotonic() + CACHE_SECONDS_MAX
    while seen() != (0o751, 5, 6, 2) and time.monotonic() < deadline:
        tick()
    assert seen() == (0o751, 5, 6, 2)
    assert os.getxattr(there / "file", "user.k") == b"v"


@pytest.mark.parametrize("seed", [21, 22])
def test_fsx_on_two_mounts(place: Path, there: Path, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """fsx moves between the mounts at random and reads the whole file on the other after each close and fsync."""
    arguments = ["-q", "-S", str(seed), "-N", "1500", "-c", "15", "-P", str(tmp_path), "--second", str(there / "file")]
    assert fsx.main([*arguments, str(place / "file")]) == 0, capsys.readouterr().out


def test_a_listing_that_is_cached_here_and_changed_there(place: Path, there: Path) -> None:
    """The next listing here has the change, also where the directory's mtime was put back to what it was."""
    (place / "one").touch()
    os.utime(place, ns=(1, 1))
    for number in range(10):
        before = names(place)
        assert names(place) == before
        (there / f"new{number}").touch()
        os.utime(there, ns=(1, 1))
        assert names(place) == sorted([*before, f"new{number}"])
