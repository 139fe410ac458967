"""Ranges: fallocate, SEEK_DATA and SEEK_HOLE, copy_file_range, by the errnos that Linux gives; copies that store nothing."""

import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.posix import ALICE, as_user, data_ranges, fallocate, outcome, tick

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
PUNCH = PUNCH_HOLE | KEEP_SIZE
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _has_ranges(driver: str) -> None:
    if driver == "pyfuse3":
        pytest.skip("pyfuse3 has no handler for these: test_declined.py")


@pytest.fixture
def fd(place: Path) -> Iterator[int]:
    """A file of 100,000 bytes."""
    descriptor = os.open(place / "file", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"x" * 100_000)
    yield descriptor
    os.close(descriptor)


def whole(fd: int) -> bytes:
    return os.pread(fd, 1 << 26, 0)


def runs(fd: int) -> list[tuple[int, int]]:
    """(start, stop) of all data."""
    return list(data_ranges(fd))


@pytest.mark.parametrize(
    ("mode", "offset", "length", "size"),
    [
        (0, 0, 1, 100_000),
        (0, 50_000, 100_000, 150_000),
        (KEEP_SIZE, 50_000, 100_000, 100_000),
        (PUNCH, 8192, 16_384, 100_000),
        (PUNCH, 10_000, 200_000, 100_000),
        (PUNCH, 200_000, 5, 100_000),
        (ZERO_RANGE, 90_000, 20_000, 110_000),
        (ZERO_RANGE | KEEP_SIZE, 90_000, 20_000, 100_000),
        (ZERO_RANGE | KEEP_SIZE, 100_000, 20_000, 100_000),
    ],
)
def test_fallocate(fd: int, mode: int, offset: int, length: int, size: int) -> None:
    """Bytes and size are what fallocate(2) says, at once and after fsync, by pages that were cached before and without."""
    expected = bytearray(b"x" * 100_000)
    if mode & (PUNCH_HOLE | ZERO_RANGE):
        expected[offset : min(offset + length, 100_000)] = bytes(max(0, min(offset + length, 100_000) - offset))
    expected += bytes(size - 100_000)
    assert whole(fd) == b"x" * 100_000
    fallocate(fd, mode, offset, length)
    assert os.fstat(fd).st_size == size
    assert whole(fd) == expected
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert os.fstat(fd).st_size == size
    assert whole(fd) == expected


@pytest.mark.parametrize(
    ("mode", "offset", "length", "expected"),
    [
        (0, 0, 0, "EINVAL"),
        (0, -1, 1, "EINVAL"),
        (0, 0, -1, "EINVAL"),
        (PUNCH, 0, 0, "EINVAL"),
        (PUNCH_HOLE, 0, 4096, "EOPNOTSUPP"),
        (PUNCH | ZERO_RANGE, 0, 4096, "EOPNOTSUPP"),
        (0, (1 << 63) - 1, 2, "EFBIG"),
        (0x100, 0, 1, "EOPNOTSUPP"),
    ],
)
def test_errors(fd: int, mode: int, offset: int, length: int, expected: str) -> None:
    """Nothing changes."""
    assert outcome(fallocate, fd, mode, offset, length) == expected
    assert whole(fd) == b"x" * 100_000


def test_descriptors_that_do_not_write(place: Path, fd: int) -> None:
    """EBADF for one that only reads, as for copying to it; a directory's is EBADF too, a pipe's ESPIPE."""
    reader, directory = os.open(place / "file", os.O_RDONLY), os.open(place, os.O_RDONLY)
    assert outcome(fallocate, reader, 0, 0, 1) == "EBADF"
    assert outcome(os.copy_file_range, fd, reader, 10, 0, 0) == "EBADF"
    assert outcome(fallocate, directory, 0, 0, 1) == "EBADF"
    ends = os.pipe()
    assert outcome(fallocate, ends[1], 0, 0, 1) == "ESPIPE"
    for descriptor in (reader, directory, *ends):
        os.close(descriptor)


def test_times_of_ranges(fd: int) -> None:
    """Making a hole is a change: mtime and ctime move."""
    before = os.fstat(fd)
    tick()
    fallocate(fd, PUNCH, 0, 4096)
    after = os.fstat(fd)
    assert after.st_mtime_ns > before.st_mtime_ns
    assert after.st_ctime_ns > before.st_ctime_ns


def punched(path: Path) -> None:
    """A hole is made in it."""
    with open(path, "r+b") as file:
        fallocate(file.fileno(), PUNCH, 0, 4096)


