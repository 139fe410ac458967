"""Ranges of keys that begin with the same bytes."""

from collections.abc import Iterator

from ringfs.base.kv.view import ReadView


def after_prefix(prefix: bytes) -> bytes:
    """The least key greater than every key that begins with prefix. The prefix must hold a byte below 0xFF."""
    kept = prefix.rstrip(b"\xff")
    assert kept, "no key comes after all keys of this prefix"
    return kept[:-1] + bytes([kept[-1] + 1])


def scan_prefix(view: ReadView, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All pairs whose keys begin with prefix, in order."""
    return view.scan(prefix, after_prefix(prefix))
