"""Programs that people trust with their data, on the mount: SQLite, git, tar, cp, fio; and fsx, which trusts nobody."""

import filecmp
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from tools import fsx

ROOT = Path(__file__).resolve().parents[2]
#: A source tree that every machine has: packages, data files, deep and wide enough.
TREE = Path(json.__file__).resolve().parents[1]
PARTS = ("json", "email", "asyncio", "unittest", "encodings", "lib2to3")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a program; one that fails fails the test with what it said."""
    finished = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert finished.returncode == 0, f"{command}: {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def copy_tree(target: Path) -> None:
    """The source tree, without compiled files, with a few things that trees have: links, modes, empty directories, old times."""
    for part in PARTS:
        shutil.copytree(TREE / part, target / part, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (target / "empty").mkdir()
    (target / "link").symlink_to("json/decoder.py")
    (target / "dangling").symlink_to("nowhere")
    os.link(target / "json/decoder.py", target / "hard")
    (target / "json/tool.py").chmod(0o4755)
    (target / "odd name\n é").write_text("odd")
    os.utime(target / "json/encoder.py", ns=(1_000_000_000_000_000_001, 1_100_000_000_000_000_002))
    with open(target / "sparse", "wb") as file:
        file.truncate(3_000_000)
        file.write(b"start")
        file.seek(2_000_000)
        file.write(b"middle")


def describe(tree: Path) -> dict[str, tuple[object, ...]]:
    """Everything that an archive must keep, by path: type and mode, owner, size, mtime, target, link count."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        is_directory, is_link = path.is_dir() and not path.is_symlink(), path.is_symlink()
        found[str(path.relative_to(tree))] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            None if is_directory else status.st_size,
            status.st_mtime_ns,
            os.readlink(path) if is_link else None,
            None if is_directory else status.st_nlink,
        )
    return found


def assert_same_bytes(first: Path, second: Path) -> None:
    """Every file of first is in second, with the same bytes."""
    for path in first.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert filecmp.cmp(path, second / path.relative_to(first), shallow=False), path


