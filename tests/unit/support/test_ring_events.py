"""What a row of tools/ring_faults.py says was moved."""

from tests.support.ring_events import moved_since


def test_moved_since() -> None:
    """Stewards count from their start: one that was killed counts with what it did since, and takes nothing from others."""
    before = {"data1": 500, "data2": 70, "data3": 9}
    assert moved_since(before, before) == 0
    assert moved_since(before, {"data1": 500, "data2": 75, "data3": 9}) == 5
    assert moved_since(before, {"data1": 30, "data2": 75, "data3": 9}) == 35
    assert moved_since(before, {"data2": 70, "data3": 9, "data4": 4}) == 4
