"""open(2) and creat(2): flags, modes, umask, and who may."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.posix import ALICE, BOB, as_user, outcome, with_umask

MODES = [0o000, 0o400, 0o600, 0o644, 0o666, 0o755, 0o777, 0o4755, 0o2755, 0o1777, 0o7777]
UMASKS = [0o000, 0o022, 0o077, 0o777]


@pytest.fixture
def scene(place: Path) -> Path:
    """One of each: file, empty directory, fifo, links to file, directory, nothing and themselves."""
    (place / "file").write_bytes(b"content")
    (place / "dir").mkdir()
    os.mkfifo(place / "fifo")
    for name, target in (("to_file", "file"), ("to_dir", "dir"), ("dangling", "new"), ("loop", "loop")):
        (place / name).symlink_to(target)
    return place


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("absent", os.O_RDONLY, "ENOENT"),
        ("absent", os.O_WRONLY | os.O_TRUNC, "ENOENT"),
        ("absent/file", os.O_RDONLY | os.O_CREAT, "ENOENT"),
        ("absent", os.O_RDWR | os.O_CREAT, "ok"),
        ("absent", os.O_RDWR | os.O_CREAT | os.O_EXCL, "ok"),
        ("absent", os.O_RDONLY | os.O_CREAT | os.O_DIRECTORY, "EINVAL"),
        ("absent/", os.O_RDWR | os.O_CREAT, "EISDIR"),
        ("file", os.O_RDWR | os.O_CREAT, "ok"),
        ("file", os.O_RDWR | os.O_CREAT | os.O_EXCL, "EEXIST"),
        ("file", os.O_RDONLY | os.O_DIRECTORY, "ENOTDIR"),
        ("file/", os.O_RDONLY, "ENOTDIR"),
        ("file/below", os.O_RDONLY, "ENOTDIR"),
        ("file/below", os.O_RDWR | os.O_CREAT, "ENOTDIR"),
        ("file", os.O_RDONLY | os.O_NOFOLLOW, "ok"),
        ("file", os.O_PATH, "ok"),
        ("dir", os.O_RDONLY, "ok"),
        ("dir", os.O_RDONLY | os.O_DIRECTORY, "ok"),
        ("dir", os.O_WRONLY, "EISDIR"),
        ("dir", os.O_RDWR, "EISDIR"),
        ("dir", os.O_RDONLY | os.O_CREAT, "EISDIR"),
        ("dir", os.O_RDONLY | os.O_CREAT | os.O_EXCL, "EEXIST"),
        ("to_file", os.O_RDWR, "ok"),
        ("to_file", os.O_RDONLY | os.O_NOFOLLOW, "ELOOP"),
        ("to_file", os.O_RDWR | os.O_CREAT | os.O_EXCL, "EEXIST"),
        ("to_dir", os.O_RDONLY | os.O_DIRECTORY, "ok"),
        ("to_dir", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, "ENOTDIR"),
        ("dangling", os.O_RDONLY, "ENOENT"),
        ("dangling", os.O_RDWR | os.O_CREAT, "ok"),
        ("dangling", os.O_RDWR | os.O_CREAT | os.O_EXCL, "EEXIST"),
        ("loop", os.O_RDONLY, "ELOOP"),
        ("loop", os.O_RDWR | os.O_CREAT, "ELOOP"),
        ("loop/file", os.O_RDONLY, "ELOOP"),
        ("fifo", os.O_WRONLY | os.O_NONBLOCK, "ENXIO"),
        ("fifo", os.O_RDONLY | os.O_NONBLOCK, "ok"),
        ("", os.O_RDONLY, "ENOENT"),
    ],
)
def test_errors(scene: Path, name: str, flags: int, expected: str) -> None:
    """Each flag on each kind of name gives what open(2) says."""
    path = f"{scene}/{name}" if name else ""
    assert outcome(lambda: os.close(os.open(path, flags, 0o644))) == expected


def test_create_through_a_dangling_link(scene: Path) -> None:
    """O_CREAT through a symlink makes what it points to."""
    os.close(os.open(scene / "dangling", os.O_RDWR | os.O_CREAT))
    assert stat.S_ISREG((scene / "new").lstat().st_mode)


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
@pytest.mark.parametrize("mode", MODES, ids=oct)
def test_mode_and_umask(place: Path, mode: int, umask: int) -> None:
    """A new inode has mode & ~umask (mkdir honours permission and sticky bits only), owner and group of the caller."""

    def make() -> None:
        os.close(os.open(place / "file", os.O_WRONLY | os.O_CREAT, mode))
        os.mkdir(place / "dir", mode)
        os.mkfifo(place / "fifo", mode)

    with_umask(umask, make)
    for name, kept in (("file", 0o7777), ("dir", 0o1777), ("fifo", 0o7777)):
        status = (place / name).stat()
        assert oct(stat.S_IMODE(status.st_mode)) == oct(mode & ~umask & kept), name
        assert (status.st_uid, status.st_gid) == (0, 0)


def test_owner_is_the_caller(place: Path) -> None:
    """What a user makes is that user's, with the user's group and umask."""

    def make() -> None:
        (place / "file").touch(0o666)
        (place / "dir").mkdir()
        (place / "link").symlink_to("x")

    as_user(ALICE, make, gid=BOB, umask=0o027)
    for name, mode in (("file", 0o640), ("dir", 0o750), ("link", 0o777)):
        status = (place / name).lstat()
        assert (status.st_uid, status.st_gid, oct(stat.S_IMODE(status.st_mode))) == (ALICE, BOB, oct(mode)), name


def test_created_without_write_permission_is_writable_by_its_creator(place: Path) -> None:
    """The descriptor that creates a 0444 file may write, as POSIX wants; the next open may not."""

    def create() -> str:
        fd = os.open(place / "file", os.O_RDWR | os.O_CREAT, 0o444)
        os.write(fd, b"written")
        os.close(fd)
        return outcome(os.open, place / "file", os.O_WRONLY)

    assert as_user(ALICE, create) == "EACCES"
    assert (place / "file").read_bytes() == b"written"


@pytest.mark.parametrize(
    ("mode", "flags", "owner", "group", "other"),
    [
        (0o400, os.O_RDONLY, "ok", "EACCES", "EACCES"),
        (0o040, os.O_RDONLY, "EACCES", "ok", "EACCES"),
        (0o004, os.O_RDONLY, "EACCES", "EACCES", "ok"),
        (0o200, os.O_WRONLY, "ok", "EACCES", "EACCES"),
        (0o222, os.O_RDWR, "EACCES", "EACCES", "EACCES"),
        (0o060, os.O_RDWR, "EACCES", "ok", "EACCES"),
        (0o006, os.O_RDWR, "EACCES", "EACCES", "ok"),
        (0o444, os.O_RDONLY | os.O_TRUNC, "EACCES", "EACCES", "EACCES"),
        (0o000, os.O_RDONLY, "EACCES", "EACCES", "EACCES"),
    ],
)
def test_permissions(place: Path, mode: int, flags: int, owner: str, group: str, other: str) -> None:
    """The first class of owner, group, other that fits decides, alone."""
    path = place / "file"
    path.touch()
    os.chown(path, ALICE, ALICE)
    path.chmod(mode)

    def attempt() -> str:
        return outcome(lambda: os.close(os.open(path, flags)))

    assert as_user(ALICE, attempt) == owner
    assert as_user(BOB, attempt, groups=(ALICE,)) == group
    assert as_user(BOB, attempt) == other
    assert attempt() == "ok", "root may"


@pytest.mark.parametrize(
    ("mode", "enter", "make", "list_names"),
    [
        (0o7, "ok", "ok", "ok"),
        (0o5, "ok", "EACCES", "ok"),
        (0o3, "ok", "ok", "EACCES"),
        (0o4, "EACCES", "EACCES", "ok"),
        (0o1, "ok", "EACCES", "EACCES"),
    ],
)
def test_directory_permissions(place: Path, mode: int, enter: str, make: str, list_names: str) -> None:
    """x to reach, w and x to make and remove, r to list."""
    directory = place / "dir"
    directory.mkdir()
    (directory / "inside").touch()
    directory.chmod(mode)

    def attempts() -> list[str]:
        return [outcome(os.stat, directory / "inside"), outcome(os.mkdir, directory / "new"), outcome(os.listdir, directory)]

    assert as_user(ALICE, attempts) == [enter, make, list_names]


def test_truncate_flag(scene: Path) -> None:
    """O_TRUNC empties a file, also under an open descriptor; O_CREAT without it keeps the bytes."""
    reader = os.open(scene / "file", os.O_RDONLY)
    os.close(os.open(scene / "file", os.O_WRONLY | os.O_CREAT))
    assert os.pread(reader, 100, 0) == b"content"
    os.close(os.open(scene / "file", os.O_WRONLY | os.O_TRUNC))
    assert os.pread(reader, 100, 0) == b""
    assert os.fstat(reader).st_size == 0
    os.close(reader)


def test_append(scene: Path) -> None:
    """Every write under O_APPEND goes to the end as it is then, whatever the offset and whoever wrote last."""
    first, second = (os.open(scene / "file", os.O_WRONLY | os.O_APPEND) for _ in range(2))
    for turn in range(50):
        os.lseek(first, 0, os.SEEK_SET)
        os.write((first, second)[turn % 2], b"%d," % turn)
    os.close(first)
    os.close(second)
    assert (scene / "file").read_bytes() == b"content" + b"".join(b"%d," % turn for turn in range(50))


def test_append_by_processes_at_once(place: Path) -> None:
    """Records that processes on one mount append at once are all there, whole."""
    path = place / "log"
    path.touch()

    def append(worker: int) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        for turn in range(100):
            os.write(fd, f"{worker:03}:{turn:05};".encode())
        os.close(fd)

    children = []
    for worker in range(4):
        child = os.fork()
        if child == 0:
            append(worker)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    records = path.read_text().split(";")
    assert sorted(records) == sorted(["", *(f"{worker:03}:{turn:05}" for worker in range(4) for turn in range(100))])


def test_wrong_direction(scene: Path) -> None:
    """A descriptor does what it was opened for, and nothing else."""
    reader, writer, path_only = (os.open(scene / "file", flags) for flags in (os.O_RDONLY, os.O_WRONLY, os.O_PATH))
    assert outcome(os.write, reader, b"x") == "EBADF"
    assert outcome(os.read, writer, 1) == "EBADF"
    assert outcome(os.ftruncate, reader, 0) == "EINVAL"
    assert outcome(os.read, path_only, 1) == "EBADF"
    assert os.fstat(path_only).st_size == 7
    for fd in (reader, writer, path_only):
        os.close(fd)
    directory = os.open(scene, os.O_RDONLY)
    assert outcome(os.read, directory, 1) == "EISDIR"
    os.close(directory)


def test_running_program_cannot_be_written(place: Path) -> None:
    """A program runs from the mount; meanwhile it is not opened for writing (ETXTBSY)."""
    program = place / "sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    child = os.posix_spawn(program, ["sleep", "60"], os.environ)
    try:
        assert outcome(os.open, program, os.O_WRONLY) == "ETXTBSY"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert outcome(lambda: os.close(os.open(program, os.O_WRONLY))) == "ok"


def test_working_directory_and_relative_calls(scene: Path) -> None:
    """The *at calls resolve from a directory descriptor, also after the directory was renamed."""
    directory = os.open(scene / "dir", os.O_RDONLY)
    (scene / "dir").rename(scene / "renamed")
    fd = os.open("below", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
    os.close(fd)
    os.mkdir("sub", dir_fd=directory)
    os.rename("below", "moved", src_dir_fd=directory, dst_dir_fd=directory)
    assert sorted(os.listdir(scene / "renamed")) == ["moved", "sub"]
    os.unlink("moved", dir_fd=directory)
    os.rmdir("sub", dir_fd=directory)
    os.close(directory)
