"""The index's rules: what is live, what is freed, what a scan may change; its rows as golden bytes."""

import random
from contextlib import suppress

import pytest

from ringfs.base.kv.memory import MemoryView
from ringfs.data.index import NO_MARK, Count, Entry, Index, IndexDamaged, SegmentUse, place_of, position_of
from ringfs.data.segment_format import KIND_PART, KIND_RENEWAL, Head, record_bytes
from ringfs.data.stored_part import StoredPart, Tables
from ringfs.ring.parts import Part
from ringfs.wire.messages.data import WHOLE
from tests.support.stores import adds_up

DISK = bytes(range(16))
OID = b"a" * 20
A, B = OID + WHOLE, b"b" * 20 + WHOLE
SIZE = 10_000
FRAGMENT, PARITY = Part(2, 1, 1).pack(), Part(2, 1, 2).pack()
RECORD = record_bytes(SIZE)


def index() -> Index:
    """An empty one."""
    return Index(MemoryView(), DISK)


def reloaded(view: MemoryView) -> Index:
    """What a start finds in the same rows."""
    again = Index(view, DISK)
    assert again.load(NO_MARK)
    return again


def test_positions_are_places() -> None:
    """Segment and offset, ordered as they were appended."""
    assert place_of(position_of(3, 4096)) == (3, 4096)
    assert position_of(3, 1 << 30) < position_of(4, 4096)


def test_add_and_remove() -> None:
    """A row is there or not; what it pointed to becomes a range to punch, and its segment has nothing live."""
    rows = index()
    rows.add(A, position_of(1, 4096), SIZE, 50)
    assert rows.get(A) == Entry(position_of(1, 4096), SIZE, 50)
    assert rows.segments == {1: SegmentUse(RECORD, 1)}
    rows.remove(A)
    assert rows.get(A) is None
    assert rows.segments == {1: SegmentUse(0, 0)}
    assert rows.punches == {position_of(1, 4096): RECORD}


def test_adding_again_frees_the_older_record() -> None:
    """A copy that was put anew replaces the old one and its renewals."""
    rows = index()
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.renew(A, position_of(1, 4096 + RECORD), 60)
    rows.add(A, position_of(2, 4096), SIZE, 70)
    assert rows.get(A) == Entry(position_of(2, 4096), SIZE, 70)
    assert rows.punches == {position_of(1, 4096): RECORD, position_of(1, 4096 + RECORD): 4096}
    assert (rows.part_count, rows.live_bytes) == (1, RECORD)


def test_only_the_latest_renewal_is_kept() -> None:
    """Each renewal frees the one before."""
    rows = index()
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.renew(A, position_of(2, 4096), 60)
    rows.renew(A, position_of(2, 8192), 70)
    assert rows.get(A) == Entry(position_of(1, 4096), SIZE, 70, position_of(2, 8192))
    assert rows.punches == {position_of(2, 4096): 4096}
    assert rows.segments == {1: SegmentUse(RECORD, 1), 2: SegmentUse(4096, 0)}


def test_births_only_grow() -> None:
    """Whatever the clock says, a birth is newer than all that were given out, also after a start."""
    rows = index()
    assert rows.next_birth(1000) == 1000
    assert rows.next_birth(10) == 1001
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 4096), SIZE, 5000)
    rows.flush(position_of(1, 4096 + RECORD))
    assert reloaded(view).next_birth(10) == 5001


def test_flushed_rows_are_loaded_again() -> None:
    """Mark, segments, punches and objects come back as they were."""
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.add(B, position_of(2, 4096), SIZE, 51)
    rows.renew(B, position_of(2, 4096 + RECORD), 60)
    rows.remove(A)
    rows.flush(position_of(2, 999 * 4096))
    again = reloaded(view)
    assert again.mark == position_of(2, 999 * 4096)
    assert (again.segments, again.punches) == (rows.segments, rows.punches)
    assert list(again.entries()) == [(B, Entry(position_of(2, 4096), SIZE, 60, position_of(2, 4096 + RECORD)))]
    assert adds_up(again)


def test_a_forgotten_segment_leaves_no_row() -> None:
    """Neither its figures nor its ranges to punch come back."""
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.remove(A)
    rows.flush(0)
    rows.forget_segment(1)
    rows.flush(0)
    again = reloaded(view)
    assert (again.segments, again.punches) == ({}, {})


