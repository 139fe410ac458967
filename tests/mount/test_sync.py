"""fsync, fdatasync, O_SYNC, O_DSYNC, syncfs: accepted everywhere they should be. That they keep their word, tests/process shows."""

import os
from pathlib import Path

import pytest

from tests.support.posix import outcome


@pytest.mark.parametrize("flags", [0, os.O_SYNC, os.O_DSYNC, os.O_APPEND | os.O_SYNC])
@pytest.mark.parametrize("sync", [os.fsync, os.fdatasync], ids=["fsync", "fdatasync"])
def test_sync(place: Path, flags: int, sync: object) -> None:
    """Written, synced, and still what was written, for small and large writes."""
    assert callable(sync)
    fd = os.open(place / "file", os.O_RDWR | os.O_CREAT | flags)
    content = b""
    for size in (0, 1, 4096, 100_000, 3_000_000):
        os.write(fd, bytes([size % 251]) * size)
        content += bytes([size % 251]) * size
        sync(fd)
    assert os.pread(fd, len(content) + 1, 0) == content
    os.close(fd)


def test_kinds_that_sync(place: Path) -> None:
    """Files opened for reading and directories sync; fifos do not (EINVAL)."""
    (place / "file").touch()
    (place / "dir").mkdir()
    os.mkfifo(place / "fifo")
    for name in ("file", "dir"):
        fd = os.open(place / name, os.O_RDONLY)
        assert outcome(os.fsync, fd) == "ok"
        assert outcome(os.fdatasync, fd) == "ok"
        os.close(fd)
    fd = os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert outcome(os.fsync, fd) == "EINVAL"
    os.close(fd)


def test_sync_of_a_file_without_a_name(place: Path) -> None:
    """An unlinked file syncs."""
    fd = os.open(place / "file", os.O_RDWR | os.O_CREAT)
    (place / "file").unlink()
    os.write(fd, b"x" * 1_000_000)
    assert outcome(os.fsync, fd) == "ok"
    assert outcome(os.close, fd) == "ok"


def test_small_appends_with_a_sync_each(place: Path) -> None:
    """What a log does: many small appends, an fsync after each; the file is their sum."""
    records = [f"record {number}\n".encode() for number in range(300)]
    fd = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for record in records:
        os.write(fd, record)
        os.fsync(fd)
    os.close(fd)
    assert (place / "log").read_bytes() == b"".join(records)


def test_replace_by_rename(place: Path) -> None:
    """The way programs replace a file (write, fsync, rename, fsync the directory) works as often as one likes."""
    for number in range(50):
        with open(place / "new", "wb") as file:
            file.write(f"{number}".encode())
            file.flush()
            os.fsync(file.fileno())
        (place / "new").rename(place / "current")
        directory = os.open(place, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        assert (place / "current").read_text() == f"{number}"
    assert os.listdir(place) == ["current"]
