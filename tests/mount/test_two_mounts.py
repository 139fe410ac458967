"""Two mounts of one cluster, in turn and at once: what one did is what the other sees, and nothing is lost or mixed up. Locks:
test_locks.py.
"""

import mmap
import os
import random
import sqlite3
import subprocess
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.support.posix import names, outcome, tick
from tools import fsx

#: attr_timeout_s and entry_timeout_s are 1; a loaded machine may be late.
CACHE_SECONDS_MAX = 120


@pytest.fixture
def there(place: Path, mount_point: Path, second_mount_point: Path) -> Path:
    """The same directory as place, seen through the other mount."""
    return second_mount_point / place.relative_to(mount_point)


def test_closed_here_open_there(place: Path, there: Path) -> None:
    """Both ways, small and large, new and overwritten, a file closed on one mount is read right on the other."""
    pick = random.Random(1)
    for turn, size in enumerate([1, 5000, 70_000, 9_000_000, 3, 200_000, 0, 64_000, 1_000_000]):
        writer, reader = (place, there) if turn % 2 else (there, place)
        content = pick.randbytes(size)
        (writer / "file").write_bytes(content)
        with open(reader / "file", "rb") as file:
            assert os.fstat(file.fileno()).st_size == size, f"turn {turn}"
            assert file.read() == content, f"turn {turn}"


def test_partial_overwrites_in_turn(place: Path, there: Path) -> None:
    """Each mount in turn overwrites a few bytes of one file; nobody's bytes are lost."""
    pick = random.Random(2)
    content = bytearray(pick.randbytes(300_000))
    (place / "file").write_bytes(content)
    for turn in range(40):
        here, other = (place, there) if turn % 2 else (there, place)
        offset, piece = pick.randrange(299_000), pick.randbytes(pick.randrange(1, 1000))
        fd = os.open(here / "file", os.O_WRONLY)
        os.pwrite(fd, piece, offset)
        os.close(fd)
        content[offset : offset + len(piece)] = piece
        assert (other / "file").read_bytes() == content, f"turn {turn}"


def test_appends_in_turn(place: Path, there: Path) -> None:
    """A log that both mounts append to, opening and closing it each time, has every line in order."""
    lines = [f"line {number}\n".encode() * 10 for number in range(60)]
    for number, line in enumerate(lines):
        with open((place, there)[number % 2] / "log", "ab") as log:
            log.write(line)
    assert (place / "log").read_bytes() == (there / "log").read_bytes() == b"".join(lines)


CHANGES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("create", lambda here: (here / "new").touch(), ["dir", "file", "new"]),
    ("rename", lambda here: (here / "new").rename(here / "renamed"), ["dir", "file", "renamed"]),
    ("link", lambda here: os.link(here / "renamed", here / "linked"), ["dir", "file", "linked", "renamed"]),
    ("move into", lambda here: (here / "renamed").rename(here / "dir/inside"), ["dir", "file", "linked"]),
    ("unlink", lambda here: (here / "linked").unlink(), ["dir", "file"]),
    ("symlink", lambda here: (here / "sym").symlink_to("file"), ["dir", "file", "sym"]),
    ("replace", lambda here: (here / "sym").rename(here / "file"), ["dir", "file"]),
]


def test_names_made_here_are_seen_there(place: Path, there: Path) -> None:
    """Listings agree at once after each kind of change on either side."""
    (place / "dir").mkdir()
    (place / "file").touch()
    for number, (change, call, expected) in enumerate(CHANGES):
        call((place, there)[number % 2])
        assert names(place) == expected, change
        assert names(there) == expected, change


