"""The file engine passes the journal's contract, over real files and in memory; its failures are final."""

import errno
from pathlib import Path

import pytest
import trio

from ringfs.base.files import RealFiles
from ringfs.base.limits import JOURNAL_ENTRY_BYTES_MAX, JOURNAL_SEGMENT_BYTES
from ringfs.meta.journal.file import FileJournal, random_mark
from ringfs.meta.journal.interface import Journal, JournalFailed
from ringfs.meta.journal.segments import SPARES_AHEAD
from ringfs.meta.leader import BATCH_BYTES_MAX
from tests.contract.journal_contract import JournalContract, OpenJournal
from tests.support.crashing_files import CrashingFiles
from tests.support.journals import CLUSTER, entries, open_journal


class TestFileJournal(JournalContract):
    """Over real files, segments as small as can be."""

    @pytest.fixture
    def open_journal(self, tmp_path: Path) -> OpenJournal:
        """The journal in a temporary directory."""

        async def reopen() -> Journal:
            return open_journal(RealFiles(), tmp_path / "journal")

        return reopen


class TestFileJournalInMemory(JournalContract):
    """Over the crashing file layer, which loses everything that was not synced between close and open."""

    @pytest.fixture
    def open_journal(self) -> OpenJournal:
        """The journal in memory."""
        files = [CrashingFiles()]

        async def reopen() -> Journal:
            files[0] = files[0].after_crash(lambda _count: 0)
            return open_journal(files[0])

        return reopen


async def test_a_failed_write_is_never_tried_again() -> None:
    """After EIO from pwrite or fdatasync the journal takes nothing more, and has no room."""
    for operation in ("pwrite", "fdatasync"):
        files = CrashingFiles()
        journal = open_journal(files)
        await journal.append(1, entries(1, 1))
        files.fail(operation, errno.EIO)
        with pytest.raises(JournalFailed, match="Input/output error"):
            await journal.append(1, entries(2, 1))
        steps = files.step_count
        with pytest.raises(JournalFailed, match=r"failed before: .*Input/output error"):
            await journal.append(1, entries(2, 1))
        with pytest.raises(JournalFailed, match="failed before"):
            await journal.trim(1)
        assert files.step_count == steps, "the files were left alone"
        assert journal.last == 1
        assert not journal.has_room(1, reserve=True)


async def test_a_failed_trim_is_final_too() -> None:
    """A disk that cannot rename is not trusted with appends."""
    files = CrashingFiles()
    journal = open_journal(files)
    for position in range(1, 31):
        await journal.append(1, entries(position, 1))
    files.fail("rename", errno.EIO)
    with pytest.raises(JournalFailed):
        await journal.trim(30)
    with pytest.raises(JournalFailed):
        await journal.append(1, entries(31, 1))


async def test_a_disk_that_fails_while_opening() -> None:
    """It is a JournalFailed that names the directory, and the lock is free again."""
    files = CrashingFiles()
    files.fail("fdatasync", errno.EIO)
    with pytest.raises(JournalFailed, match=r"cannot open the journal in /journal: .*Input/output error"):
        open_journal(files)
    open_journal(files).close()


async def test_room_ends_before_space_does() -> None:
    """On a full disk: first only freeing operations have room, then nothing, and no append that had room fails."""
    files = CrashingFiles()
    journal = open_journal(files)
    files.capacity_bytes = files.used_bytes()
    seen = []
    while journal.has_room(100, reserve=True):
        seen.append(journal.has_room(100, reserve=False))
        await journal.append(1, [bytes(100)])
    assert seen == sorted(seen, reverse=True), "ordinary room ends once"
    assert seen[0]
    assert not seen[-1]
    await journal.trim(journal.last)
    assert journal.has_room(100, reserve=False), "trimming makes room again"


async def test_entries_under_way_count() -> None:
    """has_room counts what an append is writing just now."""
    files = CrashingFiles()
    journal = open_journal(files, reserve_bytes=0)
    asked = []

    def ask(operation: str) -> None:
        asked.append((operation, journal.has_room(700, reserve=False)))

    assert journal.has_room(700, reserve=False)
    files.at_step = ask
    await journal.append(1, [bytes(700)])
    assert asked[0] == ("pwrite", False)
    assert journal.has_room(700, reserve=False)


async def test_one_append_at_a_time() -> None:
    """Two at once are a bug of the caller, and said so."""
    journal = open_journal(CrashingFiles())
    with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="one append at a time")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.append, 1, [b"a"])
            nursery.start_soon(journal.append, 1, [b"b"])
    with pytest.raises(AssertionError, match="at least one entry"):
        await journal.append(1, [])


async def test_the_loop_goes_on_meanwhile() -> None:
    """While the disk syncs, other tasks run."""
    files = CrashingFiles()
    journal = open_journal(files)
    token = trio.lowlevel.current_trio_token()
    ran: list[bool] = []

    def hold(operation: str) -> None:
        if operation == "fdatasync" and not ran:
            trio.from_thread.run_sync(ran.append, True, trio_token=token)

    files.at_step = hold
    await journal.append(1, [b"a"])
    assert ran == [True]


async def test_segments_have_their_space(tmp_path: Path) -> None:
    """On a real disk, spare files are of full size with all blocks given, so that an append allocates nothing."""
    journal = FileJournal(tmp_path / "journal", CLUSTER, segment_bytes=256 * 1024)
    await journal.append(1, [b"a"])
    spares = sorted((tmp_path / "journal").glob("spare-*"))
    assert len(spares) == SPARES_AHEAD
    for path in [*spares, tmp_path / "journal/segment-0000000000000001"]:
        assert path.stat().st_size == 256 * 1024
        assert path.stat().st_blocks * 512 >= 256 * 1024
    journal.close()


async def test_a_busy_leader_is_not_out_of_room(tmp_path: Path) -> None:
    """With a full segment and the spares that are secured ahead, there is room for all that a leader gathers beside an append."""
    journal = FileJournal(tmp_path / "journal", CLUSTER)
    try:
        journal._log._offset = JOURNAL_SEGMENT_BYTES
        assert len(journal._log._spares) == SPARES_AHEAD
        journal._appending_bytes = BATCH_BYTES_MAX
        assert journal.has_room(BATCH_BYTES_MAX + JOURNAL_ENTRY_BYTES_MAX, reserve=False)
    finally:
        journal.close()


def test_marks_are_random() -> None:
    """Nobody can know one."""
    assert len({random_mark() for _ in range(100)}) == 100
