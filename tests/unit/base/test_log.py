"""The log: one line for each event, whatever is in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from ringfs.base.log import set_up_log


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The set-up is of the whole process."""
    yield
    structlog.reset_defaults()


def lines(path: Path) -> list[str]:
    """What was logged, without times."""
    return [line.partition(" ")[2] for line in path.read_text().splitlines()]


def test_one_line_key_value(tmp_path: Path) -> None:
    """Time, level, event, then what else was given; below the level nothing."""
    set_up_log("info", tmp_path / "log")
    log = structlog.get_logger()
    log.info("connection ended", peer="mount 127.0.0.1:7", count=3, ok=False, none=None)
    log.debug("details")
    assert lines(tmp_path / "log") == ['level=info event="connection ended" peer="mount 127.0.0.1:7" count=3 ok=false none=']
    assert (tmp_path / "log").read_text().startswith("time=20")


def test_a_peer_cannot_forge_lines(tmp_path: Path) -> None:
    """Line ends and control characters in a value stay inside its line."""
    set_up_log("info", tmp_path / "log")
    structlog.get_logger().warning("odd", peer="x\nlevel=info event=forged\r\x1b[2J\u2028y")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "\x1b" not in line
    assert "forged" in line


def test_exceptions_are_one_line(tmp_path: Path) -> None:
    """A traceback is a value like others."""
    set_up_log("error", tmp_path / "log")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        structlog.get_logger().exception("bug")
    (line,) = lines(tmp_path / "log")
    assert "ZeroDivisionError: by zero" in line


def test_appends(tmp_path: Path) -> None:
    """A restart goes on in the same file."""
    for word in ("one", "two"):
        set_up_log("info", tmp_path / "log")
        structlog.get_logger().info(word)
    assert lines(tmp_path / "log") == ["level=info event=one", "level=info event=two"]
