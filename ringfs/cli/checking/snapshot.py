"""The namespace at one journal position, copied page by page into a store on this machine's disk, so that memory stays small."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ringfs.base.kv.store import Store
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import HASH_BYTES, MIB, PAGE_ENTRIES_MAX
from ringfs.cli.output import Progress
from ringfs.cli.reach import ANSWER_TIMEOUT_S
from ringfs.meta.namespace import keys
from ringfs.wire.messages.cluster import CloseSnapshot, OpenSnapshot, ReadSnapshot, SnapshotOpened, SnapshotPage
from ringfs.wire.packing import unpack
from ringfs.wire.rpc import RpcClient

#: What the copy holds in memory before it writes it to its store.
_PENDING_BYTES_MAX = 16 * MIB


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """A live object as the namespace knows it."""

    oid: bytes
    size_bytes: int
    live_bytes: int
    stored_class: str
    form: str


@asynccontextmanager
async def open_snapshot(leader: RpcClient) -> AsyncIterator[SnapshotOpened]:
    """A snapshot that is closed at the end of the block."""
    opened: SnapshotOpened = (await leader.call(OpenSnapshot(), timeout_s=ANSWER_TIMEOUT_S)).message
    yield opened
    await leader.call(CloseSnapshot(opened.snapshot), timeout_s=ANSWER_TIMEOUT_S)


async def copy_snapshot(leader: RpcClient, store: Store, shown: Progress) -> int:
    """Copy a new snapshot into an empty store; the journal position that it shows."""
    count = 0
    async with open_snapshot(leader) as opened:
        after, more = b"", True
        while more:
            page = await read_page(leader, opened.snapshot, after)
            store.apply({pair.key: pair.value for pair in page.pairs})
            count += len(page.pairs)
            shown.step("copying the namespace: rows", count)
            if store.pending_bytes > _PENDING_BYTES_MAX:
                await store.checkpoint({})
            more = page.more
            after = page.pairs[-1].key if page.pairs else after
    await store.checkpoint({})
    return opened.position


async def read_page(leader: RpcClient, snapshot: int, after: bytes, limit: int = PAGE_ENTRIES_MAX) -> SnapshotPage:
    """The pairs after a key."""
    page: SnapshotPage = (await leader.call(ReadSnapshot(snapshot, after, limit), timeout_s=ANSWER_TIMEOUT_S)).message
    return page


async def read_object(leader: RpcClient, snapshot: int, oid: bytes) -> ObjectEntry | None:
    """One live object of a snapshot, or None if it is not live there."""
    page = await read_page(leader, snapshot, _key_before(oid), limit=1)
    if page.pairs and page.pairs[0].key == keys.object_row(oid):
        return _entry(page.pairs[0].key, page.pairs[0].value)
    return None


def objects_in(view: ReadView) -> Iterator[ObjectEntry]:
    """All live objects in order of their id."""
    end = keys.OBJECT + b"\xff" * (HASH_BYTES + 1)
    for key, value in view.scan(keys.OBJECT, end):
        yield _entry(key, value)


def _entry(key: bytes, value: bytes) -> ObjectEntry:
    size_bytes, live_bytes, stored_class, form = unpack(value)
    return ObjectEntry(key[len(keys.OBJECT) :], size_bytes, live_bytes, stored_class, form)


def _key_before(oid: bytes) -> bytes:
    """The key that, all ids being of one length, only the row of oid can follow next."""
    number = int.from_bytes(oid, "big")
    return keys.object_row((number - 1).to_bytes(HASH_BYTES, "big")) if number else keys.OBJECT
