"""The real file layer passes the contract; a lock lives in the kernel and dies with its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.base.files import RealFile, RealFiles
from tests.contract.files_contract import FilesContract


class TestRealFiles(FilesContract):
    """On a disk of this machine."""

    @pytest.fixture
    def files(self) -> RealFiles:
        """The real ones."""
        return RealFiles()

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """A temporary one."""
        return tmp_path


HOLDER = """
import sys
from pathlib import Path
from ringfs.base.files import RealFiles
lock = RealFiles().lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_another_process_is_named_and_its_death_unlocks(tmp_path: Path) -> None:
    """A directory that another process holds is refused with its pid, and free once that process was killed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match=f"process {holder.pid}"):
            RealFiles().lock(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    RealFiles().lock(tmp_path).release()


def test_new_files_are_private(tmp_path: Path) -> None:
    """Journals and segments are not for other users of the machine."""
    RealFiles().open(tmp_path / "a", create=True).close()
    RealFiles().make_directory(tmp_path / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes the kernel takes at once, all of them arrive, at their place."""
    pwrite, pwritev = os.pwrite, os.pwritev
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:3], offset))
    monkeypatch.setattr(os, "pwritev", lambda descriptor, parts, *rest: pwritev(descriptor, [parts[0][:4]], *rest))
    file = RealFile(os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT))
    file.pwrite(b"0123456789", 0)
    file.pwrite_durable(b"abcdefghij", 10)
    assert file.pread(100, 0) == b"0123456789abcdefghij"
    file.close()


def test_short_reads_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes the kernel gives at once, a read ends only with the file."""
    (tmp_path / "a").write_bytes(b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: pread(descriptor, min(length, 4), offset))
    file = RealFiles().open(tmp_path / "a")
    assert file.pread(9, 0) == b"012345678"
    assert file.pread(100, 1) == b"123456789"
    file.close()
