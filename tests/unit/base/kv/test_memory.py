"""MemoryView is a View: point reads, half-open ordered ranges, deletes that may miss."""

from ringfs.base.kv.memory import MemoryView


def test_get_put_delete() -> None:
    """What was put is got; what was deleted, or never there, is None; deleting what is absent is no error."""
    view = MemoryView()
    view.put(b"a", b"1")
    view.put(b"a", b"2")
    assert view.get(b"a") == b"2"
    view.delete(b"a")
    view.delete(b"a")
    assert view.get(b"a") is None


def test_scan_is_ordered_and_half_open() -> None:
    """start is in the range, stop is not, and keys come in order of bytes whatever the order of puts."""
    view = MemoryView({b"b": b"2", b"\xff": b"4", b"a": b"1", b"ab": b"3"})
    assert list(view.scan(b"a", b"b")) == [(b"a", b"1"), (b"ab", b"3")]
    assert [key for key, _ in view.scan(b"", b"\xff\xff")] == [b"a", b"ab", b"b", b"\xff"]
    assert list(view.scan(b"c", b"d")) == []


def test_copy_is_independent() -> None:
    """A copy starts equal, and neither sees the other's changes."""
    view = MemoryView({b"a": b"1"})
    other = view.copy()
    other.put(b"b", b"2")
    view.delete(b"a")
    assert view.pairs() == {}
    assert other.pairs() == {b"a": b"1", b"b": b"2"}
