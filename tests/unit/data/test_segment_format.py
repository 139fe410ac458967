"""Segment headers and record heads: packed, parsed, golden; a bit that is wrong anywhere makes them invalid."""

import random

import pytest

from ringfs.base.limits import OBJECT_BYTES_MAX
from ringfs.data.segment_format import (
    HEAD_BYTES,
    KIND_PART,
    KIND_RENEWAL,
    Head,
    SegmentHeader,
    pack_head,
    pack_header,
    parse_head,
    parse_header,
    record_bytes,
    tables_in,
)
from ringfs.data.stored_part import StoredPart, Tables
from ringfs.ring.parts import Part
from tests.support.stores import fragment_of, made

KEY = bytes(range(32))
HEADER = SegmentHeader(7, bytes(range(16)), KEY, 1_700_000_000_000_000_000, 1 << 30)
THING = made(1, 100_000)
HEAD = Head(KIND_PART, THING.stored, -5, THING.tables)
RENEWAL = Head(KIND_RENEWAL, THING.stored, 1 << 60, Tables(b""))
PARITY = fragment_of(made(2, 5 * 65536 + 1), 4, 2, 5)
PARITY_HEAD = Head(KIND_PART, PARITY.stored, 7, PARITY.tables)
EMPTY = fragment_of(made(1, 100_000), 4, 2, 3)

GOLDEN_HEADER = (
    "52494e47465353470001000000000007000102030405060708090a0b0c0d0e0f"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "17979cfe362a0000000000004000000000000000000000000000000000000000"
    "ed06e23d92fc00270549683df844f4620b3a2315770d7ed90492d663d74baa4f"
)
GOLDEN_HEAD = (
    "52494e474653524300020001000000070000000000002000fffffffffffffffb"
    "493213da5986dc6a05ba4434c5cf7b1f5fc1a7c7000186a00000002800000000"
    "b4b51e004cdf98d66df7285523b5bed42147ca94b0460c15f28783d8a993e00c"
    "40ccc91ff2defa291791f80a1ac005ce3cc31284bd75bac90c53a8bcc0fb0a01"
    "239ff8c2c9ab4ca7"
)
GOLDEN_PARITY_HEAD = (
    "52494e4746535243000200010000000700000000000020000000000000000007"
    "335bc60dd7e7b02936be2de55af7ab41ef923af7000500010000007804020500"
    "830b63a2f9fb6a30c993dbe33ecd5d87614ae2d5da18c28a87da70839b57fb57"
    "d469089da2204eaebca433114db01405e8ddbee01d998361eae7cea573c049d9"
    "b9a71cd2d019146383a61290d4839b2e08f009e854850c5e0b494a166253293b"
    "e84dacc855180a59126c19ccf5ae32b0535cb606dea694493deafcd041cfa86d"
    "73e8e17268a4bd2fafb95914128d5a5b89c268c9993f498f336287cb88bc0d76"
    "a84996f6f88593a9aa0deb37d83beab307661d2d33f4bc966367b123c3a85974"
)
#: As it was written before there were fragments.
GOLDEN_HEAD_V1 = (
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


@pytest.mark.parametrize(
    "head",
    [HEAD, RENEWAL, PARITY_HEAD, Head(KIND_PART, EMPTY.stored, 1, EMPTY.tables), Head(KIND_RENEWAL, PARITY.stored, 9, Tables(b""))],
    ids=["copy", "renewal", "parity", "empty fragment", "renewal of parity"],
)
def test_head_round_trip(head: Head) -> None:
    """4 KiB that say the same again, in the place they were made for."""
    packed = pack_head(head, KEY, 7, 8192)
    assert len(packed) == HEAD_BYTES
    assert parse_head(packed, KEY, 7, 8192) == head


def test_the_largest_tables_fit() -> None:
    """An object of 8 MiB has 128 hashes, and a parity fragment of it at most 64: a head holds both."""
    stored = StoredPart(bytes(20), OBJECT_BYTES_MAX, Part(2, 1, 2))
    tables = Tables(random.Random(1).randbytes(2560), random.Random(2).randbytes(1280))
    packed = pack_head(Head(KIND_PART, stored, 0, tables), KEY, 1, 4096)
    assert tables_in(packed, stored) == tables


def test_golden_bytes() -> None:
    """docs/formats/segment.md, as bytes."""
    assert pack_header(HEADER)[:128].hex() == GOLDEN_HEADER
    assert pack_head(HEAD, KEY, 7, 8192)[:136].hex() == GOLDEN_HEAD
    assert pack_head(PARITY_HEAD, KEY, 7, 8192)[:256].hex() == GOLDEN_PARITY_HEAD


def test_heads_of_version_1_are_read() -> None:
    """A disk from before there were fragments: its heads are those of whole copies."""
    packed = bytes.fromhex(GOLDEN_HEAD_V1).ljust(HEAD_BYTES, b"\0")
    assert parse_head(packed, KEY, 7, 8192) == HEAD


def test_a_head_of_no_possible_part_is_invalid() -> None:
    """Even with the right code: nothing is guessed."""
    impossible = Head(KIND_PART, StoredPart(THING.oid, 100_000, Part(1, 1, 0)), 1, Tables(THING.table))
    assert parse_head(pack_head(impossible, KEY, 7, 8192), KEY, 7, 8192) is None


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
