"""atime on a mount: relatime, as a mount has it by default."""

import os
from pathlib import Path

import pytest

LONG_AGO_NS = 10**18


@pytest.fixture
def file(place: Path) -> Path:
    """A file that was last read before it was last changed, and that no page cache has."""
    path = place / "file"
    path.write_bytes(b"content")
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return path


def test_reading_moves_it(file: Path) -> None:
    """mtime and ctime stay."""
    before = file.stat()
    assert file.read_bytes() == b"content"
    after = file.stat()
    assert after.st_atime_ns > LONG_AGO_NS
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_once(file: Path) -> None:
    """Until the file changes."""
    file.read_bytes()
    first_ns = file.stat().st_atime_ns
    file.read_bytes()
    assert file.stat().st_atime_ns == first_ns


def test_o_noatime(file: Path) -> None:
    """O_NOATIME leaves it."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOATIME)
    os.read(descriptor, 10)
    os.close(descriptor)
    assert file.stat().st_atime_ns == LONG_AGO_NS


def test_directories(place: Path) -> None:
    """Listing one moves its own."""
    directory = place / "dir"
    directory.mkdir()
    (directory / "name").touch()
    os.utime(directory, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert os.listdir(directory) == ["name"]
    assert directory.stat().st_atime_ns > LONG_AGO_NS


def test_what_is_set_counts(file: Path) -> None:
    """utime after a read."""
    file.read_bytes()
    os.utime(file, ns=(5, 4))
    assert file.stat().st_atime_ns == 5