def create_exclusively(path: Path) -> None:
    """Makes the file if it is not there."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def test_exclusive_creation_has_one_winner(place: Path, there: Path) -> None:
    """O_EXCL and mkdir on both mounts: exactly one succeeds, whoever comes second."""
    for number in range(30):
        sides = [place, there] if number % 2 else [there, place]
        assert [outcome(create_exclusively, side / f"file{number}") for side in sides] == ["ok", "EEXIST"]
        assert [outcome(os.mkdir, side / f"dir{number}") for side in sides] == ["ok", "EEXIST"]


def test_exclusive_creation_at_once(place: Path, there: Path) -> None:
    """Two processes, a mount each, race for a hundred names: each name has one winner."""
    reader, writer = os.pipe()
    children = []
    for side in (place, there):
        child = os.fork()
        if child == 0:
            for number in range(100):
                if outcome(create_exclusively, side / str(number)) == "ok":
                    os.write(writer, b"%d\n" % number)
            os._exit(0)
        children.append(child)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        won = pipe.read().split()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert sorted(won) == sorted(b"%d" % number for number in range(100))


def test_many_files_from_both_sides_at_once(place: Path, there: Path) -> None:
    """Two processes, a mount each, write files into one directory: all are there with their bytes, seen from both."""

    def content(worker: int, number: int) -> bytes:
        return random.Random(worker * 1000 + number).randbytes(number * 997)

    children = []
    for worker, side in enumerate((place, there)):
        child = os.fork()
        if child == 0:
            for number in range(100):
                (side / f"{worker}-{number}").write_bytes(content(worker, number))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert names(place) == names(there) == sorted(f"{worker}-{number}" for worker in range(2) for number in range(100))
    for side in (place, there):
        for worker in range(2):
            for number in range(100):
                assert (side / f"{worker}-{number}").read_bytes() == content(worker, number)


def test_unlinked_there_while_open_here(place: Path, there: Path) -> None:
    """A file that another mount unlinks or replaces lives on for whoever has it open."""
    (place / "file").write_bytes(b"content" * 100_000)
    fd = os.open(place / "file", os.O_RDWR)
    (there / "file").unlink()
    assert outcome(os.stat, there / "file") == "ENOENT"
    assert os.pread(fd, 7, 350_000) == b"content"
    os.pwrite(fd, b"CHANGED", 0)
    os.fsync(fd)
    assert os.pread(fd, 14, 0) == b"CHANGEDcontent"
    os.close(fd)
    assert names(place) == names(there) == []


@pytest.mark.parametrize("size", [3, 100_000, 9_000_000])
def test_changed_there_while_open_here(place: Path, there: Path, size: int) -> None:
    """What another mount wrote and closed is seen at the next open, and through the descriptor that was open all the time."""
    before, after = b"a" * size, b"b" * (size + 1)
    (there / "file").write_bytes(before)
    fd = os.open(place / "file", os.O_RDONLY)
    assert os.pread(fd, size, 0) == before
    (there / "file").write_bytes(after)
    assert (place / "file").read_bytes() == after
    assert os.pread(fd, size + 2, 0) == after
    os.close(fd)
    assert (place / "file").read_bytes() == after
    assert (place / "file").stat().st_size == size + 1


def test_attributes_agree(place: Path, there: Path) -> None:
    """Mode, owner, times, xattrs set on one are what the other says, at the latest after attr_timeout_s."""
    (place / "file").write_text("x")
    assert (there / "file").stat().st_mode & 0o777 != 0o751
    (place / "file").chmod(0o751)
    os.chown(place / "file", 5, 6)
    os.utime(place / "file", ns=(1, 2))
    os.setxattr(place / "file", "user.k", b"v")

    def seen() -> tuple[int, int, int, int]:
        status = (there / "file").stat()
        return status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns

    deadline = time.monotonic() + CACHE_SECONDS_MAX
    while seen() != (0o751, 5, 6, 2) and time.monotonic() < deadline:
        tick()
    assert seen() == (0o751, 5, 6, 2)
    assert os.getxattr(there / "file", "user.k") == b"v"


@pytest.mark.parametrize("seed", [21, 22])
def test_fsx_on_two_mounts(place: Path, there: Path, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """fsx moves between the mounts at random and reads the whole file on the other after each close and fsync."""
    arguments = ["-q", "-S", str(seed), "-N", "1500", "-c", "15", "-P", str(tmp_path), "--second", str(there / "file")]
    assert fsx.main([*arguments, str(place / "file")]) == 0, capsys.readouterr().out


def test_a_listing_that_is_cached_here_and_changed_there(place: Path, there: Path) -> None:
    """The next listing here has the change, also where the directory's mtime was put back to what it was."""
    (place / "one").touch()
    os.utime(place, ns=(1, 1))
    for number in range(10):
        before = names(place)
        assert names(place) == before
        (there / f"new{number}").touch()
        os.utime(there, ns=(1, 1))
        assert names(place) == sorted([*before, f"new{number}"])


