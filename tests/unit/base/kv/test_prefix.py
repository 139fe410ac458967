"""after_prefix is the exact end of a prefix's range, also where bytes overflow."""

import pytest

from ringfs.base.kv.memory import MemoryView
from ringfs.base.kv.prefix import after_prefix, scan_prefix


@pytest.mark.parametrize(("prefix", "after"), [(b"a", b"b"), (b"a\xff", b"b"), (b"a\x00", b"a\x01"), (b"\x00\xff\xff", b"\x01")])
def test_after_prefix(prefix: bytes, after: bytes) -> None:
    """It is greater than prefix followed by anything, and nothing lies between."""
    assert after_prefix(prefix) == after
    assert prefix + b"\xff" * 9 < after


def test_no_end() -> None:
    """Nothing comes after all keys that begin with 0xFF bytes only: asking is a bug."""
    with pytest.raises(AssertionError):
        after_prefix(b"\xff\xff")


def test_scan_prefix() -> None:
    """All keys with the prefix, the prefix itself included, and no others."""
    view = MemoryView(dict.fromkeys((b"a", b"a\x00", b"a\xff\xff", b"b", b""), b""))
    assert [key for key, _ in scan_prefix(view, b"a")] == [b"a", b"a\x00", b"a\xff\xff"]
