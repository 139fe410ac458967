"""Bytes: files of every size that an implementation stumbles on, sparse files, truncation, offsets at the limits."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.posix import outcome

KIB, MIB = 1 << 10, 1 << 20
#: Around what ringfs packs, inlines, hashes and stores by: pages, blocks, objects, chunks.
EDGES = [0, 1, 4095, 4096, 4097, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1]
CHUNK_EDGES = [64 * MIB - 1, 64 * MIB, 64 * MIB + 1]
PIECE = 4 * MIB


def drop_caches() -> None:
    """Makes the next reads come from the file system, not from the kernel's cache."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def piece(number: int, length: int = PIECE) -> bytes:
    """Bytes that tell where they belong."""
    return random.Random(number).randbytes(length)


def write_pieces(path: Path, size: int) -> None:
    """Writes size bytes in pieces."""
    with open(path, "wb", buffering=0) as file:
        for start in range(0, size, PIECE):
            assert file.write(piece(start, min(PIECE, size - start))) == min(PIECE, size - start)


def check_pieces(path: Path, size: int) -> None:
    """Reads all of it back, and once more across the end."""
    assert path.stat().st_size == size
    with open(path, "rb", buffering=0) as file:
        for start in range(0, size, PIECE):
            length = min(PIECE, size - start)
            assert os.pread(file.fileno(), length, start) == piece(start, length), f"bytes from {start} of {size}"
        assert os.pread(file.fileno(), 100, size) == b""
        assert len(os.pread(file.fileno(), 100, max(0, size - 7))) == min(7, size)


@pytest.mark.parametrize("size", [*EDGES, *CHUNK_EDGES])
def test_round_trip(place: Path, size: int) -> None:
    """What was written is read, from the cache and cold."""
    path = place / "file"
    write_pieces(path, size)
    check_pieces(path, size)
    drop_caches()
    check_pieces(path, size)


def test_200_mib(place: Path) -> None:
    """A file larger than all caches."""
    write_pieces(place / "file", 200 * MIB)
    drop_caches()
    check_pieces(place / "file", 200 * MIB)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65536, 65537])
def test_many_files_of_one_size(place: Path, size: int) -> None:
    """Small files that may share an object keep their own bytes, through sync, cold reads and the removal of every second one."""
    count = 200 if size < 65536 else 40
    for number in range(count):
        (place / str(number)).write_bytes(piece(number, size))
    drop_caches()
    for number in range(0, count, 2):
        (place / str(number)).unlink()
    drop_caches()
    for number in range(1, count, 2):
        assert (place / str(number)).read_bytes() == piece(number, size), number


@pytest.mark.parametrize("base", [0, 4096, 64 * KIB, 8 * MIB, 64 * MIB])
@pytest.mark.parametrize("length", [1, 2, 4096, 64 * KIB + 1])
def test_writes_across_edges(place: Path, base: int, length: int) -> None:
    """A write that straddles a boundary lands whole, on a file that has bytes there and on one that has none."""
    start = max(0, base - length // 2)
    for name, before in (("empty", b""), ("full", piece(1, base + 2 * length) if base <= 8 * MIB else b"")):
        path = place / name
        path.write_bytes(before)
        drop_caches()
        with open(path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), piece(2, length), start)
            expected = bytearray(before.ljust(start + length, b"\0"))
            expected[start : start + length] = piece(2, length)
            low = max(0, start - 100)
            assert os.pread(file.fileno(), length + 200, low) == expected[low : low + length + 200]
        drop_caches()
        assert path.read_bytes() == expected