def test_a_lost_segment_loses_its_objects_only() -> None:
    """Objects elsewhere stay, without renewals that were in it."""
    rows = index()
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.renew(A, position_of(2, 4096), 60)
    rows.add(B, position_of(2, 8192), SIZE, 70)
    assert rows.lose_segment(2) == 1
    assert rows.get(B) is None
    assert rows.get(A) == Entry(position_of(1, 4096), SIZE, 60)
    assert adds_up(rows)


def test_pages() -> None:
    """Ascending, after an id, and whether more follow."""
    rows = index()
    draw = random.Random(1)
    ids = sorted(draw.randbytes(20) + WHOLE for _ in range(10))
    for number, oid in enumerate(ids):
        rows.add(oid, position_of(1, 4096 + number * RECORD), SIZE, number + 1)
    first, more = rows.page(b"", 4)
    assert ([oid for oid, _ in first], more) == (ids[:4], True)
    rest, more = rows.page(ids[3], 6)
    assert ([oid for oid, _ in rest], more) == (ids[4:], False)
    assert rows.page(ids[9], 5) == ([], False)


def head(kind: int, birth_ns: int) -> Head:
    """Of object A."""
    return Head(kind, StoredPart(OID, SIZE), birth_ns, Tables(b""))


def test_replaying_what_is_known_changes_nothing() -> None:
    """Records behind the mark that the rows reflect already are found again by a scan."""
    rows = index()
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.renew(A, position_of(1, 4096 + RECORD), 60)
    before = (rows.get(A), dict(rows.punches), rows.live_bytes)
    rows.replay(head(KIND_PART, 50), position_of(1, 4096))
    rows.replay(head(KIND_RENEWAL, 60), position_of(1, 4096 + RECORD))
    assert (rows.get(A), dict(rows.punches), rows.live_bytes) == before


def test_replaying_takes_the_later_record() -> None:
    """The later of two records of an object counts, in whichever order they are met; renewals raise the birth."""
    later = Entry(position_of(3, 4096), SIZE, 70, position_of(4, 4096))
    for earlier_first in (True, False):
        rows = index()
        records = [(KIND_PART, 50, position_of(1, 4096)), (KIND_PART, 60, position_of(3, 4096))]
        for kind, birth_ns, position in records if earlier_first else reversed(records):
            rows.replay(head(kind, birth_ns), position)
        rows.replay(head(KIND_RENEWAL, 70), position_of(4, 4096))
        assert rows.get(A) == later
        assert rows.punches == {position_of(1, 4096): RECORD}
        assert adds_up(rows)


def test_renewals_of_nothing_are_wasted() -> None:
    """The renewal of an object that was deleted, and one that is older than what is known, free their own place."""
    rows = index()
    rows.replay(head(KIND_RENEWAL, 70), position_of(4, 4096))
    rows.add(A, position_of(5, 4096), SIZE, 90)
    rows.replay(head(KIND_RENEWAL, 80), position_of(4, 8192))
    assert rows.get(A) == Entry(position_of(5, 4096), SIZE, 90)
    assert rows.punches == {position_of(4, 4096): 4096, position_of(4, 8192): 4096}


def counted(view: MemoryView) -> Count:
    """All rows, given to a count in two portions."""
    count, rows = Count(), list(view.scan(b"", b"\xff"))
    count.take(rows[:2])
    count.take(rows[2:])
    return count


def test_foreign_indexes_are_noticed() -> None:
    """No index, another disk's, another version's."""
    assert not Index(MemoryView(), DISK).load(NO_MARK)
    view = MemoryView()
    Index(view, DISK).flush(0)
    assert not Index(view, bytes(16)).load(NO_MARK)
    view.put(b"h", b"\0\1" + DISK + bytes(16))
    assert not Index(view, DISK).load(NO_MARK)


def test_figures_that_do_not_add_up_are_noticed() -> None:
    """Too many parts, too few bytes, no figures of a segment; after a proper end the number of parts has to do."""
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.add(B, position_of(2, 4096), SIZE, 50)
    rows.renew(A, position_of(2, 8192), 60)
    rows.flush(position_of(2, 4 << 20))
    assert counted(view).agrees
    assert counted(view).newest == position_of(2, 8192)
    for live_bytes, part_count, agrees_closed in ((0, 1, False), (-4096, 0, True)):
        rows.segments[1].part_count += part_count
        rows.segments[1].live_bytes += live_bytes
        for closed in (False, True):
            rows._changed.add(1)
            rows.flush(position_of(2, 4 << 20), closed=closed)
            assert counted(view).agrees == (closed and agrees_closed)
        rows.segments[1].part_count -= part_count
    assert counted(view).newest == position_of(2, 4 << 20), "all that was ever appended lies before the mark"
    rows.segments.pop(1)
    rows._changed.add(1)
    rows.flush(0)
    assert not counted(view).agrees


