"""What heal and scrub make of the stewards' reports."""

from dataclasses import replace

import pytest

from ringfs.cli.heal_view import (
    dangers_of,
    heal_json,
    heal_text,
    indexes_of,
    scrub_json,
    scrub_text,
    sums_of,
    unmended_of,
    work_text,
)
from ringfs.wire.messages.heal import HealStatus
from tests.support.heal_reports import HEALED, MIB, NAMES, REPORT, healing

BUSY = healing(queued=12, queued_bytes=640 * MIB, rate_bytes_per_s=64 * MIB, endangered=1, healed_parts=3, healed_bytes=MIB)


def test_sums() -> None:
    """Over the nodes; the time left is that of all bytes at all nodes' rate."""
    both = HealStatus(7, False, [replace(BUSY.reports[0]), replace(BUSY.reports[0], node=2, rate_bytes_per_s=0)])
    assert sums_of(both).queued == 24
    assert sums_of(both).left_s == 20.0
    assert sums_of(healing(queued=1, queued_bytes=5)).left_s is None
    assert sums_of(HEALED).left_s == 0.0


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (HEALED, "healed"),
        (BUSY, "12 parts (640 MiB) to make or move, 64 MiB/s, about 10 s"),
        (healing(queued=2, queued_bytes=MIB), "2 parts (1 MiB) to make or move, 0 B/s"),
        (healing(), "stewards are looking for what there is to do"),
    ],
)
def test_work(status: HealStatus, text: str) -> None:
    """One line."""
    assert work_text(status) == text
    assert heal_text(status, NAMES).startswith(f"ring      {text}, epoch 7\n")


def test_dangers() -> None:
    """What is lost comes before what may be."""
    assert dangers_of(HEALED) == []
    assert dangers_of(healing(endangered=1)) == ["1 object would not survive the next loss"]
    both = dangers_of(healing(endangered=3, unhealable=2))
    assert [line.split()[:3] for line in both] == [["2", "objects", "cannot"], ["3", "objects", "would"]]


def test_json() -> None:
    """The sums, and every field of each report; a node that was removed is left out."""
    told = heal_json(replace(BUSY, reports=[*BUSY.reports, replace(REPORT, node=9)]), NAMES)
    assert (told["epoch"], told["healed"], told["queued"], told["left_s"], told["endangered"]) == (7, False, 12, 10.0, 1)
    assert [(row["name"], row["clean"], row["healed_parts"]) for row in told["nodes"]] == [("data1", False, 3), ("data2", True, 0)]


def test_text() -> None:
    """A row for each node."""
    rows = [line.split() for line in heal_text(BUSY, NAMES).splitlines()[-2:]]
    assert rows[0][:5] == ["data1", "no", "100.0", "%", "12"]
    assert rows[1][:5] == ["data2", "yes", "100.0", "%", "0"]
    assert heal_text(HealStatus(7, False, []), {}).endswith("no steward has reported yet")


def test_indexes() -> None:
    """Who built one anew says when, and what was lost."""
    built = replace(HEALED, reports=[replace(REPORT, index_built_ns=86_400 * 10**9, lost_parts=3), replace(REPORT, node=2)])
    line = "data1 built its index anew at 1970-01-02 00:00:00 UTC: 3 parts lost to damage"
    assert (indexes_of(built, NAMES), indexes_of(HEALED, NAMES), indexes_of(built, {2: "data2"})) == ([line], [], [])
    assert f"\nindex     {line}\n" in heal_text(built, NAMES)


def test_scrub() -> None:
    """Rounds, and what was not mended yet."""
    bad = replace(HEALED, reports=[replace(REPORT, bad_parts=3, mended_parts=1, scrub_permille=125, scrub_done_ns=86_400 * 10**9)])
    assert (unmended_of(HEALED), unmended_of(bad)) == (0, 2)
    row = ["data1", "12.5", "%", "1970-01-02", "00:00:00", "UTC", "0", "0", "B", "3", "1"]
    assert scrub_text(bad, NAMES).splitlines()[1].split() == row
    assert "never" in scrub_text(HEALED, NAMES)
    told = scrub_json(bad, NAMES)
    assert (told["clean"], told["unmended_parts"], told["nodes"][0]["bad_parts"]) == (False, 2, 3)
