"""Lists in b3sum's format: whatever a path holds, and what is no such list."""

import pytest

from ringfs.base.errors import UserError
from ringfs.cli.manifest import pack_line, parse_lines

DIGEST = bytes(range(32))
ZEROS = b"0" * 64
PATHS = ["a", "/mnt/a b", "two  blanks", "new\nline", "back\\slash", "\\n", "\\", "r\r", "\udcff", "ü", " ", "\n\n\\"]


def test_golden() -> None:
    """As b3sum 1.5 writes them."""
    assert pack_line("a b", DIGEST) == DIGEST.hex().encode() + b"  a b\n"
    assert pack_line("a\n\\b", DIGEST) == b"\\" + DIGEST.hex().encode() + b"  a\\n\\\\b\n"


def test_round_trip() -> None:
    """Every path comes back, each on a line of its own."""
    lines = [pack_line(path, bytes([number]) * 32) for number, path in enumerate(PATHS)]
    assert all(line.count(b"\n") == 1 for line in lines)
    assert parse_lines(lines, "list") == {path: bytes([number]) * 32 for number, path in enumerate(PATHS)}


def test_last_line_without_end() -> None:
    """Editors leave it so."""
    assert parse_lines([pack_line("a", DIGEST).rstrip()], "list") == {"a": DIGEST}


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"abc  a\n", b"0" * 64 + b" a\n", b"0" * 64 + b"  \n", b"0" * 63 + b"g  a\n", b"\\" + b"0" * 64 + b"  a\\t\n"],
)
def test_no_list(line: bytes) -> None:
    """The line is named."""
    with pytest.raises(UserError, match="list, line 2: is not"):
        parse_lines([pack_line("a", DIGEST), line], "list")


def test_twice() -> None:
    """Which of them would be meant?"""
    with pytest.raises(UserError, match="line 2: a is there twice"):
        parse_lines([pack_line("a", DIGEST)] * 2, "list")