def test_nothing_is_read_for_what_lies_behind_all_rows() -> None:
    """Whether anything points there is known; elsewhere rows are asked."""
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 8192), SIZE, 50)
    rows.flush(0)
    again = reloaded(view)
    again._newest = counted(view).newest
    assert again.points_into(position_of(1, 8192), position_of(1, 12288))
    assert not again.points_into(position_of(1, 0), position_of(1, 8192))
    view.put(b"o" + A, b"short")
    assert not again.points_into(position_of(1, 12288), position_of(2, 0))
    with pytest.raises(IndexDamaged):
        again.points_into(position_of(1, 4096), position_of(2, 0))
    again.add(B, position_of(2, 4096), SIZE, 51)
    with pytest.raises(IndexDamaged):
        again.points_into(position_of(2, 4096), position_of(3, 0))


@pytest.mark.parametrize("bit", range(0, 28 * 8, 9))
@pytest.mark.parametrize("kind", [b"o", b"s", b"p", b"h"])
def test_a_flipped_bit_in_any_row_is_noticed(kind: bytes, bit: int) -> None:
    """Before anything is done because of it: at the start, or when the row is read."""
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.waste(position_of(2, 4096), 4096)
    rows.flush(0)
    key, row = next(iter(view.scan(kind, bytes([kind[0] + 1]))))
    rotten = bytearray(row)
    rotten[bit // 8 % len(row)] ^= 1 << bit % 8
    view.put(key, bytes(rotten))
    again = Index(view, DISK)
    if kind == b"o":
        assert again.load(NO_MARK)
        for ask in (lambda: counted(view), lambda: again.get(A), lambda: again.parts(OID), lambda: again.remove(A)):
            with pytest.raises(IndexDamaged):
                ask()
        return
    with suppress(IndexDamaged):
        assert not again.load(NO_MARK), "only another version is no damage"


def test_a_row_in_the_place_of_another_is_noticed() -> None:
    """Its sum covers the key."""
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 4096), SIZE, 50)
    row = view.get(b"o" + A)
    assert row is not None
    view.put(b"o" + B, row)
    with pytest.raises(IndexDamaged):
        rows.get(B)


def test_random_histories_stay_consistent() -> None:
    """Whatever happens in whatever order, the segments' figures are what the rows add up to, and no live range is to be punched."""
    for seed in range(30):
        draw = random.Random(seed)
        rows = index()
        ids = [draw.randbytes(20) + part for part in (WHOLE, FRAGMENT, PARITY) for _ in range(2)]
        for step in range(1, 201):
            oid = draw.choice(ids)
            position = position_of(1 + step // 50, 4096 * (1 + step % 50 * 4))
            what = draw.choice(["add", "renew", "remove"])
            if what == "add":
                rows.add(oid, position, draw.choice([SIZE, 5000]), rows.next_birth(step))
            elif rows.get(oid) is not None and what == "renew":
                rows.renew(oid, position, rows.next_birth(step))
            elif rows.get(oid) is not None:
                rows.remove(oid)
            assert adds_up(rows), f"seed {seed} step {step}"
        live = {place for _, entry in rows.entries() for place in (entry.position, entry.renewal)}
        assert not live & rows.punches.keys(), f"seed {seed}"


def test_golden_rows() -> None:
    """docs/formats/data-index.md, as bytes."""
    view = MemoryView()
    rows = Index(view, DISK)
    rows.add(A, position_of(1, 4096), SIZE, 50)
    rows.renew(A, position_of(2, 8192), 60)
    rows.waste(position_of(2, 4096), 4096)
    rows.flush(position_of(2, 12288))
    assert [(key.hex(), value.hex()) for key, value in view.scan(b"", b"\xff")] == [
        ("68", "0002" + DISK.hex() + "0000000200003000" + "000000000000003c" + "00" + "aebcc4a4"),
        ("6f" + A.hex(), "0000000100001000" + "00002710" + "000000000000003c" + "0000000200002000" + "0c4375c8"),
        ("700000000200001000", "00001000" + "d262024a"),
        ("7300000001", "0000000000004000" + "00000001" + "5b088735"),
        ("7300000002", "0000000000001000" + "00000000" + "9d4bd39a"),
    ]
