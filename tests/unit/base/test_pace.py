"""A pace follows what it is told, slowly: one outlier does not turn it, a change of the disk does."""

from ringfs.base.pace import Pace


def test_it_follows_and_smooths() -> None:
    """Fast stays fast through one outlier; eight slow ones make it slow; fast ones bring it back."""
    pace = Pace(100, begin_ns=0)
    pace.note(700)
    assert pace.is_fast
    for _ in range(8):
        pace.note(700)
    assert not pace.is_fast
    for _ in range(40):
        pace.note(10)
    assert pace.is_fast


def test_a_block_is_timed_unless_it_raises() -> None:
    """A failed call says nothing about the disk's speed."""
    pace = Pace(10**12, begin_ns=10**12)
    with pace.timed():
        pass
    assert pace.is_fast