@pytest.mark.parametrize("seed", [31, 32])
def test_fsx_on_both_at_once(place: Path, there: Path, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Two handles on each mount, all open at once: every read, map and size shows what any of them did a moment before."""
    arguments = [
        "-q",
        "-S",
        str(seed),
        "-N",
        "400",
        "-c",
        "30",
        "-l",
        "150000",
        "-o",
        "30000",
        "-P",
        str(tmp_path),
        "--handles",
        "4",
    ]
    assert fsx.main([*arguments, "--both", "--second", str(there / "file"), str(place / "file")]) == 0, capsys.readouterr().out


# --- at once ----------------------------------------------------------------------------------------------------------


def in_children(*tasks: Callable[[], None]) -> None:
    """Each in a process of its own, all at once; all must end well."""
    children = []
    for task in tasks:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                task()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


def append_lines(path: Path, writer: int) -> None:
    """A hundred lines by one descriptor, of one write each."""
    pick = random.Random(writer)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in range(100):
        length = pick.choice([1, 20, 300, 5000, 40_000, 300_000] if number % 10 == 0 else [1, 20, 300])
        line = b"%d %d %s\n" % (writer, number, b"%d" % writer * length)
        assert os.write(fd, line) == len(line)
    os.close(fd)


def test_appenders_at_once(place: Path, there: Path) -> None:
    """Two processes on each mount append to one log: each line is whole, none is lost, each writer's are in order."""
    in_children(*(partial(append_lines, (place, there)[writer % 2] / "log", writer) for writer in range(4)))
    for side in (place, there):
        found: dict[bytes, list[int]] = {}
        for line in (side / "log").read_bytes().splitlines():
            writer, number, fill = line.split(b" ")
            assert fill.strip(writer) == b"", line[:100]
            found.setdefault(writer, []).append(int(number))
        assert found == {b"%d" % writer: list(range(100)) for writer in range(4)}


def test_append_sees_its_own(place: Path, there: Path) -> None:
    """With the file open on both all the time, each append is read back at once on both, and sizes are right."""
    fds = [os.open(side / "log", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666) for side in (place, there)]
    content = b""
    for turn in range(40):
        piece = bytes([65 + turn % 26]) * (turn * turn + 1)
        assert os.write(fds[turn % 2], piece) == len(piece)
        content += piece
        for fd in fds:
            assert os.fstat(fd).st_size == len(content), turn
            assert os.pread(fd, len(content) + 1, 0) == content, turn
    for fd in fds:
        os.close(fd)


def test_plain_reads_after_plain_writes(place: Path, there: Path) -> None:
    """Descriptors that were open before on both: what write returned from is what read, stat and a new open show there."""
    (place / "file").write_bytes(bytes(100_000))
    fds = [os.open(side / "file", os.O_RDWR) for side in (place, there)]
    content = bytearray(100_000)
    pick = random.Random(5)
    for turn in range(60):
        writer, reader = fds[turn % 2], fds[1 - turn % 2]
        assert os.pread(reader, 1 << 20, 0) == content
        offset, piece = pick.randrange(len(content)), pick.randbytes(pick.choice([1, 100, 5000, 30_000]))
        os.pwrite(writer, piece, offset)
        content[offset : offset + len(piece)] = piece
        if turn % 7 == 6:
            size = pick.randrange(50_000, 150_000)
            os.ftruncate(writer, size)
            content = content[:size].ljust(size, b"\0")
        assert os.fstat(reader).st_size == len(content), f"turn {turn}"
        assert os.pread(reader, 1 << 20, 0) == content, f"turn {turn}"
        assert (place, there)[turn % 2].joinpath("file").read_bytes() == content, f"turn {turn}"
    for fd in fds:
        os.close(fd)


def test_maps_in_turn(place: Path, there: Path) -> None:
    """Shared maps of one file on both mounts: after msync on one, the other's map shows it."""
    (place / "file").write_bytes(bytes(20_000))
    fds = [os.open(side / "file", os.O_RDWR) for side in (place, there)]
    maps = [mmap.mmap(fd, 20_000) for fd in fds]
    for turn in range(20):
        writer, reader = maps[turn % 2], maps[1 - turn % 2]
        writer[turn * 900 : turn * 900 + 5] = b"%05d" % turn
        writer.flush()
        assert reader[turn * 900 : turn * 900 + 5] == b"%05d" % turn
    content = b"".join((b"%05d" % turn).ljust(900, b"\0") for turn in range(20)).ljust(20_000, b"\0")
    assert [bytes(each) for each in maps] == [content, content]
    for each, fd in zip(maps, fds, strict=True):
        each.close()
        os.close(fd)


def increment(path: Path, worker: int, times: int) -> None:
    """Transactions that read and write, each of its own."""
    with closing(sqlite3.connect(path, timeout=600, isolation_level=None)) as database:
        for number in range(times):
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE counter SET value = value + 1")
            database.execute("INSERT INTO rows VALUES (?, ?, ?)", (worker, number, "x" * (number * 97 % 3000)))
            database.execute("COMMIT")


def test_sqlite_at_once(place: Path, there: Path) -> None:
    """One database with a rollback journal, written from both mounts at once: no transaction is lost, and the database is sound."""
    with closing(sqlite3.connect(place / "db", isolation_level=None)) as database:
        assert database.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        database.execute("CREATE TABLE counter (value INTEGER)")
        database.execute("INSERT INTO counter VALUES (0)")
        database.execute("CREATE TABLE rows (worker INTEGER, number INTEGER, fill TEXT, UNIQUE (worker, number))")
    in_children(*(partial(increment, (place, there)[worker % 2] / "db", worker, 15) for worker in range(4)))
    for side in (place, there):
        with closing(sqlite3.connect(side / "db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("SELECT value FROM counter").fetchone() == (60,)
            assert database.execute("SELECT count(*) FROM rows").fetchone() == (60,)


def git(repository: Path, *arguments: str, index: str = "index", check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs git there, with an index of that name."""
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "gc.auto=0", "-c", "safe.directory=*"]
    environment = os.environ | {"GIT_INDEX_FILE": str(repository / ".git" / index)}
    command = ["git", *settings, *arguments]
    finished = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert not check or finished.returncode == 0, f"{arguments}: {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
    return finished


def commit_files(repository: Path, worker: int, count: int) -> None:
    """Commits of a file each on top of main. Who finds that main has moved meanwhile, or git's lock of it taken, begins again."""
    index = f"index-{worker}"
    for number in range(count):
        name = f"{worker}-{number}"
        (repository / name).write_text(f"{name}\n" * 50)
        while True:
            before = git(repository, "rev-parse", "main").stdout.strip()
            git(repository, "read-tree", before, index=index)
            git(repository, "update-index", "--add", name, index=index)
            tree = git(repository, "write-tree", index=index).stdout.strip()
            after = git(repository, "commit-tree", "-m", name, "-p", before, tree).stdout.strip()
            moved = git(repository, "update-ref", "-m", name, "refs/heads/main", after, before, check=False)
            if moved.returncode == 0:
                break
            assert "cannot lock ref" in moved.stderr, moved.stderr


@pytest.mark.parametrize("at_once", [False, True])
def test_git_on_both(place: Path, there: Path, at_once: bool) -> None:
    """One repository, committed to from both mounts, in turn and at once with git's own locks: all commits are there and sound."""
    git(place, "init", "-q", "-b", "main")
    git(place, "commit", "-q", "--allow-empty", "-m", "first")
    if at_once:
        in_children(*(partial(commit_files, side, worker, 6) for worker, side in enumerate((place, there))))
    else:
        for number in range(6):
            commit_files((place, there)[number % 2], number, 1)
    files = [f"{worker}-{number}" for worker in range(2) for number in range(6)] if at_once else [f"{n}-0" for n in range(6)]
    for side in (place, there):
        git(side, "fsck", "--strict", "--no-dangling")
        assert sorted(git(side, "ls-tree", "--name-only", "main").stdout.split()) == sorted(files)
        git(side, "reset", "-q", "--hard")
        assert git(side, "status", "--porcelain").stdout == ""
    assert int(git(place, "rev-list", "--count", "main").stdout) == len(files) + 1
    assert len(git(there, "reflog", "show", "main").stdout.splitlines()) == len(files) + 1
