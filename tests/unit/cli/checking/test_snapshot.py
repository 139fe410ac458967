"""Copying a snapshot, and single rows of it, over the protocol as a server speaks it."""

import os
from pathlib import Path
from typing import Any

import pytest

from ringfs.base.kv.memory import MemoryView
from ringfs.base.kv.store import Store
from ringfs.cli.checking import snapshot
from ringfs.cli.checking.snapshot import ObjectEntry, copy_snapshot, objects_in, open_snapshot, read_object
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import pack_object
from ringfs.wire.messages.cluster import CloseSnapshot, OpenSnapshot, Pair, ReadSnapshot, SnapshotOpened, SnapshotPage
from ringfs.wire.messages.common import Done
from ringfs.wire.rpc import Answer


class Leader:
    """Serves one view as a snapshot, some pairs a page."""

    def __init__(self, view: MemoryView, page: int) -> None:
        self.view = view
        self.page = page
        self.is_open = False

    async def call(self, request: Any, *, timeout_s: float) -> Answer:
        """See RpcClient."""
        return Answer(self.answer(request), memoryview(b""))

    def answer(self, request: Any) -> Any:
        """The answer."""
        match request:
            case OpenSnapshot():
                self.is_open = True
                return SnapshotOpened(3, 77)
            case CloseSnapshot(3):
                self.is_open = False
                return Done()
            case ReadSnapshot(3, after, limit):
                assert self.is_open
                pairs = [Pair(key, value) for key, value in self.view.scan(after + b"\0", b"\xff")]
                some = pairs[: min(limit, self.page)]
                return SnapshotPage(some, len(pairs) > len(some))
        raise AssertionError(request)


class Steps:
    """Notes the progress."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def step(self, what: str, done: int = 0, total: int | None = None) -> None:
        """See Progress."""
        self.done.append(done)


def filled(count: int) -> MemoryView:
    """So many rows of any size."""
    view = MemoryView()
    for number in range(count):
        view.put(b"K" + number.to_bytes(4, "big"), os.urandom(number % 50))
    return view


@pytest.mark.parametrize(("count", "page"), [(0, 10), (1, 10), (10, 10), (11, 10), (95, 10)])
async def test_copy_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, page: int) -> None:
    """Every row arrives, whatever the pages and however often memory is emptied; the snapshot is closed."""
    monkeypatch.setattr(snapshot, "_PENDING_BYTES_MAX", 500)
    leader, shown, store = Leader(filled(count), page), Steps(), Store(tmp_path / "copy")
    try:
        assert await copy_snapshot(leader, store, shown) == 77  # type: ignore[arg-type]  # a fake
        assert dict(store.scan(b"", b"\xff")) == leader.view.pairs()
        assert store.pending_bytes == 0
    finally:
        store.close()
    assert not leader.is_open
    assert shown.done[-1] == count


OIDS = [bytes(20), bytes(19) + b"\x01", b"\x10" + bytes(19), b"\x10" + bytes(18) + b"\xff", b"\xff" * 20]


def objects() -> MemoryView:
    """Live objects with ids at the edges, and rows of other families around them."""
    view = MemoryView()
    for size, oid in enumerate(OIDS, 1):
        view.put(keys.object_row(oid), pack_object(size, size - 1, "replica:3", "replica:3"))
    view.put(keys.inode(1), b"before")
    view.put(keys.reference(OIDS[0], keys.u64_u32(1, 1)), b"behind")
    return view


@pytest.mark.parametrize("oid", OIDS, ids=bytes.hex)
async def test_one_object_is_found(oid: bytes) -> None:
    """By its id, also the first and the last possible one."""
    leader = Leader(objects(), 10)
    async with open_snapshot(leader) as opened:  # type: ignore[arg-type]  # a fake
        found = await read_object(leader, opened.snapshot, oid)  # type: ignore[arg-type]
    size = OIDS.index(oid) + 1
    assert found == ObjectEntry(oid, size, size - 1, "replica:3", "replica:3")


@pytest.mark.parametrize("oid", OIDS, ids=bytes.hex)
async def test_missing_object_is_none(oid: bytes) -> None:
    """Its neighbour is not taken for it."""
    view = objects()
    view.delete(keys.object_row(oid))
    leader = Leader(view, 10)
    async with open_snapshot(leader) as opened:  # type: ignore[arg-type]  # a fake
        assert await read_object(leader, opened.snapshot, oid) is None  # type: ignore[arg-type]


def test_objects_in_order() -> None:
    """All of them, and no row of another family."""
    assert [entry.oid for entry in objects_in(objects())] == OIDS