def copied_into(path: Path) -> None:
    """Bytes of it are copied within it."""
    with open(path, "r+b") as file:
        assert os.copy_file_range(file.fileno(), file.fileno(), 10, 0, 20) == 10


@pytest.mark.parametrize("change", [punched, copied_into])
@pytest.mark.parametrize(("uid", "mode"), [(0, 0o4777), (ALICE, 0o777)])
def test_suid(place: Path, fd: int, change: Callable[[Path], None], uid: int, mode: int) -> None:
    """It goes when a user changes the file, and stays when root does."""
    path = place / "file"
    path.chmod(0o4777)
    if uid:
        as_user(uid, lambda: change(path))
    else:
        change(path)
    assert oct(os.fstat(fd).st_mode & 0o7777) == oct(mode)


def test_posix_fallocate(place: Path, is_ringfs: bool) -> None:
    """The size grows; on ringfs nothing is written for it, a gigabyte costs no space."""
    with open(place / "file", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 30)
        found = os.fstat(file.fileno())
    assert found.st_size == 1 << 30
    if is_ringfs:
        assert found.st_blocks == 0


def test_punched_holes_cost_nothing(fd: int) -> None:
    """st_blocks falls."""
    os.fsync(fd)
    before = os.fstat(fd).st_blocks
    fallocate(fd, PUNCH, 0, 81_920)
    os.fsync(fd)
    assert os.fstat(fd).st_blocks <= before - 81_920 // 512


def test_maps_see_holes(place: Path, fd: int) -> None:
    """A shared map shows zeros where a hole was made, and what is written into it is there."""
    with mmap.mmap(fd, 100_000) as mapped:
        assert mapped[5000:5001] == b"x"
        fallocate(fd, PUNCH, 4096, 8192)
        assert mapped[4000:13000] == b"x" * 96 + bytes(8192) + b"x" * 712
        mapped[6000:6001] = b"y"
        mapped.flush()
    assert os.pread(fd, 3, 5999) == b"\0y\0"


# --- where data is ----------------------------------------------------------------------------------------------------


def test_data_and_holes(place: Path) -> None:
    """In blocks of 4 KiB and up, as everybody finds them: before and after fsync, and by another handle."""
    path = place / "sparse"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    expected = [(0, 65536), (MIB, MIB + 131072), (100 * MIB, 100 * MIB + 65536)]
    for start, stop in expected:
        os.pwrite(fd, b"\0" * (stop - start), start)
    os.ftruncate(fd, 200 * MIB)
    os.fsync(fd)
    assert runs(fd) == expected
    os.pwrite(fd, b"x" * 65536, 150 * MIB)
    expected.append((150 * MIB, 150 * MIB + 65536))
    assert runs(fd) == expected
    fallocate(fd, PUNCH, 16384, 16384)
    expected[:1] = [(0, 16384), (32768, 65536)]
    assert runs(fd) == expected
    other = os.open(path, os.O_RDONLY)
    assert runs(other) == expected
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        assert outcome(os.lseek, fd, 200 * MIB, whence) == "ENXIO"
        assert outcome(os.lseek, fd, -1, whence) == "ENXIO"
    assert outcome(os.lseek, fd, 199 * MIB, os.SEEK_DATA) == "ENXIO"
    assert os.lseek(fd, 199 * MIB, os.SEEK_HOLE) == 199 * MIB
    os.close(fd)
    os.close(other)


def test_holes_to_the_byte(place: Path, is_ringfs: bool) -> None:
    """ringfs keeps them exactly; others in blocks."""
    if not is_ringfs:
        pytest.skip("others have blocks")
    with open(place / "sparse", "wb") as file:
        fd = file.fileno()
        os.pwrite(fd, b"abc", 5)
        os.pwrite(fd, bytes(10), 1000)
        os.ftruncate(fd, 5000)
        assert runs(fd) == [(5, 8), (1000, 1010)]
        os.fsync(fd)
        assert runs(fd) == [(5, 8), (1000, 1010)]
        fallocate(fd, PUNCH, 6, 1)
        assert runs(fd) == [(5, 6), (7, 8), (1000, 1010)]


