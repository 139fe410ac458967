"""O_TMPFILE, and linkat of what it makes."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.support.posix import linkat, outcome, with_umask

AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


@pytest.fixture(autouse=True)
def not_on_pyfuse3(driver: str) -> None:
    """It has no handler for it: test_declined.py."""
    if driver == "pyfuse3":
        pytest.skip("pyfuse3 has no O_TMPFILE")


def name_it(descriptor: int, path: Path) -> None:
    """As open(2) has it."""
    linkat(AT_FDCWD, f"/proc/self/fd/{descriptor}", path, AT_SYMLINK_FOLLOW)


def test_no_name(place: Path) -> None:
    """It is nowhere, has no links, and works."""
    descriptor = with_umask(0o027, lambda: os.open(place, os.O_TMPFILE | os.O_RDWR, 0o666))
    os.write(descriptor, b"content")
    found = os.fstat(descriptor)
    assert (found.st_nlink, found.st_mode, found.st_size) == (0, 0o100640, 7)
    assert os.listdir(place) == []
    assert os.pread(descriptor, 100, 0) == b"content"
    os.fsync(descriptor)
    os.close(descriptor)


def test_named_later(place: Path) -> None:
    """All at once, complete; and a taken name is not replaced."""
    descriptor = os.open(place, os.O_TMPFILE | os.O_WRONLY, 0o644)
    os.write(descriptor, b"content")
    name_it(descriptor, place / "name")
    assert os.fstat(descriptor).st_nlink == 1
    assert outcome(name_it, descriptor, place / "name") == "EEXIST"
    os.write(descriptor, b" and more")
    os.close(descriptor)
    assert (place / "name").read_bytes() == b"content and more"
    assert os.listdir(place) == ["name"]


def test_exclusive(place: Path) -> None:
    """O_EXCL: it can get no name."""
    descriptor = os.open(place, os.O_TMPFILE | os.O_EXCL | os.O_RDWR, 0o600)
    assert outcome(name_it, descriptor, place / "name") == "ENOENT"
    os.close(descriptor)


def test_reading_alone(place: Path) -> None:
    """It must be open for writing."""
    assert outcome(os.open, place, os.O_TMPFILE | os.O_RDONLY) == "EINVAL"


def test_opened_again(place: Path) -> None:
    """Through /proc; both see one file."""
    descriptor = os.open(place, os.O_TMPFILE | os.O_RDWR, 0o600)
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
    os.write(again, b"x")
    os.close(descriptor)
    assert os.pread(again, 10, 0) == b"x"
    os.close(again)


def test_python_uses_it(place: Path) -> None:
    """tempfile.TemporaryFile."""
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert os.listdir(place) == []
        file.seek(0)
        assert file.read() == b"x" * 100_000
