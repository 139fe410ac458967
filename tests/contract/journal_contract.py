"""What every engine of the journal does. An engine's test class provides `open_journal`, and passes all of this."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from ringfs.meta.journal.interface import Journal, JournalFailed
from tests.support.journals import entries

#: Opens the journal of this test, again and again the same one; `close` it in between.
OpenJournal = Callable[[], Awaitable[Journal]]


async def replayed(journal: Journal, after: int) -> list[tuple[int, bytes]]:
    """What replay gives."""
    return [entry async for entry in journal.replay(after)]


class JournalContract:
    """Subclasses provide the fixture `open_journal`."""

    async def test_a_new_journal(self, open_journal: OpenJournal) -> None:
        """It holds nothing, and the first position will be 1."""
        journal = await open_journal()
        assert (journal.first, journal.last, journal.term) == (1, 0, 0)
        assert await replayed(journal, 0) == []
        journal.close()

    async def test_positions_count_on(self, open_journal: OpenJournal) -> None:
        """Each append returns its last entry's position; reopening goes on where it was."""
        journal = await open_journal()
        assert await journal.append(1, entries(1, 1)) == 1
        assert await journal.append(1, entries(2, 5)) == 6
        journal.close()
        journal = await open_journal()
        assert (journal.first, journal.last, journal.term) == (1, 6, 1)
        assert await journal.append(2, entries(7, 2)) == 8
        assert (journal.last, journal.term) == (8, 2)
        journal.close()

    async def test_replay_from_anywhere(self, open_journal: OpenJournal) -> None:
        """Replay gives exactly what comes after, in order, as often as asked, however the appends were cut."""
        journal = await open_journal()
        count, last = 1, 0
        while last < 60:
            last = await journal.append(1, entries(last + 1, count))
            count = count % 7 + 1
        expected = list(enumerate(entries(1, last), 1))
        for after in range(last + 1):
            assert await replayed(journal, after) == expected[after:]
        journal.close()

    async def test_what_append_returned_for_is_there(self, open_journal: OpenJournal) -> None:
        """Entries come back byte for byte: empty, large, and all byte values."""
        journal = await open_journal()
        odd = [b"", bytes(range(256)), b"\xff" * 900, b"\0" * 900, b""]
        await journal.append(1, odd)
        journal.close()
        journal = await open_journal()
        assert [entry for _, entry in await replayed(journal, 0)] == odd
        journal.close()

    async def test_an_older_term_is_refused_for_good(self, open_journal: OpenJournal) -> None:
        """A deposed leader's append fails, nothing of it is held, and every later append of that process fails too."""
        journal = await open_journal()
        await journal.append(3, entries(1, 2))
        with pytest.raises(JournalFailed):
            await journal.append(2, entries(3, 1))
        with pytest.raises(JournalFailed):
            await journal.append(3, entries(3, 1))
        assert not journal.has_room(1, reserve=True)
        journal.close()
        journal = await open_journal()
        assert journal.last == 2
        assert await journal.append(3, entries(3, 1)) == 3
        journal.close()

    async def test_trim_keeps_what_is_needed(self, open_journal: OpenJournal) -> None:
        """After trim(n), everything after n is held, first is at most n + 1, and it stays so after reopening."""
        journal = await open_journal()
        for position in range(1, 61):
            await journal.append(1, entries(position, 1))
        for upto in (0, 17, 17, 40):
            await journal.trim(upto)
            assert journal.first <= upto + 1
            assert await replayed(journal, upto) == list(enumerate(entries(upto + 1, 60 - upto), upto + 1))
        first = journal.first
        journal.close()
        journal = await open_journal()
        assert (journal.first, journal.last) == (first, 60)
        assert await replayed(journal, first - 1) == list(enumerate(entries(first, 61 - first), first))
        journal.close()

    async def test_trim_of_everything(self, open_journal: OpenJournal) -> None:
        """Position and term are remembered, even if nothing is held any more."""
        journal = await open_journal()
        for position in range(1, 31):
            await journal.append(4, entries(position, 1))
        await journal.trim(30)
        journal.close()
        journal = await open_journal()
        assert (journal.last, journal.term) == (30, 4)
        assert await replayed(journal, 30) == []
        assert await journal.append(4, entries(31, 1)) == 31
        journal.close()

    async def test_trim_beside_append(self, open_journal: OpenJournal) -> None:
        """Both at once, all the time: nothing that is needed goes."""
        journal = await open_journal()

        async def trim_after(position: int) -> None:
            await journal.trim(position)

        async with trio.open_nursery() as nursery:
            for position in range(1, 101):
                await journal.append(1, entries(position, 1))
                nursery.start_soon(trim_after, max(0, position - 5))
        assert await replayed(journal, 95) == list(enumerate(entries(96, 5), 96))
        journal.close()
        journal = await open_journal()
        assert journal.last == 100
        assert await replayed(journal, 95) == list(enumerate(entries(96, 5), 96))
        journal.close()

    async def test_a_cancelled_append_happened_or_not(self, open_journal: OpenJournal) -> None:
        """Cancelling never leaves the journal in between: last says what is held, and the next append follows it."""
        journal = await open_journal()
        await journal.append(1, entries(1, 1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await journal.append(1, entries(2, 3))
        last = journal.last
        assert last in (1, 4)
        assert await journal.append(1, entries(last + 1, 1)) == last + 1
        journal.close()
        journal = await open_journal()
        assert await replayed(journal, 0) == list(enumerate(entries(1, last + 1), 1))
        journal.close()

    async def test_there_is_room_at_first(self, open_journal: OpenJournal) -> None:
        """A new journal has room for a transaction, with and without the reserve."""
        journal = await open_journal()
        assert journal.has_room(300, reserve=False)
        assert journal.has_room(300, reserve=True)
        journal.close()
