"""What people read: tables, sizes, ages; and that progress is silent where nobody watches."""

import io

import pytest

from ringfs.cli.output import age_text, progress, size_text, table


def test_table_aligns() -> None:
    """Columns start at one place, numbers end at one, lines have no trailing blanks."""
    shown = table(("NAME", "SIZE", "NOTE"), [("a", "1", ""), ("longer", "1000", "x")], right=(1,))
    assert shown.splitlines() == ["NAME    SIZE  NOTE", "a          1", "longer  1000  x"]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1024, "1 KiB"),
        (300 << 20, "300 MiB"),
        (1023 << 20, "0.999 GiB"),
        (3 << 60, "3072 PiB"),
    ],
)
def test_size_text(size_bytes: int, text: str) -> None:
    """Three digits and a unit, without exponents."""
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("age_s", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (90000, "1 d 1 h")]
)
def test_age_text(age_s: float, text: str) -> None:
    """The largest unit and the next."""
    assert age_text(age_s) == text


def test_progress_is_quiet_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file gets no progress bars."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress() as shown:
        shown.step("working", 1, 2)
    assert stream.getvalue() == ""