def test_seek_from_anywhere_else(fd: int) -> None:
    """SEEK_SET, SEEK_CUR and SEEK_END go on as ever, and a failed seek moves nothing."""
    assert os.lseek(fd, 10, os.SEEK_SET) == 10
    assert outcome(os.lseek, fd, 100_000, os.SEEK_DATA) == "ENXIO"
    assert os.lseek(fd, 5, os.SEEK_CUR) == 15
    assert os.lseek(fd, -1, os.SEEK_END) == 99_999
    assert os.lseek(fd, 7, os.SEEK_DATA) == 7
    assert os.lseek(fd, 0, os.SEEK_CUR) == 7


# --- copies -----------------------------------------------------------------------------------------------------------


def test_copy_file_range(place: Path, fd: int) -> None:
    """Between files and within one; at the end 0; what was cached of the destination is new."""
    other = os.open(place / "other", os.O_RDWR | os.O_CREAT)
    os.write(other, b"o" * 50_000)
    assert os.pread(other, 50_000, 0) == b"o" * 50_000
    assert os.copy_file_range(fd, other, 1000, 10, 20_000) == 1000
    assert os.pread(other, 50_000, 0) == b"o" * 20_000 + b"x" * 1000 + b"o" * 29_000
    assert os.copy_file_range(fd, other, 1 << 40, 90_000, 45_000) == 10_000
    assert os.fstat(other).st_size == 55_000
    assert os.copy_file_range(fd, other, 10, 100_000, 0) == 0
    assert os.copy_file_range(fd, fd, 100_000, 0, 100_000) == 100_000
    assert whole(fd) == b"x" * 200_000
    os.lseek(fd, 5, os.SEEK_SET)
    os.lseek(other, 54_000, os.SEEK_SET)
    assert os.copy_file_range(fd, other, 2000) == 2000
    assert (os.lseek(fd, 0, os.SEEK_CUR), os.lseek(other, 0, os.SEEK_CUR)) == (2005, 56_000)
    os.close(other)


def test_copy_errors(place: Path, fd: int) -> None:
    """Overlapping ranges of a file EINVAL, an appending descriptor EBADF, a directory EISDIR."""
    assert outcome(os.copy_file_range, fd, fd, 100, 0, 50) == "EINVAL"
    appending = os.open(place / "file", os.O_WRONLY | os.O_APPEND)
    assert outcome(os.copy_file_range, fd, appending, 100, 0, 0) == "EBADF"
    directory = os.open(place, os.O_RDONLY)
    assert outcome(os.copy_file_range, directory, fd, 100, 0, 0) == "EISDIR"
    os.close(appending)
    os.close(directory)


def stored_bytes(place: Path) -> int:
    """What all files take on the data nodes, before copies."""
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def test_copy_with_cp(place: Path, is_ringfs: bool) -> None:
    """cp, with --reflink=auto as ever, copies 4 GB as references: nothing is read or stored, and both can be written apart. (A file
    with holes cp reads, to look for more of them.)"""
    if not is_ringfs:
        pytest.skip("4 GB")
    path, copy = place / "large", place / "copy"
    with open(path, "w+b") as file:
        for _ in range(16):
            file.write(os.urandom(MIB))
        file.flush()
        while (size := os.fstat(file.fileno()).st_size) < 4 << 30:
            os.copy_file_range(file.fileno(), file.fileno(), size, 0, size)
    before = stored_bytes(place)
    subprocess.run(["cp", "--reflink=auto", path, copy], check=True, timeout=600)
    assert stored_bytes(place) - before < 64 * MIB
    assert (copy.stat().st_size, copy.stat().st_blocks) == (4 << 30, 8 << 20)
    with open(copy, "r+b") as file:
        file.write(b"other")
    with open(path, "rb") as one, open(copy, "rb") as two:
        assert one.read(5) != b"other"
        assert two.read(5) == b"other"
        for at in (MIB, 3 << 30, (4 << 30) - 70_000):
            assert os.pread(one.fileno(), 70_000, at) == os.pread(two.fileno(), 70_000, at)


def test_copy_between_mounts_that_write(place: Path, second_mount_point: Path, mount_point: Path) -> None:
    """What is dirty on another mount is copied; the copy is seen there at once."""
    there = second_mount_point / place.relative_to(mount_point)
    writer = os.open(there / "source", os.O_RDWR | os.O_CREAT)
    os.write(writer, b"dirty" * 10_000)
    source, copy = os.open(place / "source", os.O_RDONLY), os.open(place / "copy", os.O_RDWR | os.O_CREAT)
    assert os.copy_file_range(source, copy, 50_000, 0, 0) == 50_000
    assert (there / "copy").read_bytes() == b"dirty" * 10_000
    for descriptor in (writer, source, copy):
        os.close(descriptor)
