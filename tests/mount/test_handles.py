"""File handles (name_to_handle_at, open_by_handle_at), as NFS servers use them: they outlive names and the mount that told them."""

import os
from pathlib import Path

import pytest

from tests.support.posix import AT_FDCWD, handle_of, open_by_handle_at, outcome


@pytest.fixture
def elsewhere(place: Path, mount_point: Path, second_mount_point: Path) -> Path:
    """The same place seen through a mount that has looked up nothing in it."""
    return second_mount_point / place.relative_to(mount_point)


def handle(path: Path) -> bytes:
    return handle_of(AT_FDCWD, str(path), 0)


def test_file(place: Path, elsewhere: Path) -> None:
    """Its handle stands for it wherever it was moved, also on a mount that has never looked it up; it can be written by it."""
    (place / "dir/deeper").mkdir(parents=True)
    (place / "dir/file").write_bytes(b"x" * 100_000)
    kept = handle(place / "dir/file")
    (place / "dir/file").rename(place / "dir/deeper/moved")
    root = os.open(elsewhere.parent, os.O_RDONLY)
    with open(open_by_handle_at(root, kept, os.O_RDWR), "r+b") as file:
        assert file.read() == b"x" * 100_000
        file.write(b"y")
    os.close(root)
    assert (place / "dir/deeper/moved").read_bytes() == b"x" * 100_000 + b"y"


def test_directory(place: Path, elsewhere: Path) -> None:
    """A directory's handle leads to its entries, and upwards to its path."""
    (place / "dir/deeper").mkdir(parents=True)
    (place / "dir/deeper/entry").touch()
    root = os.open(elsewhere.parent, os.O_RDONLY)
    directory = open_by_handle_at(root, handle(place / "dir/deeper"), os.O_RDONLY)
    assert os.listdir(directory) == ["entry"]
    assert os.readlink(f"/proc/self/fd/{directory}") == str(elsewhere / "dir/deeper")
    os.close(directory)
    os.close(root)


def test_removed_file(place: Path, elsewhere: Path) -> None:
    """ESTALE."""
    (place / "file").touch()
    kept = handle(place / "file")
    (place / "file").unlink()
    root = os.open(elsewhere.parent, os.O_RDONLY)
    assert outcome(open_by_handle_at, root, kept, os.O_RDONLY) == "ESTALE"
    os.close(root)
