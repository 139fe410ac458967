"""A store whose file was cut short is refused, or made whole again if nothing that counts was cut off; nobody dies of it."""

from pathlib import Path

import pytest

from ringfs.base.kv.store import Store, StoreDamaged
from ringfs.base.kv.whole import ensure_whole


async def _written(directory: Path, *, deleted: bool) -> Path:
    """The file of a store with a few hundred pages, those at its end free if deleted: later commits took the first ones."""
    store = Store(directory)
    for number in range(300):
        store.put(b"%04d" % number, bytes([number % 256]) * 5000)
    await store.checkpoint({b"mark": b"1"})
    for round_number in range(9 if deleted else 0):
        for number in range(300):
            store.delete(b"%04d" % number)
        store.put(b"left", b"%d" % round_number)
        await store.checkpoint({})
    store.close()
    return directory / "data.mdb"


async def test_a_file_that_lost_pages_in_use_is_refused(tmp_path: Path) -> None:
    """The reason names the file."""
    directory = tmp_path / "store"
    file = await _written(directory, deleted=False)
    ensure_whole(directory)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2 // 4096 * 4096)
    with pytest.raises(StoreDamaged, match=r"data\.mdb was cut short"):
        ensure_whole(directory)


async def test_a_file_that_lost_free_pages_is_as_good_as_before(tmp_path: Path) -> None:
    """What is in it is read, and it can be written: free pages are there again."""
    directory = tmp_path / "store"
    file = await _written(directory, deleted=True)
    size_bytes = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(size_bytes - 4 * 4096)
    ensure_whole(directory)
    assert file.stat().st_size == size_bytes
    store = Store(directory)
    assert store.get(b"left") == b"8"
    for number in range(300):
        store.put(b"%04d" % number, bytes(5000))
    await store.checkpoint({})
    assert store.get(b"0299") == bytes(5000)
    store.close()


def test_no_store_yet(tmp_path: Path) -> None:
    """A first start finds nothing to complain of."""
    ensure_whole(tmp_path / "store")
