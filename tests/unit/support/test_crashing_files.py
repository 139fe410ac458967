"""The fault-injecting file layer passes the same contract as the real one, and loses what a crash may lose."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.files_contract import FilesContract
from tests.support.crashing_files import Crashed, CrashingFiles, choices, everything_survives, nothing_survives, some_survives

D = Path("/d")


class TestCrashingFiles(FilesContract):
    """In memory."""

    @pytest.fixture
    def files(self) -> CrashingFiles:
        """One with an empty directory."""
        files = CrashingFiles()
        files.make_directory(D)
        files.sync_directory(Path("/"))
        return files

    @pytest.fixture
    def directory(self) -> Path:
        """The empty one."""
        return D


@pytest.fixture
def files() -> CrashingFiles:
    """One with a durable file of 2048 times `a`."""
    files = CrashingFiles()
    files.make_directory(D)
    files.sync_directory(Path("/"))
    file = files.open(D / "f", create=True)
    file.pwrite(b"a" * 2048, 0)
    file.fdatasync()
    files.sync_directory(D)
    return files


def outcomes(files: CrashingFiles, path: Path = D / "f") -> set[bytes | None]:
    """Contents (None: no such file) that crashes leave."""
    found: set[bytes | None] = set()
    for _, choose in choices("outcomes", 60):
        survivor = files.after_crash(choose)
        found.add(survivor.open(path).pread(1 << 20, 0) if path.name in survivor.list(path.parent) else None)
    return found


def test_synced_bytes_survive(files: CrashingFiles) -> None:
    """What fdatasync and sync_directory returned for is there after every crash."""
    assert outcomes(files) == {b"a" * 2048}


def test_unsynced_sectors_survive_one_by_one(files: CrashingFiles) -> None:
    """Each sector of an unsynced write is old or new, in every combination."""
    files.open(D / "f").pwrite(b"b" * 1024, 0)
    assert outcomes(files) == {x * 512 + y * 512 + b"a" * 1024 for x in (b"a", b"b") for y in (b"a", b"b")}


def test_a_durable_write_is_so_alone(files: CrashingFiles) -> None:
    """Its sectors survive, with what was written to them before; other unsynced bytes may still be lost."""
    file = files.open(D / "f")
    file.pwrite(b"b" * 1536, 512)
    file.pwrite_durable(b"c" * 100, 1024)
    sector = b"c" * 100 + b"b" * 412
    assert outcomes(files) == {b"a" * 512 + x * 512 + sector + y * 512 for x in (b"a", b"b") for y in (b"a", b"b")}
    file.pwrite_durable(b"d" * 10, 4096)
    assert {(content or b"")[2048:] for content in outcomes(files)} == {bytes(2048) + b"d" * 10}


def test_writes_to_one_sector_survive_in_order(files: CrashingFiles) -> None:
    """A sector never shows a later write without the earlier ones to it."""
    file = files.open(D / "f")
    file.pwrite(b"b", 0)
    file.pwrite(b"c", 1)
    assert {(content or b"")[:2] for content in outcomes(files)} == {b"aa", b"ba", b"bc"}


def test_a_size_survives_apart_from_its_bytes(files: CrashingFiles) -> None:
    """An extended file is as before, longer with zeros, or longer with the bytes."""
    files.open(D / "f").pwrite(b"b" * 512, 2048)
    old = b"a" * 2048
    assert outcomes(files) == {old, old + bytes(512), old + b"b" * 512}


def test_names_survive_or_not(files: CrashingFiles) -> None:
    """Unsynced entries may be lost, and so may removals and renames, but a rename leaves exactly one name."""
    files.open(D / "g", create=True)
    assert outcomes(files, D / "g") == {b"", None}
    files.rename(D / "f", D / "h")
    for name, choose in choices("names", 20):
        assert len({"f", "h"} & set(files.after_crash(choose).list(D))) == 1, name
    files.sync_directory(D)
    files.unlink(D / "h")
    assert outcomes(files, D / "h") == {b"a" * 2048, None}


def test_a_failed_fdatasync_loses_for_good(files: CrashingFiles) -> None:
    """After it, processes see the bytes, another fdatasync succeeds, and a crash still loses some of them."""
    losses = 0
    for seed in range(8):
        twin = files.after_kill()
        twin.lose = some_survives(str(seed))
        file = twin.open(D / "f")
        file.pwrite(b"b" * 2048, 0)
        twin.fail("fdatasync", errno.EIO)
        with pytest.raises(OSError, match="Input/output error"):
            file.fdatasync()
        file.fdatasync()
        assert file.pread(2048, 0) == b"b" * 2048
        losses += twin.after_crash(everything_survives).open(D / "f").pread(2048, 0) != b"b" * 2048
    assert losses


def test_boundaries_crash_and_count(files: CrashingFiles) -> None:
    """crash_at counts boundaries from 1, and nothing works after the crash."""
    files.step_count, files.crash_at = 0, 2
    file = files.open(D / "f")
    file.pwrite(b"b" * 512, 0)
    with pytest.raises(Crashed):
        file.fdatasync()
    with pytest.raises(Crashed):
        files.unlink(D / "f")
    assert files.after_crash(nothing_survives).open(D / "f").pread(1, 0) == b"a"


def test_a_full_disk(files: CrashingFiles) -> None:
    """Beyond the capacity: ENOSPC; overwriting is possible still."""
    files.capacity_bytes = 2048 + 100
    file = files.open(D / "f")
    file.pwrite(b"b" * 2048, 0)
    calls: list[Callable[[], object]] = [lambda: file.pwrite(b"b" * 101, 2048), lambda: file.fallocate(0, 3000)]
    for call in calls:
        with pytest.raises(OSError, match="No space left") as caught:
            call()
        assert caught.value.errno == errno.ENOSPC
    file.pwrite(b"b" * 100, 2048)
