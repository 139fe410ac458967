"""Sorted lists side by side, against dictionaries; with pages of a few rows, in which ids have several."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.data.steward.merging import Page, SortedList, side_by_side


class Row(NamedTuple):
    """A row of a list."""

    object: bytes
    part: int


def listed(rows: Sequence[Row], limit: int, *, fails_after: int | None = None, error: Exception | None = None) -> SortedList:
    """A list of rows in pages, which fails after so many."""
    asked = 0

    async def turn(last: Any | None) -> Page:
        nonlocal asked
        asked += 1
        if fails_after is not None and asked > fails_after:
            raise error or ConnectionLost("gone")
        start = 0 if last is None else rows.index(last) + 1
        return Page(rows[start : start + limit], start + limit < len(rows))

    return SortedList(turn)


def random_rows(draw: random.Random, count: int) -> list[Row]:
    """Rows of some of 300 ids, with one to three parts each."""
    ids = sorted(draw.sample(range(300), count))
    return [Row(number.to_bytes(20, "big"), part) for number in ids for part in range(draw.randrange(1, 4))]


async def test_every_row_comes_once_and_those_of_an_id_together() -> None:
    draw = random.Random(3)
    for _ in range(100):
        contents = [random_rows(draw, draw.choice([0, 1, 50, 200])) for _ in range(4)]
        lists = [listed(rows, draw.randrange(4, 40)) for rows in contents]
        seen: list[list[Row]] = [[], [], [], []]
        ended = b""
        async for batch in side_by_side(lists):
            ids = [row.object for rows in batch for row in rows]
            assert all(oid > ended for oid in ids)
            ended = max([ended, *ids])
            for rows, more in zip(seen, batch, strict=True):
                rows += more
        assert seen == contents


async def test_only_some_pages_are_kept() -> None:
    rows = [Row(number.to_bytes(20, "big"), 0) for number in range(1000)]
    lists = [listed(rows, 10), listed(rows[500:], 10), listed([], 10)]
    async for batch in side_by_side(lists):
        assert max(len(rows) for rows in batch) <= 20


async def test_a_list_that_fails_says_so_and_stops_nothing() -> None:
    rows = [Row(number.to_bytes(20, "big"), 0) for number in range(100)]
    for error in (ConnectionLost("gone"), Refused(Code.DISK_FAILED, "it")):
        good, bad = listed(rows, 10), listed(rows, 10, fails_after=3, error=error)
        count = [0, 0]
        async for batch in side_by_side([good, bad]):
            count = [before + len(rows) for before, rows in zip(count, batch, strict=True)]
        assert count == [100, 30]
        assert (good.failure, bad.failure) == ("", str(error))


async def test_an_empty_page_that_promises_more_ends_the_list() -> None:
    async def turn(_last: Any | None) -> Page:
        return Page([], True)

    assert [batch async for batch in side_by_side([SortedList(turn)])] == [[[]]]