@pytest.mark.parametrize(
    "options",
    [
        ["-S", "1", "-N", "4000"],
        ["-S", "2", "-N", "3000", "-c", "20"],
        ["-S", "3", "-N", "3000", "-c", "30", "--handles", "2"],
        ["-S", "4", "-N", "1500", "-l", "20000000", "-o", "2000000", "-c", "50"],
        ["-S", "5", "-N", "1000", "-f", "-c", "25"],
        ["-S", "6", "-N", "2000", "-L"],
    ],
    ids=" ".join,
)
def test_fsx(place: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Thousands of random operations, every byte compared."""
    assert fsx.main(["-q", "-P", str(tmp_path), *options, str(place / "file")]) == 0, capsys.readouterr().out


def add_rows(path: Path, worker: int, count: int, journal_mode: str) -> None:
    """What each SQLite process does: count transactions of two rows that must stay together."""
    with closing(sqlite3.connect(path, timeout=600, isolation_level=None)) as database:
        database.execute(f"pragma journal_mode={journal_mode}")
        for number in range(count):
            database.execute("begin immediate")
            database.execute("insert into item values (?, ?, 'first', ?)", (worker, number, os.urandom(300)))
            database.execute("insert into item values (?, ?, 'second', ?)", (worker, number, os.urandom(300)))
            database.execute("commit")


@pytest.mark.parametrize("journal_mode", ["wal", "delete", "truncate"])
def test_sqlite(place: Path, journal_mode: str) -> None:
    """Three processes write one database at once: all their transactions are in it, whole, and it is sound; vacuum keeps it so."""
    path, workers, count = place / "database", 3, 25
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(f"pragma journal_mode={journal_mode}").fetchone() == (journal_mode,)
        database.execute("create table item (worker, number, half, bytes)")
        database.execute("create index by_number on item (worker, number)")
    context = get_context("fork")
    processes = [context.Process(target=add_rows, args=(path, worker, count, journal_mode)) for worker in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * workers
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        halves = database.execute("select worker, number, count(*) from item group by worker, number").fetchall()
        assert sorted(halves) == [(worker, number, 2) for worker in range(workers) for number in range(count)]
        database.execute("delete from item where number % 2")
        database.commit()
        database.execute("vacuum")
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert database.execute("select count(*) from item").fetchone() == (2 * workers * len(range(0, count, 2)),)


def test_sqlite_rolls_back(place: Path) -> None:
    """A writer that dies in the middle of a transaction leaves the one before."""
    path = place / "database"
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma journal_mode=delete")
        database.execute("create table item (bytes)")
        database.executemany("insert into item values (?)", [(os.urandom(1000),) for _ in range(200)])
        database.commit()
    program = (
        "import os, sqlite3, sys\n"
        "d = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "d.execute('pragma cache_size=1'); d.execute('begin')\n"
        "d.execute('update item set bytes = zeroblob(1000)'); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert (place / "database-journal").exists(), "the writer died too early to show anything"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert database.execute("select count(*) from item where bytes = zeroblob(1000)").fetchone() == (0,)


def test_git(place: Path) -> None:
    """init, add, commit, branch, merge, clone, gc, fsck, worktree: the histories agree and every object is sound."""
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main", "-c", "gc.auto=0")
    origin, clone = place / "origin", place / "clone"
    run(*git, "init", "-q", origin)
    for part in PARTS[:4]:
        shutil.copytree(TREE / part, origin / part, ignore=shutil.ignore_patterns("__pycache__"))
        run(*git, "add", "-A", cwd=origin)
        run(*git, "commit", "-q", "-m", part, cwd=origin)
    run(*git, "checkout", "-q", "-b", "side", "HEAD~1", cwd=origin)
    (origin / "side.txt").write_text("side\n")
    run(*git, "add", "-A", cwd=origin)
    run(*git, "commit", "-q", "-m", "side", cwd=origin)
    run(*git, "checkout", "-q", "main", cwd=origin)
    run(*git, "merge", "-q", "--no-edit", "side", cwd=origin)
    run(*git, "clone", "-q", "--no-hardlinks", origin, clone)
    run(*git, "gc", "-q", "--aggressive", "--prune=now", cwd=origin)
    for repository in (origin, clone):
        run(*git, "fsck", "--full", "--strict", cwd=repository)
        assert run(*git, "status", "--porcelain", cwd=repository) == ""
    assert run(*git, "rev-parse", "HEAD", cwd=origin) == run(*git, "rev-parse", "HEAD", cwd=clone)
    assert len(run(*git, "log", "--oneline", cwd=clone).splitlines()) == 6


def test_tar_round_trip(place: Path, tmp_path: Path) -> None:
    """A tree unpacked on the mount and packed again is the same tree: types, modes, owners, times, links, holes, bytes."""
    source, there, back = tmp_path / "source", place / "there", tmp_path / "back"
    for directory in (source, there, back):
        directory.mkdir()
    copy_tree(source)
    run("tar", "-C", source, "--format=posix", "-cSf", tmp_path / "1.tar", ".")
    run("tar", "-C", there, "-xpSf", tmp_path / "1.tar")
    assert describe(there) == describe(source)
    assert_same_bytes(source, there)
    run("tar", "-C", there, "--format=posix", "-cSf", place / "2.tar", ".")
    run("tar", "-C", back, "-xpSf", place / "2.tar")
    assert describe(back) == describe(source)
    assert_same_bytes(source, back)


def test_cp_and_mv(place: Path, tmp_path: Path) -> None:
    """cp -a onto the mount, within it and back, mv across: the same tree each time; rm -r leaves nothing."""
    source = tmp_path / "source"
    source.mkdir()
    copy_tree(source)
    run("cp", "-a", source, place / "first")
    run("cp", "-a", "--reflink=auto", "--sparse=always", place / "first", place / "second")
    run("cp", "-a", place / "second", tmp_path / "back")
    for copy in (place / "first", place / "second", tmp_path / "back"):
        assert describe(copy) == describe(source)
        assert_same_bytes(source, copy)
    run("mv", tmp_path / "back", place / "moved")
    assert describe(place / "moved") == describe(source)
    run("diff", "-r", "--no-dereference", place / "first", place / "moved")
    run("rm", "-r", place / "first", place / "second", place / "moved")
    assert os.listdir(place) == []


def test_find_and_du(place: Path) -> None:
    """find visits each entry once; du counts a hard link once."""
    copy_tree(place)
    listed = run("find", place, "-print0").split("\0")[:-1]
    assert sorted(listed) == sorted([str(place), *map(str, place.rglob("*"))])
    assert int(run("du", "-s", "--apparent-size", "-B1", place / "hard", place / "json/decoder.py").split()[0]) > 0


def test_fio_verify(place: Path) -> None:
    """fio writes in order, at random and with four jobs, and finds every crc32c right."""
    report = json.loads(run(sys.executable, ROOT / "tools/fio.py", place, "--only", "verify", "--size", "64", "--json"))
    assert [row["job"] for row in report] == ["verify-seq", "verify-rand", "verify-4jobs"]
    assert [row["error"] for row in report] == ["", "", ""]
