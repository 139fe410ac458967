"""Batches of the journal in etcd: golden bytes, cutting and putting together, and every kind of damage."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfs.meta.journal import batches
from ringfs.meta.journal.batches import Assembler, Batch, cut, key_of, parse_key, parse_value
from ringfs.meta.journal.interface import JournalDamaged

JOURNAL = b"/ringfs/journal/"
BATCH = Batch(3, 7, 41, False, True, [b"a", b"bc"])


def assembled(found: list[Batch], after: int) -> list[tuple[int, bytes]]:
    """What an assembler gives for batches."""
    assembler = Assembler(after)
    return [entry for batch in found for entry in assembler.take(batch, b"key")]


def test_golden_bytes() -> None:
    """The format of docs/formats/journal-etcd.md does not change by accident."""
    value = BATCH.pack()
    assert value.hex() == "5dcf2fd0f067569603b1aca5333d24589701030729c2c392c40161c4026263"
    key = key_of(JOURNAL, BATCH, len(value))
    assert key == b"/ringfs/journal/0000000000000003-000000000000002a-0000001f"
    assert parse_value(JOURNAL, key, value) == BATCH
    assert (BATCH.begun, BATCH.last) == (42, 41)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=12), st.integers(0, 12))
def test_cut_and_put_together(entries: list[bytes], after: int) -> None:
    """Whatever the sizes, with batches of 16 bytes: all entries come back, from any position on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCH_BYTES_MAX", 16)
        found = [replace(batch, chunks=list(batch.chunks)) for batch in cut(1, 5, 1, entries)]
    assert [batch.number for batch in found] == list(range(1, len(found) + 1))
    assert all(sum(map(len, batch.chunks)) <= 16 for batch in found)
    after = min(after, len(entries))
    start = next((index for index, batch in enumerate(found) if batch.begun > after), len(found))
    assert assembled(found[start:], after) == list(enumerate(entries, 1))[after:]


def test_what_is_begun_is_dropped_where_a_newer_term_begins_it_again() -> None:
    """And only there."""
    begun = Batch(1, 1, 1, False, True, [b"a", b"beginning"])
    assert assembled([begun, Batch(2, 2, 2, False, False, [b"b"])], 0) == [(1, b"a"), (2, b"b")]
    assert assembled([begun, Batch(2, 1, 2, True, False, [b" end"])], 0) == [(1, b"a"), (2, b"beginning end")]


@pytest.mark.parametrize(
    ("following", "what"),
    [
        (Batch(3, 1, 2, False, False, [b"b"]), "missing"),
        (Batch(2, 1, 3, False, False, [b"b"]), "missing"),
        (Batch(2, 0, 2, False, False, [b"b"]), "term"),
        (Batch(2, 1, 2, True, False, [b"b"]), "beginning"),
        (Batch(2, 1, 1, False, False, [b"b"]), "not at 2"),
    ],
)
def test_damage(following: Batch, what: str) -> None:
    """A number, position, term or beginning that does not follow."""
    with pytest.raises(JournalDamaged, match=what):
        assembled([Batch(1, 1, 1, False, False, [b"a"]), following], 0)


def test_damaged_bytes() -> None:
    """Every flipped bit of a value, and every odd key, is noticed."""
    value = BATCH.pack()
    key = key_of(JOURNAL, BATCH, len(value))
    for index in range(len(value)):
        with pytest.raises(JournalDamaged):
            parse_value(JOURNAL, key, value[:index] + bytes([value[index] ^ 1]) + value[index + 1 :])
    with pytest.raises(JournalDamaged):
        parse_value(JOURNAL, key, value[:-1])
    with pytest.raises(JournalDamaged, match="key"):
        parse_key(JOURNAL, JOURNAL + b"abc")
    with pytest.raises(JournalDamaged, match="than its key"):
        parse_value(JOURNAL, key_of(JOURNAL, replace(BATCH, number=4), len(value)), value)
