"""What the metadata service asks of a journal: the ordered, durable log of its transactions.

Positions count entries from 1 and never repeat. An entry is opaque here: one transaction as the namespace machine encodes it.
Every engine passes tests/contract/journal_contract.py.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

from ringfs.base.errors import UserError


class JournalFailed(Exception):
    """The journal cannot be written or read any more. Fatal: the process stops, whoever is next recovers from what is durable."""


class JournalDamaged(UserError):
    """What was acknowledged is missing or changed: more than the end that a crash may tear. Nothing is served from it."""

    def __init__(self, file: Path, offset: int, position: int, what: str) -> None:
        super().__init__(
            f"the journal is damaged: {file} at byte {offset}, transaction {position}: {what}; restore the file from a copy"
        )
        self.file = file
        self.offset = offset
        #: The first position that cannot be read.
        self.position = position


class Journal(Protocol):
    """An open journal, of which this process is the only writer."""

    @property
    def first(self) -> int:
        """The first position held; last + 1 when none is."""
        ...

    @property
    def last(self) -> int:
        """The last position held durably, 0 in a new journal. last + 1 is appended next."""
        ...

    @property
    def term(self) -> int:
        """The term of the last append ever accepted, 0 in a new journal."""
        ...

    def has_room(self, size_bytes: int, *, reserve: bool) -> bool:
        """Whether entries of that size in all, beside those in an append that is under way, will find their space.

        The caller counts in what it has gathered for the next append. False: it refuses mutations with NO_SPACE before
        applying them. With reserve, space that is kept for operations that free some counts too.
        """
        ...

    async def append(self, term: int, entries: Sequence[bytes]) -> int:
        """Append one or more entries; they are durable when it returns the last one's position. One append at a time.

        After a crash in the middle, the first few of the entries may be held, or all, or none. A term below the last
        append's, or any other failure: JournalFailed, and again for every append after that.
        """
        ...

    def replay(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Positions and entries after a position, at least first - 1. Not beside append or trim. JournalDamaged."""
        ...

    async def trim(self, upto: int) -> None:
        """The entries up to this position are in a checkpoint: their space may be reused. May run beside append.

        Also looks for space again where it had run out: while has_room says no, call it from time to time.
        """
        ...

    def close(self) -> None:
        """Give the journal up. Nothing is under way."""
        ...
