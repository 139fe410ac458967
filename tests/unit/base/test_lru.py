"""The bounded cache never holds more than it may, and lets go of what was used longest ago."""

from ringfs.base.lru import BoundedCache


def test_least_recently_used_goes_first() -> None:
    """A get protects an entry; the size is exact; what is larger than the bound is not kept."""
    cache: BoundedCache[str, str] = BoundedCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c"), cache.size_bytes) == ("A", "C", 8)
    cache.put("a", "A2", 1)
    assert (cache.get("a"), cache.size_bytes, len(cache)) == ("A2", 5, 2)
    cache.put("huge", "H", 11)
    assert (len(cache), cache.size_bytes) == (0, 0)
    cache.drop("absent")
