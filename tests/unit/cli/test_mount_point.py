"""A mount point is an empty directory that nothing is mounted on; everything else is refused with the reason."""

from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.cli.mount_point import prepare_mount_point


def test_empty_directory(tmp_path: Path) -> None:
    """It is taken, by its real path."""
    (tmp_path / "mnt").mkdir()
    (tmp_path / "link").symlink_to("mnt")
    assert prepare_mount_point(tmp_path / "link") == (tmp_path / "mnt").resolve()


def test_missing_directory(tmp_path: Path) -> None:
    """It is refused, or made where that is wanted."""
    with pytest.raises(UserError, match="does not exist: make the directory first"):
        prepare_mount_point(tmp_path / "a" / "mnt")
    assert prepare_mount_point(tmp_path / "a" / "mnt", make=True).is_dir()


def test_directory_that_holds_something(tmp_path: Path) -> None:
    """Its content would be hidden."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not empty"):
        prepare_mount_point(tmp_path)


def test_file(tmp_path: Path) -> None:
    """A file is no mount point."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a directory"):
        prepare_mount_point(tmp_path / "file")


def test_other_mount() -> None:
    """What is mounted there already is named."""
    with pytest.raises(UserError, match="a mount of type proc is at /proc already"):
        prepare_mount_point(Path("/proc"))
