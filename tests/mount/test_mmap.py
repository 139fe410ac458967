"""Memory maps: shared ones are the file, private ones are not; faults past the end; maps that outlive descriptors and names."""

import mmap
import os
import signal
from pathlib import Path

import pytest

PAGE = mmap.PAGESIZE
MIB = 1 << 20


def mapped(path: Path, length: int, flags: int = mmap.MAP_SHARED, offset: int = 0) -> mmap.mmap:
    """A map for reading and writing that needs no descriptor any more."""
    fd = os.open(path, os.O_RDWR)
    region = mmap.mmap(fd, length, flags, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)
    os.close(fd)
    return region


@pytest.fixture
def file(place: Path) -> Path:
    """Three pages and a bit."""
    path = place / "file"
    path.write_bytes(bytes(range(256)) * 50)
    return path


def test_shared_map_is_the_file(file: Path) -> None:
    """Stores are seen by read, writes by loads, at once; both stay."""
    region = mapped(file, 12800)
    assert region[:] == file.read_bytes()
    region[100:103] = b"map"
    region[PAGE - 1 : PAGE + 1] = b"||"
    with open(file, "r+b", buffering=0) as writer:
        assert os.pread(writer.fileno(), 3, 100) == b"map"
        os.pwrite(writer.fileno(), b"written", 2 * PAGE - 3)
    assert region[2 * PAGE - 3 : 2 * PAGE + 4] == b"written"
    region.flush()
    region.close()
    content = file.read_bytes()
    assert content[100:103] == b"map"
    assert content[PAGE - 1 : PAGE + 1] == b"||"


def test_two_maps_of_one_file(file: Path) -> None:
    """A store through one is a load through the other, also in another process."""
    first, second = mapped(file, 12800), mapped(file, 4096, offset=4096)
    first[4100] = 1
    assert second[4] == 1
    child = os.fork()
    if child == 0:
        second[5] = 77
        os._exit(0)
    os.waitpid(child, 0)
    assert first[4101] == 77


def test_private_map_is_not_the_file(file: Path) -> None:
    """Stores into a private map stay private."""
    before = file.read_bytes()
    region = mapped(file, 12800, mmap.MAP_PRIVATE)
    region[0:4] = b"mine"
    assert region[0:4] == b"mine"
    region.close()
    assert file.read_bytes() == before


def test_msync_makes_it_durable_in_the_file(file: Path) -> None:
    """After msync and a cold cache the bytes are there, though the map is still open."""
    region = mapped(file, 12800)
    region[5000:5003] = b"abc"
    region.flush()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    with open(file, "rb") as reader:
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        reader.seek(5000)
        assert reader.read(3) == b"abc"
    region.close()


def test_store_moves_mtime(file: Path) -> None:
    """A store through a shared map is a change of the bytes: mtime moves by the time it is synced."""
    os.utime(file, ns=(1, 1))
    region = mapped(file, 12800)
    region[0] = 9
    region.flush()
    region.close()
    assert file.stat().st_mtime_ns > 1


def test_last_page_after_the_end_is_zero(file: Path) -> None:
    """What lies between the end of the file and of its last page reads as zeros, and is never stored."""
    os.truncate(file, PAGE + 10)
    region = mapped(file, PAGE + 10)
    region.close()
    os.truncate(file, 2 * PAGE)
    assert file.read_bytes()[PAGE + 10 :] == bytes(PAGE - 10)


def test_beyond_the_end_is_a_bus_error(file: Path) -> None:
    """A page that the file lost by a truncate is SIGBUS for whoever touches it."""
    region = mapped(file, 12800)
    os.truncate(file, 100)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        _ = region[2 * PAGE]
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGBUS
    assert region[:100] == file.read_bytes()


def test_map_outlives_the_name(file: Path) -> None:
    """A mapped file that was unlinked is still there for its map."""
    region = mapped(file, 12800)
    before = region[:]
    file.unlink()
    region[0:3] = b"new"
    region.flush()
    assert region[:] == b"new" + before[3:]
    region.close()


def test_sparse_stores_in_a_large_file(place: Path) -> None:
    """Stores all over a 32 MiB hole land where they belong, and only there."""
    path = place / "large"
    path.touch()
    os.truncate(path, 32 * MIB)
    region = mapped(path, 32 * MIB)
    spots = range(17, 32 * MIB, 1_000_003)
    for spot in spots:
        region[spot : spot + 4] = spot.to_bytes(4, "big")
    region.flush()
    region.close()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    expected = bytearray(32 * MIB)
    for spot in spots:
        expected[spot : spot + 4] = spot.to_bytes(4, "big")
    assert path.read_bytes() == expected


def test_stores_of_a_file_that_is_open_for_appending(file: Path) -> None:
    """Pages of a map are written to where they belong, also through a descriptor with O_APPEND, which appends all the same."""
    before = file.read_bytes()
    fd = os.open(file, os.O_RDWR | os.O_APPEND)
    region = mmap.mmap(fd, len(before))
    region[100:103] = b"new"
    region.flush()
    os.write(fd, b"end")
    region.close()
    os.close(fd)
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    assert file.read_bytes() == before[:100] + b"new" + before[103:] + b"end"


def test_read_only_map_of_a_read_only_descriptor(file: Path) -> None:
    """A shared map for writing needs a descriptor that may write."""
    fd = os.open(file, os.O_RDONLY)
    region = mmap.mmap(fd, 100, mmap.MAP_SHARED, mmap.PROT_READ)
    assert region[:4] == bytes(range(4))
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 100, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    os.close(fd)