def test_reader_chases_appends(place: Path) -> None:
    """Whoever reads a file to its end, again and again, while it is appended to sees every byte as it was written: also those
    that came into a page after it was read."""
    path, size, pieces = place / "growing", 1_000_003, 100
    path.touch()
    child = os.fork()
    if child == 0:
        with open(path, "ab", buffering=0) as file:
            for number in range(pieces):
                file.write(bytes([number + 1]) * size)
        os._exit(0)
    position = 0
    wrong = []
    with open(path, "rb", buffering=0) as file:
        while position < pieces * size:
            piece = file.read(size - position % size)  # of one value
            if piece.strip(bytes([position // size + 1])):
                wrong.append(position)
            position += len(piece)
    assert os.waitpid(child, 0)[1] == 0
    assert not wrong


def test_sparse_file_reads_zeros(place: Path) -> None:
    """What was never written is zeros, before, between and after data, at any distance."""
    path = place / "file"
    places = [0, 5, 4096 * 3 + 1, 64 * KIB * 5, 8 * MIB * 3 - 2, 64 * MIB * 2 - 3, 5 * (1 << 30), 1 << 40]
    with open(path, "wb", buffering=0) as file:
        for offset in places:
            os.pwrite(file.fileno(), b"here", offset)
        os.ftruncate(file.fileno(), (1 << 40) + 100)
    drop_caches()
    with open(path, "rb", buffering=0) as file:
        for offset in places:
            low, high = max(0, offset - 1000), offset + 1000
            content = os.pread(file.fileno(), high - low, low)
            expected = bytearray(min(high, (1 << 40) + 100) - low)
            for other in places:
                for index, byte in enumerate(b"here"):
                    if low <= other + index < low + len(expected):
                        expected[other + index - low] = byte
            assert content == expected, f"around {offset}"
        assert not any(os.pread(file.fileno(), MIB, 1 << 33))
    assert path.stat().st_size == (1 << 40) + 100


@pytest.mark.parametrize("seed", range(4))
def test_truncate_and_write_mixes(place: Path, seed: int) -> None:
    """A hundred truncates and writes of all sizes leave exactly what they should: cut bytes never return."""
    pick = random.Random(seed)
    path, content, limit = place / "file", bytearray(), 9 * MIB
    with open(path, "w+b", buffering=0) as file:
        for turn in range(100):
            if pick.random() < 0.5:
                size = pick.choice([pick.randrange(limit), pick.randrange(8 * KIB), len(content), 8 * MIB + pick.randrange(-2, 3)])
                os.ftruncate(file.fileno(), size)
                content = content[:size] + bytes(max(0, size - len(content)))
            else:
                offset, length = pick.randrange(limit), pick.choice([1, 100, 4096, 70_000, 300_000])
                os.pwrite(file.fileno(), piece(turn, length), offset)
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + length] = piece(turn, length)
            if turn % 10 == 0:
                file.seek(0)
                assert file.read() == content, f"seed {seed}, turn {turn}"
    drop_caches()
    assert path.read_bytes() == content, f"seed {seed}"


def test_shrink_then_grow_reads_zeros(place: Path) -> None:
    """Cut and grown again, the old bytes are not there, at any alignment, with and without a sync between."""
    for cut in (0, 1, 4095, 4096, 5000, 65536, 65537):
        for syncs in (False, True):
            path = place / f"{cut}{syncs}"
            path.write_bytes(b"x" * 200_000)
            if syncs:
                drop_caches()
            os.truncate(path, cut)
            if syncs:
                drop_caches()
            os.truncate(path, 200_000)
            assert path.read_bytes() == b"x" * cut + bytes(200_000 - cut)


@pytest.mark.parametrize(
    ("offset", "expected"), [(-1, "EINVAL"), (2**63 - 1, "EFBIG"), (2**63 - 4096, "EFBIG")], ids=["-1", "max", "max-4096"]
)
def test_offsets_at_the_limits(place: Path, offset: int, expected: str) -> None:
    """Offsets that no file has: refused, and the file is as it was. Reading there finds the end."""
    path = place / "file"
    path.write_bytes(b"content")
    fd = os.open(path, os.O_RDWR)
    found = outcome(os.pwrite, fd, b"x" * 8192, offset)
    if offset > 0 and found != expected:
        # The last offsets overflow the kernel's own reckoning, which says EINVAL or EOVERFLOW before any file system is asked.
        assert found in ("EINVAL", "EOVERFLOW")
    else:
        assert found == expected
    if offset > 0:
        assert os.pread(fd, 1, offset - 1) == b""
        assert outcome(os.lseek, fd, offset, os.SEEK_SET) in ("ok", "EINVAL")
    os.close(fd)
    assert path.read_bytes() == b"content"


def test_vectored_calls(place: Path) -> None:
    """writev and readv with odd pieces, pwritev2 with RWF_DSYNC and RWF_APPEND."""
    fd = os.open(place / "file", os.O_RDWR | os.O_CREAT)
    parts = [piece(number, size) for number, size in enumerate((1, 4095, 0, 70_000, 3))]
    assert os.writev(fd, parts) == 74_099
    assert os.pwritev(fd, [b"ab", b"cd"], 10, os.RWF_DSYNC) == 4
    assert os.pwritev(fd, [b"end"], 0, os.RWF_APPEND) == 3
    whole = bytearray(b"".join(parts) + b"end")
    whole[10:14] = b"abcd"
    buffers = [bytearray(7), bytearray(50_000), bytearray(50_000)]
    assert os.preadv(fd, buffers, 5) == len(whole) - 5
    assert b"".join(buffers)[: len(whole) - 5] == whole[5:]
    os.close(fd)


def test_sendfile_and_copy(place: Path) -> None:
    """sendfile and copy_file_range between files of the mount move the right bytes, whoever does the work."""
    content = piece(3, 3 * MIB + 17)
    (place / "source").write_bytes(content)
    with open(place / "source", "rb") as source, open(place / "sent", "wb") as target:
        sent = 0
        while sent < len(content):
            sent += os.sendfile(target.fileno(), source.fileno(), sent, len(content) - sent)
    with open(place / "source", "rb") as source, open(place / "copied", "w+b") as target:
        copied = 0
        while copied < len(content) - 100:
            copied += os.copy_file_range(source.fileno(), target.fileno(), len(content) - 100 - copied, 100 + copied, copied)
    assert (place / "sent").read_bytes() == content
    assert (place / "copied").read_bytes() == content[100:]


def test_direct_io(place: Path) -> None:
    """O_DIRECT reads and writes the same bytes as everybody else."""
    import mmap

    (place / "file").write_bytes(piece(1, MIB))
    fd = os.open(place / "file", os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 8192)
    assert os.preadv(fd, [page], 4096) == 8192
    assert page[:] == piece(1, MIB)[4096:12288]
    page[:] = piece(2, 8192)
    assert os.pwritev(fd, [page], 65536) == 8192
    os.close(fd)
    expected = bytearray(piece(1, MIB))
    expected[65536 : 65536 + 8192] = piece(2, 8192)
    assert (place / "file").read_bytes() == expected


def test_reader_chases_writer(place: Path) -> None:
    """A reader of a growing file sees every byte that the size promises, never zeros in their place."""
    path, size = place / "growing", 24 * MIB
    path.touch()
    child = os.fork()
    if child == 0:
        with open(path, "ab", buffering=0) as file:
            for start in range(0, size, PIECE):
                content = piece(start)
                for inner in range(0, PIECE, 100_000):
                    file.write(content[inner : inner + 100_000])
        os._exit(0)
    position = 0
    with open(path, "rb", buffering=0) as file:
        while position < size:
            content = file.read(MIB)
            base = position // PIECE * PIECE
            expected = (piece(base) + piece(base + PIECE))[position - base : position - base + len(content)]
            assert content == expected, f"bytes from {position}"
            position += len(content)
    assert os.waitpid(child, 0)[1] == 0


def test_names_polled_while_files_are_made(place: Path) -> None:
    """A process that asks for a name again and again while the file is made, written and closed does not change what the file is.

    With a writeback cache the kernel never takes a size from the file system but when it makes an inode: an answer to such a
    lookup from when the file was empty, which it comes to read only after it has evicted the inode, must not stay.
    """
    content, count = piece(1, 900_000), 400
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            for number in range(count):
                while not (place / str(number)).exists():
                    time.sleep(0.0003)
            os._exit(0)
        children.append(child)
    for number in range(count):
        with open(place / str(number), "ab", buffering=0) as file:
            file.write(content[:500_000])
            file.write(content[500_000:])
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    wrong = [number for number in range(count) if (place / str(number)).read_bytes() != content]
    assert not wrong, f"{len(wrong)} of {count} files: {[(number, (place / str(number)).stat().st_size) for number in wrong[:5]]}"
