"""Checksums: golden values, block tables that prove every byte, ids that are never a plain hash of the bytes."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from ringfs.base.checksums import (
    block_hash,
    block_table,
    derived_key,
    first_bad_block,
    is_table_of,
    keyed_code,
    object_id,
    plain_digest,
)
from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES

CONTENT = bytes(range(256)) * 600  # 2 blocks and 22,528 bytes
KEY = bytes(range(32))


def test_golden_values() -> None:
    """Ids and codes are formats: they never change."""
    table = block_table(CONTENT)
    assert plain_digest(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert object_id(len(CONTENT), table).hex() == "14cc9ef1d89b63992611507e96dd9e39dec142a1"
    assert keyed_code(KEY, b"ab", b"c").hex() == "6da54495d8152f2bcba87bd7282df709"
    assert derived_key("ringfs test", KEY).hex() == "81436ee3b1f448355340be2bc6d5c18a98f8662d38a4a2369fc5b2082b3d51bd"


def test_block_table() -> None:
    """One hash for each begun block, the last one short."""
    table = block_table(CONTENT)
    assert len(table) == 3 * HASH_BYTES
    for index in range(3):
        block = CONTENT[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        assert table[index * HASH_BYTES : (index + 1) * HASH_BYTES] == block_hash(block) == blake3(block).digest(length=HASH_BYTES)
    assert block_table(b"") == b""


def test_id_proves_size_and_table() -> None:
    """Another size, another table or a table of another length is not the id's."""
    table = block_table(CONTENT)
    oid = object_id(len(CONTENT), table)
    assert is_table_of(oid, len(CONTENT), table)
    assert not is_table_of(oid, len(CONTENT) - 1, table)
    assert not is_table_of(oid, len(CONTENT), table[:-1] + bytes([table[-1] ^ 1]))
    assert not is_table_of(oid, len(CONTENT), table + bytes(HASH_BYTES))
    assert not is_table_of(bytes(HASH_BYTES), len(CONTENT), table)


def test_id_is_not_a_hash_of_bytes() -> None:
    """An id is derived in a context of its own, so bytes cannot be chosen that hash to it."""
    table = block_table(CONTENT)
    assert object_id(len(CONTENT), table) != plain_digest(len(CONTENT).to_bytes(8, "big") + table, HASH_BYTES)


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
def test_any_flipped_bit_is_found(position: int, bit: int) -> None:
    """The block of a wrong bit is named, whether the whole object or a range of blocks is looked at."""
    table, content = block_table(CONTENT), bytearray(CONTENT)
    content[position] ^= 1 << bit
    block = position // BLOCK_BYTES
    assert first_bad_block(table, 0, content) == block
    assert first_bad_block(table, block, memoryview(content)[block * BLOCK_BYTES :]) == block
    assert first_bad_block(table, 0, CONTENT) is None


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES - 1])
def test_a_short_block_is_bad(length: int) -> None:
    """Bytes that end too early are bad in their last block (none at all are nobody's block)."""
    bad = first_bad_block(block_table(CONTENT), 1, CONTENT[BLOCK_BYTES : BLOCK_BYTES + length])
    assert bad == (1 if length else None)


def test_codes_depend_on_key_and_context() -> None:
    """Another key, another context or other parts give another code; how parts are cut does not matter."""
    assert keyed_code(KEY, b"abc") == keyed_code(KEY, b"a", b"bc")
    assert keyed_code(KEY, b"abc") != keyed_code(bytes(32), b"abc")
    assert derived_key("one", KEY) != derived_key("two", KEY)
