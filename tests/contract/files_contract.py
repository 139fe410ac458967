"""What every file layer does: the suite that the real one and its fault-injecting twin both pass."""

import os
from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.base.files import Files


class FilesContract:
    """Subclasses provide the fixtures `files` and `directory` (an empty, existing one)."""

    def test_a_new_file_is_empty_and_must_be_new(self, files: Files, directory: Path) -> None:
        """open(create=True) makes a file, and refuses one that exists."""
        assert files.open(directory / "a", create=True).size_bytes() == 0
        with pytest.raises(FileExistsError):
            files.open(directory / "a", create=True)
        assert files.list(directory) == ["a"]

    def test_a_file_that_is_not_there(self, files: Files, directory: Path) -> None:
        """open, rename and unlink say so."""
        with pytest.raises(FileNotFoundError):
            files.open(directory / "a")
        with pytest.raises(FileNotFoundError):
            files.rename(directory / "a", directory / "b")
        with pytest.raises(FileNotFoundError):
            files.unlink(directory / "a")

    def test_bytes_are_where_they_were_written(self, files: Files, directory: Path) -> None:
        """pwrite, pwrite_durable and pread agree; gaps are zeros; reads end with the file."""
        file = files.open(directory / "a", create=True)
        file.pwrite(memoryview(b"later"), 8)
        file.pwrite(bytearray(b"abcd"), 2)
        file.pwrite_durable(memoryview(b"X"), 1)
        file.fdatasync()
        assert file.pread(100, 0) == b"\0Xabcd\0\0later"
        assert file.pread(3, 3) == b"bcd"
        assert file.pread(3, 13) == b""
        assert files.open(directory / "a").pread(5, 8) == b"later"
        file.close()

    def test_fallocate_extends_and_keeps(self, files: Files, directory: Path) -> None:
        """fallocate makes the file longer, never shorter, and changes no byte."""
        file = files.open(directory / "a", create=True)
        file.pwrite(b"abc", 0)
        file.fallocate(0, 4096)
        file.fallocate(0, 2)
        assert file.size_bytes() == 4096
        assert file.pread(5, 0) == b"abc\0\0"
        file.close()

    def test_names(self, files: Files, directory: Path) -> None:
        """rename replaces, unlink removes, directories may exist already."""
        files.open(directory / "a", create=True).pwrite(b"a", 0)
        files.open(directory / "b", create=True).pwrite(b"b", 0)
        files.rename(directory / "a", directory / "b")
        assert files.list(directory) == ["b"]
        assert files.open(directory / "b").pread(1, 0) == b"a"
        files.unlink(directory / "b")
        files.make_directory(directory / "c")
        files.make_directory(directory / "c")
        files.sync_directory(directory)
        assert files.list(directory) == ["c"]

    def test_a_locked_directory_is_refused_until_released(self, files: Files, directory: Path, own_pid: str) -> None:
        """The second lock is a UserError that names directory and pid; after release it succeeds."""
        lock = files.lock(directory)
        with pytest.raises(UserError, match=rf"{directory} is in use by process {own_pid}"):
            files.lock(directory)
        lock.release()
        files.lock(directory).release()

    @pytest.fixture
    def own_pid(self) -> str:
        """The lock is held by this very process."""
        return str(os.getpid())
