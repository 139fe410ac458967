"""The journal's files: rotation, recycling, refusals, and every kind of damage told from a torn end."""

import errno
from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.base.limits import JOURNAL_SEGMENTS_MAX
from ringfs.meta.journal.chain import follow
from ringfs.meta.journal.interface import JournalDamaged, JournalFailed
from ringfs.meta.journal.record import HEADER_BYTES, Record, SegmentHeader, pack_record, unpack_header
from ringfs.meta.journal.segments import SPARES_AHEAD, SPARES_KEPT, SegmentLog
from tests.support.crashing_files import CrashingFiles, Node, nothing_survives
from tests.support.journals import DIRECTORY, SEGMENT_BYTES, entries, open_log


def filled(files: CrashingFiles, count: int = 60) -> SegmentLog:
    """A journal with so many entries, one to a record."""
    log = open_log(files)
    for position in range(1, count + 1):
        assert log.append(1, entries(position, 1)) == position
    return log


def held(log: SegmentLog, after: int | None = None) -> list[tuple[int, bytes]]:
    """What replay gives."""
    return list(log.replay(log.first - 1 if after is None else after))


def expected(first: int, last: int) -> list[tuple[int, bytes]]:
    """What replay should give."""
    return list(enumerate(entries(first, last - first + 1), first))


def segments(files: CrashingFiles) -> list[str]:
    """Names of the segments."""
    return [name for name in files.list(DIRECTORY) if name.startswith("segment-")]


def node(files: CrashingFiles, name: str) -> Node:
    """A file of the journal, to be damaged."""
    found = files._entry(DIRECTORY / name)
    assert isinstance(found, Node)
    return found


def records(files: CrashingFiles, name: str) -> tuple[SegmentHeader, list[Record]]:
    """Header and records of a segment."""
    content = bytes(node(files, name).content)
    header = unpack_header(content)
    return header, [record for record, _ in follow(content, header)]


def flip(files: CrashingFiles, name: str, offset: int) -> None:
    """Flip a bit, in the page cache and on the disk."""
    found = node(files, name)
    found.content[offset] ^= 0x10
    found.durable = bytes(found.content)


def assert_damaged(files: CrashingFiles, name: str, offset: int, position: int) -> None:
    """Opening says what is damaged, and where."""
    with pytest.raises(JournalDamaged) as caught:
        open_log(files.after_kill())
    found = caught.value
    assert (found.file, found.offset, found.position) == (DIRECTORY / name, offset, position), str(found)
    assert f"{DIRECTORY / name} at byte {offset}, transaction {position}" in str(found)


def test_a_new_journal_is_empty() -> None:
    """Positions count from 1, nothing is held, and it reopens so."""
    files = CrashingFiles()
    for _ in range(2):
        log = open_log(files)
        assert (log.first, log.tip.last, log.tip.term, held(log)) == (1, 0, 0, [])
        log.close()


def test_appends_rotate_and_come_back() -> None:
    """Entries come back over many segments, from any position on, before and after reopening."""
    files = CrashingFiles()
    log = filled(files)
    assert len(segments(files)) > 4
    for _ in range(2):
        for after in range(61):
            assert held(log, after) == expected(after + 1, 60)
        log.close()
        log = open_log(files)


def test_one_append_over_several_segments() -> None:
    """An append that no segment holds whole is spread, in order."""
    files = CrashingFiles()
    log = open_log(files)
    assert log.append(1, entries(1, 100)) == 100
    assert len(segments(files)) > 3
    assert held(log) == expected(1, 100)


def test_an_entry_larger_than_a_segment() -> None:
    """It is a failure, not an endless rotation."""
    with pytest.raises(JournalFailed, match="larger than a segment"):
        open_log(CrashingFiles()).append(1, [bytes(SEGMENT_BYTES)])


def test_terms_never_go_back() -> None:
    """An append of an earlier term fails, also when only a header remembers the last term."""
    files = CrashingFiles()
    log = filled(files, 20)
    log.append(5, entries(21, 1))
    while len(records(files, segments(files)[-1])[1]):
        log.append(5, entries(log.tip.last + 1, 1))
        log._rotate()
    log.trim(log.tip.last)
    log.close()
    log = open_log(files)
    assert (len(segments(files)), log.first, log.tip.term) == (1, log.tip.last + 1, 5)
    with pytest.raises(JournalFailed, match="term 4 is over"):
        log.append(4, entries(1, 1))


def test_trim_recycles_whole_segments() -> None:
    """Segments that are wholly trimmed become spares, up to a few, and are used again before any file is made."""
    files = CrashingFiles()
    log = filled(files)
    third, _ = records(files, segments(files)[2])
    log.trim(third.first - 2)
    assert len(segments(files)) + 1 == unpack_header(bytes(node(files, segments(files)[-1]).content)).number
    log.trim(third.first - 1)
    assert (log.first, segments(files)[0]) == (third.first, "segment-0000000000000003")
    assert held(log) == expected(third.first, 60)
    position = 60
    while len(segments(files)) <= SPARES_KEPT + 1:
        position = log.append(1, entries(position + 1, 1))
    log.trim(10_000)
    assert len(segments(files)) == 1
    assert len(log._spares) == SPARES_KEPT
    names = set(files.list(DIRECTORY))
    made = len(names)
    while len(segments(files)) <= SPARES_KEPT - SPARES_AHEAD:
        position = log.append(1, entries(position + 1, 1))
    assert len(files.list(DIRECTORY)) == made
    log.close()
    assert held(open_log(files)) == expected(log.first, position)


