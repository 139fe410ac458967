"""The check that the crash tests rely on: it accepts what a crash may leave, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.manifest import PAGE_BYTES, Entry, Operation, Verdict, read_manifest, verify

ROOT = Path(__file__).resolve().parents[3]
PAGES = 4


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A directory that a writer has made on a local file system, and its manifest: ended in peace."""
    directory, manifest = tmp_path_factory.mktemp("written"), tmp_path_factory.mktemp("books") / "manifest"
    command = [sys.executable, "-m", "tests.support.manifest", "write", str(directory), str(manifest), "7"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        acknowledged = 0
        while acknowledged < 200:
            acknowledged += writer.stdout.read(1) in (b")", b".")
        writer.stdin.close()
        writer.stdout.read()
    assert writer.returncode == 0
    return directory, manifest


def test_what_was_written_is_there(written: tuple[Path, Path]) -> None:
    """All files byte for byte, after every kind of operation."""
    directory, manifest = written
    entries = read_manifest(manifest)
    verdict = verify(directory, entries)
    assert verdict.findings == []
    assert verdict.file_count == verdict.exact_count == len(os.listdir(directory)) > 0
    assert verdict.acknowledged_count >= 200
    assert {entry.operation.kind for entry in entries} == {"create", "write", "truncate", "rename", "unlink", "sync"}


def test_damage_is_found(written: tuple[Path, Path]) -> None:
    """A byte that differs, a byte too few, a name that is gone, a name too many."""
    directory, manifest = written
    entries = read_manifest(manifest)
    path = max(directory.iterdir(), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"\0", b"\xff%b" % content[1:] if content[0] != 255 else b"\0%b" % content[1:]):
        path.write_bytes(damaged)
        assert len(verify(directory, entries).findings) == 1
    path.write_bytes(content)
    (directory / "new").touch()
    assert len(verify(directory, entries).findings) == 1
    (directory / "new").unlink()
    path.unlink()
    assert len(verify(directory, entries).findings) == 1
    path.write_bytes(content)
    assert verify(directory, entries).findings == []


def cut_off(directory: Path, last: Operation, content: bytes | None) -> Verdict:
    """A file of four pages, synced; another operation that was cut off; and then that content under the name "f"."""
    first = Operation("write", 1, size=PAGES * PAGE_BYTES, seed=1)
    entries = [Entry(Operation("create", 1, name="f"), 1, 2), Entry(first, 3, 4)]
    entries += [Entry(Operation("sync", 1), 5, 6), Entry(last, 7)]
    if content is not None:
        (directory / "f").write_bytes(content)
    return verify(directory, entries)


OLD = Operation("write", 1, size=PAGES * PAGE_BYTES, seed=1).data()
OVERWRITE = Operation("write", 1, offset=PAGE_BYTES // 2, size=2 * PAGE_BYTES, seed=2)
NEW = OLD[: PAGE_BYTES // 2] + OVERWRITE.data() + OLD[PAGE_BYTES // 2 + 2 * PAGE_BYTES :]


@pytest.mark.parametrize(
    ("content", "is_right"),
    [
        (OLD, True),
        (NEW, True),
        (NEW[:PAGE_BYTES] + OLD[PAGE_BYTES:], True),
        (OLD[:PAGE_BYTES] + NEW[PAGE_BYTES : 2 * PAGE_BYTES] + OLD[2 * PAGE_BYTES :], True),
        (OLD[:PAGE_BYTES] + bytes(PAGE_BYTES) + OLD[2 * PAGE_BYTES :], False),
        (OLD[: 3 * PAGE_BYTES] + NEW[:PAGE_BYTES], False),
        (OLD[: 3 * PAGE_BYTES], False),
        (OLD + b"\0", False),
    ],
)
def test_pages_written_since_the_sync_are_old_or_new(tmp_path: Path, content: bytes, is_right: bool) -> None:
    """Each page by itself; all others as they were synced."""
    assert (cut_off(tmp_path, OVERWRITE, content).findings == []) is is_right


@pytest.mark.parametrize(("name", "is_right"), [("f", True), ("g", True), ("h", False)])
def test_a_rename_that_was_cut_off(tmp_path: Path, name: str, is_right: bool) -> None:
    """It took effect or it did not."""
    (tmp_path / name).write_bytes(OLD)
    verdict = cut_off(tmp_path, Operation("rename", 1, name="f", new_name="g"), None)
    assert (verdict.findings == []) is is_right
