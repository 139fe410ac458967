"""Going through sorted lists side by side, page by page: by id, what each list has of it. Memory: a few pages of each list."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import trio

from ringfs.base.errors import ConnectionLost, Refused
from ringfs.base.limits import HASH_BYTES

_LAST_ID = b"\xff" * HASH_BYTES


class Page(NamedTuple):
    """Some rows (each has an `object`), ascending, and whether there are more after them."""

    rows: Sequence[Any]
    more: bool


#: Gives the page after a row; None: the first. Raises Refused, ConnectionLost.
Turn = Callable[[Any | None], Awaitable[Page]]


class SortedList:
    """One list. `failure` is empty while it answers; one that failed has no more rows."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._rows: list[Any] = []
        self._more = True
        self.failure = ""

    async def fill(self) -> None:
        """Have rows of at least two ids, or all that are left: those of the last id may go on in the next page."""
        while self._more and not (self._rows and self._rows[0].object < self._rows[-1].object):
            try:
                page = await self._turn(self._rows[-1] if self._rows else None)
            except (Refused, ConnectionLost) as error:
                self.failure, self._more = str(error), False
                return
            self._rows += page.rows
            # A page of nothing that says there is more would be asked for again for ever.
            self._more = page.more and bool(page.rows)

    @property
    def complete_through(self) -> bytes:
        """All rows up to this id are here."""
        if not self._more:
            return _LAST_ID
        last: bytes = self._rows[-1].object
        complete: bytes = next(row.object for row in reversed(self._rows) if row.object < last)
        return complete

    def take(self, through: bytes) -> list[Any]:
        """The rows up to an id; they are forgotten here."""
        count = next((index for index, row in enumerate(self._rows) if row.object > through), len(self._rows))
        taken, self._rows = self._rows[:count], self._rows[count:]
        return taken

    @property
    def is_over(self) -> bool:
        """Whether everything was taken."""
        return not self._more and not self._rows


async def side_by_side(lists: Sequence[SortedList]) -> AsyncIterator[list[list[Any]]]:
    """Rows of each list up to some id, and then those up to a later one, until all lists are over."""
    while not all(each.is_over for each in lists):
        async with trio.open_nursery() as nursery:
            for each in lists:
                nursery.start_soon(each.fill)
        through = min(each.complete_through for each in lists)
        yield [each.take(through) for each in lists]
