"""Values on the command line: what is understood, what is a mistake in usage."""

import click
import pytest

from ringfs.cli.values import Duration, Size


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0", 0), ("4096", 4096), ("1K", 1024), ("1.5 MiB", 3 << 19), ("10g", 10 << 30), ("2TB", 2 << 40)]
)
def test_sizes(text: str, size_bytes: int) -> None:
    """Units are powers of 1024."""
    assert Size().convert(text, None, None) == size_bytes


@pytest.mark.parametrize("text", ["", "x", "-1", "1X", "1e3", "99999P", "G"])
def test_no_sizes(text: str) -> None:
    """A mistake in usage."""
    with pytest.raises(click.BadParameter):
        Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [("45", 45), ("45s", 45), ("90m", 5400), ("2h", 7200), ("1d12h", 129_600), ("1h 30m 5s", 5405), ("2H", 7200)],
)
def test_durations(text: str, duration_s: int) -> None:
    """From the largest unit to the smallest."""
    assert Duration().convert(text, None, None) == duration_s


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "1.5h", "1m1h", "1w", "367d", "h"])
def test_no_durations(text: str) -> None:
    """A mistake in usage."""
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)
