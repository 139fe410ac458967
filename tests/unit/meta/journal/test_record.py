"""The bytes of the journal: golden, told apart from everything else, and never misread."""

import random
from pathlib import Path

import pytest

from ringfs.meta.journal.record import (
    HEADER_BYTES,
    NO_CODE,
    BadHeader,
    OtherVersion,
    SegmentHeader,
    find_mark,
    fitting_count,
    pack_record,
    packed_bytes,
    parse_entries,
    parse_record,
    unpack_header,
)
from tests.support.journals import CLUSTER_ID

MARK = b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7"
HEADER = SegmentHeader(CLUSTER_ID, 7, 101, bytes(range(16)), 3, MARK, 16 << 20)
#: The example of docs/formats/journal.md.
EXAMPLE = pack_record(MARK, bytes(range(16)), 3, 101, [b"first", b"second entry"])
GOLDEN = Path(__file__).parent / "journal.v1.hex"
PAGE = Path(__file__).parents[4] / "docs/formats/journal.md"


def golden() -> bytes:
    """A segment's header and its first record, as recorded when version 1 was made."""
    return bytes.fromhex(GOLDEN.read_text())


def test_golden_bytes() -> None:
    """What is packed today is what version 1 has always been, and it reads back."""
    assert HEADER.pack() + EXAMPLE == golden()
    assert unpack_header(golden()) == HEADER
    record = parse_record(memoryview(golden()), HEADER_BYTES, MARK)
    assert record is not None
    assert (record.previous, record.term, record.first, record.count, record.last) == (HEADER.code, 3, 101, 2, 102)
    assert list(parse_entries(golden(), record)) == [b"first", b"second entry"]


def test_the_page_shows_the_golden_record() -> None:
    """docs/formats/journal.md shows the example, byte for byte."""
    shown = "".join(line[10:] for line in PAGE.read_text().splitlines() if line.startswith("    00"))
    assert bytes.fromhex(shown) == EXAMPLE


def test_no_header_with_a_flipped_bit_is_taken() -> None:
    """Every bit of the header is covered."""
    good = HEADER.pack()
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadHeader):
            unpack_header(bytes(bad))
    with pytest.raises(BadHeader, match="not a journal segment"):
        unpack_header(good[:-1])


def test_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole header of version 2 is not called damaged."""
    monkeypatch.setattr("ringfs.meta.journal.record.VERSION", 2)
    later = HEADER.pack()
    monkeypatch.undo()
    with pytest.raises(OtherVersion, match="version 2"):
        unpack_header(later)


def test_no_record_with_a_flipped_bit_is_taken() -> None:
    """Every bit of a record is covered, padding included."""
    for bit in range(len(EXAMPLE) * 8):
        bad = bytearray(EXAMPLE)
        bad[bit // 8] ^= 1 << bit % 8
        assert parse_record(memoryview(bad), 0, MARK) is None, f"bit {bit}"


def test_no_shortened_record_is_taken() -> None:
    """A record that the content ends in is not there."""
    for length in range(len(EXAMPLE)):
        assert parse_record(memoryview(EXAMPLE)[:length], 0, MARK) is None


def test_a_record_of_another_segment_is_not_taken() -> None:
    """What a recycled file held before has another mark."""
    assert parse_record(memoryview(EXAMPLE), 0, b"otherone") is None


@pytest.mark.parametrize("seed", range(20))
def test_sizes_agree(seed: int) -> None:
    """packed_bytes foretells the record's length, fitting_count fits exactly, and any entries come back."""
    chance = random.Random(seed)
    entries = [chance.randbytes(chance.choice([0, 1, 7, 8, 100])) for _ in range(chance.randint(1, 30))]
    record = pack_record(MARK, NO_CODE, 1, 1, entries)
    assert len(record) == packed_bytes(entries)
    assert len(record) % 8 == 0
    parsed = parse_record(memoryview(record), 0, MARK)
    assert parsed is not None
    assert list(parse_entries(bytes(record), parsed)) == entries
    for room_bytes in range(len(record) + 9):
        count = fitting_count(entries, 0, room_bytes)
        assert count == 0 or packed_bytes(entries[:count]) <= room_bytes, f"seed {seed}, room {room_bytes}"
        assert count == len(entries) or packed_bytes(entries[: count + 1]) > room_bytes, f"seed {seed}, room {room_bytes}"


def test_find_mark_looks_only_where_records_begin() -> None:
    """The mark counts after the offset given, and at a multiple of 8 only."""
    assert find_mark(bytes(EXAMPLE), MARK, -8) == 0
    assert find_mark(bytes(EXAMPLE), MARK, 0) is None
    assert find_mark(bytes(5) + EXAMPLE, MARK, -8) is None
    assert find_mark(bytes(5) + EXAMPLE + bytes(3) + EXAMPLE, MARK, -8) == 8 + len(EXAMPLE)
