"""Segment headers and record heads: packed, parsed, golden; a bit that is wrong anywhere makes them invalid."""

import pytest

from ringfs.base.limits import OBJECT_BYTES_MAX
from ringfs.data.segment_format import (
    HEAD_BYTES,
    KIND_OBJECT,
    KIND_RENEWAL,
    Head,
    SegmentHeader,
    pack_head,
    pack_header,
    parse_head,
    parse_header,
    record_bytes,
    table_in,
)
from tests.support.stores import made

KEY = bytes(range(32))
HEADER = SegmentHeader(7, bytes(range(16)), KEY, 1_700_000_000_000_000_000)
THING = made(1, 100_000)
HEAD = Head(KIND_OBJECT, THING.oid, len(THING.content), -5, THING.table)
RENEWAL = Head(KIND_RENEWAL, THING.oid, len(THING.content), 1 << 60, b"")

GOLDEN_HEADER = (
    "52494e47465353470001000000000007000102030405060708090a0b0c0d0e0f"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "17979cfe362a0000000000000000000000000000000000000000000000000000"
    "b6fdadc474ef95fa75c0f796d0dbf4aa9994d6084c0d0ae8d2d463e765366707"
)
GOLDEN_HEAD = (
    "52494e474653524300010001000000070000000000002000fffffffffffffffb"
    "493213da5986dc6a05ba4434c5cf7b1f5fc1a7c7000186a00000002800000000"
    "e70da479e4711c1938e2dd060730e8ea1637b2eead7a53e8710b183335e9929a"
    "40ccc91ff2defa291791f80a1ac005ce3cc31284bd75bac90c53a8bcc0fb0a01"
    "239ff8c2c9ab4ca7"
)


def test_header_round_trip() -> None:
    """4 KiB that say the same again."""
    packed = pack_header(HEADER)
    assert len(packed) == HEAD_BYTES
    assert parse_header(packed) == HEADER


@pytest.mark.parametrize("head", [HEAD, RENEWAL], ids=["object", "renewal"])
def test_head_round_trip(head: Head) -> None:
    """4 KiB that say the same again, in the place they were made for."""
    packed = pack_head(head, KEY, 7, 8192)
    assert len(packed) == HEAD_BYTES
    assert parse_head(packed, KEY, 7, 8192) == head


def test_the_largest_table_fits() -> None:
    """An object of 8 MiB has 128 hashes, which its head holds."""
    table = bytes(2560)
    packed = pack_head(Head(KIND_OBJECT, bytes(20), OBJECT_BYTES_MAX, 0, table), KEY, 1, 4096)
    assert table_in(packed, OBJECT_BYTES_MAX) == table


def test_golden_bytes() -> None:
    """docs/formats/segment.md, as bytes."""
    assert pack_header(HEADER)[:128].hex() == GOLDEN_HEADER
    assert pack_head(HEAD, KEY, 7, 8192)[:136].hex() == GOLDEN_HEAD


@pytest.mark.parametrize("bit", [*range(0, 136 * 8, 5), 4095 * 8 + 7])
def test_any_flipped_bit_makes_a_head_invalid(bit: int) -> None:
    """Fields, code, table and the zeros behind it are all covered by the code."""
    packed = bytearray(pack_head(HEAD, KEY, 7, 8192))
    packed[bit // 8] ^= 1 << bit % 8
    assert parse_head(packed, KEY, 7, 8192) is None


@pytest.mark.parametrize("bit", range(0, 128 * 8, 7))
def test_any_flipped_bit_makes_a_header_invalid(bit: int) -> None:
    """All fields are covered by the hash."""
    packed = bytearray(pack_header(HEADER))
    packed[bit // 8] ^= 1 << bit % 8
    assert parse_header(packed) is None


def test_a_head_is_valid_in_its_place_only() -> None:
    """Not at another offset, in another segment, on another disk, or cut short: so no content is taken for a record."""
    packed = pack_head(HEAD, KEY, 7, 8192)
    assert parse_head(packed, KEY, 7, 4096) is None
    assert parse_head(packed, KEY, 8, 8192) is None
    assert parse_head(packed, bytes(32), 7, 8192) is None
    assert parse_head(packed[:-1], KEY, 7, 8192) is None
    assert parse_header(b"") is None


@pytest.mark.parametrize(
    ("size_bytes", "length"), [(1, 8192), (4096, 8192), (4097, 12288), (OBJECT_BYTES_MAX, 4096 + OBJECT_BYTES_MAX)]
)
def test_record_sizes(size_bytes: int, length: int) -> None:
    """A head, and the content rounded up."""
    assert record_bytes(size_bytes) == length
