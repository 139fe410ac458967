"""An LMDB file read without LMDB: sound files are, with the rows that LMDB reads; damage that LMDB would follow is found."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from ringfs.base.child import in_child
from ringfs.base.kv.pages import PAGE_BYTES, PageDamaged, meta_in
from ringfs.base.kv.walk import Pairs, check_pages, last_transaction

Rows = dict[bytes, list[tuple[bytes, bytes]]]


def open_lmdb(directory: Path) -> lmdb.Environment:
    """As the store does, but for waiting for the disk."""
    return lmdb.open(str(directory), map_size=1 << 30, max_dbs=2, readahead=False, meminit=False, sync=False)


def read(data: bytes) -> Callable[[int, int], bytes]:
    """Of a file that has these bytes."""
    return lambda offset, length_bytes: data[offset : offset + length_bytes]


def checked(data: bytes) -> Rows:
    """The rows of a file that is found sound."""
    rows: Rows = {}

    def take(name: bytes, pairs: Pairs) -> None:
        rows.setdefault(name, []).extend(pairs)

    check_pages(read(data), len(data), take)
    return rows


def live(directory: Path, seed: int, rounds: int) -> Rows:
    """Transactions of all kinds; the rows after them, as LMDB tells them."""
    draw = random.Random(seed)
    with open_lmdb(directory) as environment:
        databases = [environment.open_db(name) for name in (b"state", b"marks")]
        for _ in range(rounds):
            with environment.begin(write=True) as writer:
                _change(writer, databases, draw)
        with environment.begin() as reader:
            names = zip((b"state", b"marks"), databases, strict=True)
            return {name: rows for name, database in names if (rows := list(reader.cursor(database)))}


def _change(writer: "lmdb.Transaction[bytes]", databases: list["lmdb._Database"], draw: random.Random) -> None:
    for database in databases:
        keys = [key for key, _ in writer.cursor(database)]
        for key in draw.sample(keys, len(keys) // draw.choice([2, 8, 8, 1])):
            writer.delete(key, db=database)
        long_max = draw.choice([30, 30, 400])
        for _ in range(draw.randrange(600)):
            writer.put(b"o" + draw.randbytes(23), draw.randbytes(32), db=database)
        for _ in range(draw.randrange(40)):
            value_bytes = draw.choice([0, 1, 2000, 2100, 9000])
            writer.put(draw.randbytes(1 + draw.randrange(long_max)), bytes(value_bytes), db=database)


@pytest.mark.parametrize("seed", range(25))
def test_what_lmdb_writes_is_sound(tmp_path: Path, seed: int) -> None:
    """Small and big rows, trees of several levels, long lists of free pages, nothing at all: the rows are those that LMDB reads."""
    rows = live(tmp_path, seed, seed)
    assert checked((tmp_path / "data.mdb").read_bytes()) == rows


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> bytes:
    """A file with branches, big values and free pages."""
    live(tmp_path, 8, 8)
    return (tmp_path / "data.mdb").read_bytes()


def test_flipped_bits_kill_nobody(tmp_path: Path, data: bytes) -> None:
    """In any page, above all where LMDB looks first: found, or LMDB reads, changes and empties the file without dying of it."""
    draw = random.Random(1)
    found_count = 0
    page_count = len(data) // PAGE_BYTES
    for page in (*[0, 1] * 20, *range(page_count)):
        damaged = bytearray(data)
        damaged[page * PAGE_BYTES + draw.randrange(draw.choice([40, 168, PAGE_BYTES]))] ^= 1 << draw.randrange(8)
        try:
            checked(bytes(damaged))
        except PageDamaged:
            found_count += 1
            continue
        (tmp_path / "data.mdb").write_bytes(damaged)
        assert in_child(lambda: repr(live(tmp_path, 2, 2).keys()).encode()), f"page {page}"
    assert found_count > page_count // 8, "most flips at the beginning of a page in use"


def free_pages(data: bytes) -> list[int]:
    """Where the file has ids of free pages, as offsets: of the rows in the one leaf of their database."""
    root = last_transaction(read(data)).free.root * PAGE_BYTES
    (lower,) = struct.unpack_from("<H", data, root + 12)
    offsets: list[int] = []
    for at in range(root + 16, root + lower, 2):
        node = root + struct.unpack_from("<H", data, at)[0]
        length_bytes, _, is_big, key_bytes = struct.unpack_from("<HHHH", data, node)
        if not is_big:
            offsets += range(node + 8 + key_bytes + 8, node + 8 + key_bytes + length_bytes, 8)
    return offsets


def test_a_free_page_that_is_in_use_is_found(data: bytes) -> None:
    """LMDB would write over it. So is one that does not exist, and one that is free twice."""
    first, *_ = free_pages(data)
    root = last_transaction(read(data)).main.root
    for number in (0, root, 1 << 40, 1 << 63):
        damaged = bytearray(data)
        damaged[first : first + 8] = struct.pack("<Q", number)
        with pytest.raises(PageDamaged):
            checked(bytes(damaged))


@pytest.mark.parametrize("page_count", [1, 3, 1 << 20, 1 << 40])
def test_a_wrong_number_of_pages_is_found(data: bytes, page_count: int) -> None:
    """Fewer than are used, or so many that the next would be written far behind the file."""
    damaged = bytearray(data)
    for page in (0, 1):
        struct.pack_into("<Q", damaged, page * PAGE_BYTES + 136, page_count - 1)
    assert meta_in(bytes(damaged[:PAGE_BYTES]), 0).page_count == page_count
    with pytest.raises(PageDamaged):
        checked(bytes(damaged))


@pytest.mark.parametrize("keep", [0, 100, PAGE_BYTES, 2 * PAGE_BYTES + 1, 20 * PAGE_BYTES])
def test_a_file_that_was_cut_is_found(data: bytes, keep: int) -> None:
    """Anywhere before its last used page."""
    with pytest.raises(PageDamaged):
        checked(data[:keep])


def test_rows_out_of_order_are_found(tmp_path: Path) -> None:
    """Among those that are alike and are taken all at once, too: LMDB would not find them."""
    with open_lmdb(tmp_path) as environment:
        state = environment.open_db(b"state")
        with environment.begin(write=True, db=state) as writer:
            for number in range(200):
                writer.put(b"row %04d" % number, b"value")
    data = (tmp_path / "data.mdb").read_bytes()
    assert len(checked(data)[b"state"]) == 200
    for old, new in ((b"row 0042", b"row 0142"), (b"row 0042", b"row 0041"), (b"row 0042", b"row 0043")):
        with pytest.raises(PageDamaged, match="out of order"):
            checked(data.replace(old, new))
