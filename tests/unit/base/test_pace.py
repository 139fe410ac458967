"""A pace follows what it is told, slowly: one outlier does not turn it, a change of the disk does."""

import pytest

from ringfs.base.pace import Pace


def test_it_follows_and_smooths() -> None:
    """One outlier counts an eighth; many of a kind become the pace."""
    pace = Pace(0)
    pace.note(800)
    assert pace.smoothed_ns == 100
    for _ in range(60):
        pace.note(800)
    assert 780 <= pace.smoothed_ns <= 800
    for _ in range(60):
        pace.note(8)
    assert pace.smoothed_ns < 20


def test_a_block_is_timed_unless_it_raises() -> None:
    """A failed call says nothing about the disk's speed."""
    pace = Pace(10**12)
    with pytest.raises(OSError, match="broken"), pace.timed():
        raise OSError("broken")
    assert pace.smoothed_ns == 10**12
    with pace.timed():
        pass
    assert pace.smoothed_ns < 10**12