def test_recycled_files_do_not_speak() -> None:
    """In a recycled segment, whole records of its earlier life follow the end; they are neither read nor called damage."""
    files = CrashingFiles()
    log = filled(files)
    for position in range(61, 200):
        log.append(1, entries(position, 1))
        log.trim(position - 20)
    name = segments(files)[-1]
    own_count = 1 + len(records(files, name)[1])
    assert bytes(node(files, name).content).count(b"mark") > own_count, "there are older records in it"
    log.close()
    assert held(open_log(files)) == held(log)


def test_a_torn_end_is_cut_and_overwritten() -> None:
    """Half of the last record: it is gone, the position is used again, and the rest of it is never found."""
    files = CrashingFiles()
    log = filled(files, 2)
    log.append(1, [b"z" * 900])
    log.close()
    name = segments(files)[-1]
    torn = records(files, name)[1][-1]
    flip(files, name, torn.end - 20)
    log = open_log(files)
    assert log.tip.last == 2
    assert log.append(2, entries(3, 1)) == 3
    log.close()
    assert held(open_log(files)) == expected(1, 3)


def test_the_last_record_is_written_again() -> None:
    """A record that is only in the page cache when the journal opens (its fdatasync failed) is durable afterwards."""
    files = CrashingFiles()
    log = filled(files, 3)
    files.lose = nothing_survives
    files.fail("fdatasync", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        log.append(1, entries(4, 1))
    reopened = files.after_kill()
    assert open_log(reopened).tip.last == 4
    assert held(open_log(reopened.after_crash(nothing_survives))) == expected(1, 4)


def test_damage_before_the_end_of_the_last_segment() -> None:
    """A flipped bit anywhere in a record that others follow is damage, named by file, offset and position."""
    files = CrashingFiles()
    filled(files).close()
    name = segments(files)[-1]
    found = records(files, name)[1]
    assert len(found) > 2
    for record in found[:-1]:
        for offset in range(record.offset, record.end, 5):
            flip(files, name, offset)
            assert_damaged(files, name, record.offset, record.first)
            flip(files, name, offset)


def test_damage_in_an_earlier_segment() -> None:
    """Even its last record is known to have been acknowledged, because another segment follows."""
    files = CrashingFiles()
    filled(files).close()
    for name in segments(files)[:-1]:
        for record in records(files, name)[1]:
            flip(files, name, record.offset + 30)
            assert_damaged(files, name, record.offset, record.first)
            flip(files, name, record.offset + 30)


def test_a_damaged_header() -> None:
    """Headers are durable before their file has its name: a damaged one is never a torn one."""
    files = CrashingFiles()
    filled(files).close()
    for number, name in enumerate(segments(files)):
        first = records(files, name)[0].first
        flip(files, name, 33)
        assert_damaged(files, name, 0, first if number else 1)
        flip(files, name, 33)


def test_a_missing_segment() -> None:
    """A hole in the numbers names the file that is missing and the position it began with."""
    files = CrashingFiles()
    filled(files).close()
    name = segments(files)[2]
    first = records(files, name)[0].first
    files.unlink(DIRECTORY / name)
    assert_damaged(files, name, 0, first)


def test_a_segment_that_was_cut_short() -> None:
    """Files have their whole size before they are used."""
    files = CrashingFiles()
    filled(files).close()
    name = segments(files)[-1]
    header, found = records(files, name)
    del node(files, name).content[found[0].end :]
    assert_damaged(files, name, found[0].end, header.first)


def test_a_segment_under_another_name() -> None:
    """Swapped files are noticed."""
    files = CrashingFiles()
    filled(files).close()
    first, second = segments(files)[:2]
    files.rename(DIRECTORY / first, DIRECTORY / "kept")
    files.rename(DIRECTORY / second, DIRECTORY / first)
    files.rename(DIRECTORY / "kept", DIRECTORY / second)
    assert_damaged(files, first, 0, 1)


def test_whole_records_in_a_wrong_order() -> None:
    """A record that is whole, but not the next one (a gap, a reordering, an earlier term), is damage where it stands."""
    files = CrashingFiles()
    filled(files, 3).close()
    name = segments(files)[0]
    header, found = records(files, name)
    good = bytes(node(files, name).content)
    third = found[2]
    impostors = {
        "a gap": pack_record(header.mark, third.previous, 1, 4, [b"x"]),
        "another past": pack_record(header.mark, bytes(16), 1, 3, [b"x"]),
        "an earlier term": pack_record(header.mark, third.previous, 0, 3, [b"x"]),
    }
    for what, record in impostors.items():
        node(files, name).content[third.offset : third.offset + len(record)] = record
        assert_damaged(files, name, third.offset, 3)
        node(files, name).content[:] = good
        assert held(open_log(files.after_kill())) == expected(1, 3), what


def test_damage_that_comes_later_is_found_by_replay() -> None:
    """Replay verifies again."""
    files = CrashingFiles()
    log = filled(files)
    name = segments(files)[1]
    record = records(files, name)[1][1]
    flip(files, name, record.end - 1)
    replay = log.replay(0)
    assert [next(replay)[0] for _ in range(1, record.first)] == list(range(1, record.first))
    with pytest.raises(JournalDamaged) as caught:
        next(replay)
    assert (caught.value.offset, caught.value.position) == (record.offset, record.first)


def test_a_journal_of_another_cluster(tmp_path: Path) -> None:
    """It is refused, by file and cluster, and not changed."""
    files = CrashingFiles()
    filled(files, 2).close()
    before = files.list(DIRECTORY)
    with pytest.raises(
        UserError, match=r"segment-0000000000000001 belongs to another cluster \(00112233445566778899aabbccddeeff\)"
    ):
        SegmentLog(DIRECTORY, bytes(16), files, SEGMENT_BYTES, lambda: b"new mark")
    assert files.list(DIRECTORY) == before
    open_log(files).close()


def test_a_journal_of_a_later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by version, and not called damaged."""
    files = CrashingFiles()
    monkeypatch.setattr("ringfs.meta.journal.record.VERSION", 2)
    filled(files, 2).close()
    monkeypatch.undo()
    with pytest.raises(UserError, match="version 2") as caught:
        open_log(files)
    assert not isinstance(caught.value, JournalDamaged)


def test_one_process_at_a_time() -> None:
    """The directory is locked while the journal is open, and free again when opening failed."""
    files = CrashingFiles()
    log = open_log(files)
    with pytest.raises(UserError, match="is in use by process"):
        open_log(files)
    log.append(1, entries(1, 2))
    log.append(1, entries(3, 2))
    log.close()
    flip(files, segments(files)[0], HEADER_BYTES + 70)
    for _ in range(2):
        with pytest.raises(JournalDamaged):
            open_log(files)


def test_a_full_disk_stops_before_an_append_does() -> None:
    """Without space for spares, the room shrinks to what is secured, all of which can be written; it returns with space."""
    files = CrashingFiles()
    log = filled(files, 10)
    files.capacity_bytes = files.used_bytes() + SEGMENT_BYTES // 2
    while log.room_bytes(100) >= 100:
        log.append(1, [bytes(100)])
    assert not any(name.startswith("unfinished-") for name in files.list(DIRECTORY)), "the attempts left nothing"
    with pytest.raises(JournalFailed, match="no space for another segment"):
        log.append(1, [bytes(100)] * 100)
    log.close()
    log = open_log(files)
    last = log.tip.last
    log.trim(last)
    assert log.room_bytes(100) > SEGMENT_BYTES, "trimmed segments are room"
    for _ in range(10):
        log.append(1, [bytes(100)])
    assert log.tip.last == last + 10


def test_space_that_returns_is_secured_by_trim() -> None:
    """Even a trim that frees nothing looks for space again."""
    files = CrashingFiles()
    log = filled(files, 3)
    files.capacity_bytes = files.used_bytes()
    while len(log._spares):
        log.append(1, [bytes(100)])
    log.trim(0)
    assert len(log._spares) == 0
    files.capacity_bytes += 10 * SEGMENT_BYTES
    log.trim(0)
    assert len(log._spares) == SPARES_AHEAD


def test_room_is_a_promise() -> None:
    """Whatever sizes the entries have: what room_bytes says fits does fit, without another file being made."""
    for sizes in ([700], [500, 300], [1400], [64], [1, 900]):
        files = CrashingFiles()
        log = filled(files, 4)
        files.capacity_bytes = files.used_bytes()
        largest = max(sizes)
        room_bytes = log.room_bytes(largest)
        for size in sizes * 100:
            room_bytes -= size + 4 + 64 + 7
            if room_bytes < 0:
                break
            log.append(1, [bytes(size)])
        else:
            raise AssertionError("the room was used up")


def test_the_journal_is_bounded() -> None:
    """Untrimmed, it stops securing space at a number of files, and says so by its room."""
    files = CrashingFiles()
    log = open_log(files)
    while log.room_bytes(100) >= 100:
        log.append(1, [bytes(100)])
    names = files.list(DIRECTORY)
    assert len(names) == len(segments(files)) == JOURNAL_SEGMENTS_MAX


def test_files_of_another_size_are_not_reused() -> None:
    """A journal whose segment size was changed reads its old segments and drops them when trimmed."""
    files = CrashingFiles()
    filled(files).close()
    log = open_log(files, segment_bytes=2 * SEGMENT_BYTES)
    for position in range(61, 121):
        log.append(1, entries(position, 1))
    assert held(log) == expected(1, 120)
    log.trim(120)
    log.close()
    sizes = {len(node(files, name).content) for name in files.list(DIRECTORY)}
    assert sizes == {2 * SEGMENT_BYTES}
