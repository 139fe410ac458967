"""What the mount declines, and with which errno (docs/posix.md has the list); what the kernel does by itself then."""

import fcntl
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.posix import ALICE, fallocate, outcome, statx_mask, with_umask

FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE_RANGE, FALLOC_ZERO_RANGE, FALLOC_INSERT_RANGE = 1, 2, 8, 16, 32
FICLONE = 0x40049409
FS_IOC_GETFLAGS = 0x80086601
STATX_BASIC, STATX_BTIME = 0x7FF, 0x800


@pytest.fixture
def on_ringfs(is_ringfs: bool) -> None:
    """These are of ringfs; other file systems do some of it."""
    if not is_ringfs:
        pytest.skip("other file systems may have these")


@pytest.fixture
def file(place: Path) -> Path:
    """A file of 100,000 bytes."""
    path = place / "file"
    path.write_bytes(b"x" * 100_000)
    return path


@pytest.mark.usefixtures("on_ringfs")
@pytest.mark.parametrize("mode", [FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE])
def test_moving_ranges(file: Path, mode: int) -> None:
    """EOPNOTSUPP by the kernel, whose FUSE does not know these two; nothing changes."""
    with open(file, "r+b") as opened:
        assert outcome(fallocate, opened.fileno(), mode, 0, 4096) == "EOPNOTSUPP"
    assert file.read_bytes() == b"x" * 100_000


@pytest.mark.usefixtures("on_ringfs")
def test_reflink_ioctl(file: Path) -> None:
    """FICLONE does not reach a FUSE file system: EOPNOTSUPP. What cp tries next, copy_file_range, is by reference."""
    with open(file, "rb") as source, open(file.with_name("copy"), "wb") as target:
        assert outcome(fcntl.ioctl, target, FICLONE, source.fileno()) in ("EOPNOTSUPP", "ENOTTY", "ENOSYS")


def test_ranges_through_pyfuse3(file: Path, driver: str) -> None:
    """It has no handler for them: EOPNOTSUPP, and all of a file is data. glibc's posix_fallocate writes zeros itself then."""
    if driver != "pyfuse3":
        pytest.skip("the kernel driver has these: test_ranges.py")
    with open(file, "r+b") as opened:
        for mode in (0, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, FALLOC_ZERO_RANGE):
            assert outcome(fallocate, opened.fileno(), mode, 0, 4096) == "EOPNOTSUPP"
        os.posix_fallocate(opened.fileno(), 0, 200_000)
        assert os.lseek(opened.fileno(), 0, os.SEEK_HOLE) == 200_000
    assert file.read_bytes() == b"x" * 100_000 + bytes(100_000)


def test_unnamed_temporary_file(place: Path, driver: str) -> None:
    """O_TMPFILE on pyfuse3: EOPNOTSUPP, which makes tempfile and others fall back to a name."""
    if driver != "pyfuse3":
        pytest.skip("test_tmpfile.py shows it")
    assert outcome(os.open, place, os.O_TMPFILE | os.O_RDWR) == "EOPNOTSUPP"
    assert os.listdir(place) == []


def test_ioctl(file: Path, driver: str) -> None:
    """File attributes of lsattr on pyfuse3: ENOTTY, or ENOSYS where the kernel says it that way."""
    if driver != "pyfuse3":
        pytest.skip("test_flags.py shows it")
    with open(file, "rb") as opened:
        assert outcome(fcntl.ioctl, opened, FS_IOC_GETFLAGS, bytes(8)) in ("ENOTTY", "ENOSYS", "EOPNOTSUPP")


def test_birth_time(file: Path, driver: str) -> None:
    """statx(2) tells it; through pyfuse3 it does not, and says so in its mask."""
    assert bool(statx_mask(file) & STATX_BTIME) is (driver != "pyfuse3")
    assert statx_mask(file) & STATX_BASIC == STATX_BASIC


def test_umask_under_a_default_acl(place: Path, driver: str) -> None:
    """A default ACL replaces the umask; pyfuse3 cannot ask the kernel to leave that out, so there both bound the mode."""
    subprocess.run(["setfacl", "-d", "-m", f"u:{ALICE}:rwx,g::rwx,o::r", str(place)], check=True)
    with_umask(0o077, lambda: (place / "dir").mkdir(0o777))
    assert oct(stat.S_IMODE((place / "dir").stat().st_mode)) == oct(0o700 if driver == "pyfuse3" else 0o774)


def test_locks_within_one_mount(file: Path) -> None:
    """flock and POSIX record locks exclude each other's holders on one mount; across mounts they are not promised yet."""
    first, second = os.open(file, os.O_RDWR), os.open(file, os.O_RDWR)
    fcntl.flock(first, fcntl.LOCK_EX)
    assert outcome(fcntl.flock, second, fcntl.LOCK_SH | fcntl.LOCK_NB) == "EAGAIN"
    fcntl.flock(first, fcntl.LOCK_UN)
    assert outcome(fcntl.flock, second, fcntl.LOCK_SH | fcntl.LOCK_NB) == "ok"
    fcntl.lockf(first, fcntl.LOCK_EX, 100, 50)
    child = os.fork()
    if child == 0:
        busy = outcome(fcntl.lockf, second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 60) in ("EAGAIN", "EACCES")
        free = outcome(fcntl.lockf, second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0) == "ok"
        os._exit(0 if busy and free else 1)
    assert os.waitpid(child, 0)[1] == 0
    os.close(first)
    os.close(second)
