"""Pages of LMDB's file that were read leave the process's memory when it has too much, and nothing else changes."""

from pathlib import Path

from ringfs.base.kv.store import Store
from ringfs.base.limits import MIB
from ringfs.base.memory import mapped_bytes
from tests.support.residency import resident_bytes


async def test_what_was_read_is_let_go(tmp_path: Path) -> None:
    """Only beyond the bound; reads and checkpoints go on, also by a snapshot that was there before."""
    store = Store(tmp_path / "store")
    rows = {b"%06d" % number: bytes([number % 256]) * 1000 for number in range(4000)}
    store.apply(rows)
    await store.checkpoint({})
    snapshot = store.snapshot()
    file = tmp_path / "store" / "data.mdb"
    assert dict(store.scan(b"", b"\xff")) == rows
    before = resident_bytes(file)
    assert 4 * MIB < before < mapped_bytes()
    store.bound_memory(1 << 40)
    assert resident_bytes(file) == before
    store.bound_memory(1)
    assert resident_bytes(file) == 0
    assert mapped_bytes() > 0, "libraries stay"
    store.put(b"000000", b"new")
    await store.checkpoint({})
    store.bound_memory(1)
    assert dict(store.scan(b"", b"\xff")) == rows | {b"000000": b"new"}
    assert dict(snapshot.scan(b"", b"\xff")) == rows
    snapshot.close()
    store.close()
