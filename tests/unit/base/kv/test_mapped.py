"""Pages of LMDB's file that were read leave the process's memory when it has too much, and nothing else changes."""

from pathlib import Path

from ringfs.base.kv.store import Store
from ringfs.base.limits import MIB
from ringfs.base.memory import mapped_bytes
from tests.support.residency import resident_bytes


async def test_what_was_read_is_let_go(tmp_path: Path) -> None:
    """Only beyond the bound; reads and checkpoints go on, also by a snapshot that was there before."""
    store = Store(tmp_path / "store", mapped_bytes_max=mapped_bytes() + 2 * MIB)
    rows = {b"%06d" % number: bytes([number % 256]) * 1000 for number in range(4000)}
    store.apply(rows)
    await store.checkpoint({})
    snapshot = store.snapshot()
    file = tmp_path / "store" / "data.mdb"
    assert store.get(b"000000") == rows[b"000000"]
    store.bound_memory()
    assert resident_bytes(file) > 0
    assert dict(store.scan(b"", b"\xff")) == rows
    assert resident_bytes(file) > 4 * MIB
    store.bound_memory()
    assert resident_bytes(file) == 0
    assert mapped_bytes() > 0, "libraries stay"
    assert dict(snapshot.scan(b"", b"\xff")) == rows
    snapshot.close()
    store.close()


async def test_a_checkpoint_maps_no_more_than_that(tmp_path: Path) -> None:
    """Rows here and there have all of the file mapped, were it not let go meanwhile."""
    rows = {b"%06d" % number: bytes(1000) for number in range(20_000)}
    resident = []
    for mapped_bytes_max in (None, mapped_bytes() + MIB):
        store = Store(tmp_path / "store", mapped_bytes_max=mapped_bytes_max)
        store.apply(rows)
        await store.checkpoint({})
        store.bound_memory()
        store.apply(dict(list(rows.items())[::7]))
        await store.checkpoint({})
        resident.append(resident_bytes(tmp_path / "store" / "data.mdb"))
        store.close()
    assert resident[1] < resident[0] // 2
