"""From a snapshot in the ring to a store on this machine's disk, for a server whose state is missing, or older than the journal.

The store is filled beside its place, and moved there once everything is verified and durable. A crash at any point leaves the old
store, or none, or the new one: each is a place to begin from.
"""

import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import structlog
import trio

from ringfs.base.errors import Refused, UserError
from ringfs.base.files import RealFiles
from ringfs.base.kv.store import Store
from ringfs.base.limits import MIB
from ringfs.meta import marks
from ringfs.meta.etcd.interface import Etcd
from ringfs.meta.marks import Marks
from ringfs.meta.namespace import facts
from ringfs.meta.object_store import ObjectStore
from ringfs.meta.snapshot_pointer import SnapshotPointer, StoredObject, look_at_pointer
from ringfs.meta.snapshot_stream import SnapshotDamaged, StreamReader

log = structlog.get_logger("ringfs.meta.snapshot")

#: What is gathered in memory before it is written to the store.
_PENDING_BYTES_MAX = 16 * MIB
#: Pairs that are taken in before others have their turn.
_TURN_PAIRS = 256
#: An object that cannot be read is tried so often, with such pauses.
_READ_ROUNDS = 5
_READ_PAUSE_S = 1.0

#: shown(bytes read, bytes in all).
Shown = Callable[[int, int], None]


class SnapshotUnreadable(UserError):
    """Its objects cannot be read now; perhaps later."""


async def load_snapshot(
    etcd: Etcd, prefix: bytes, objects: ObjectStore, directory: Path, cluster: str, shown: Shown | None = None
) -> Marks | None:
    """Put the state of the latest snapshot in the place of the store in a directory, which nobody has open. None: there is no
    snapshot, and the store stays as it is.

    Raises SnapshotDamaged, SnapshotUnreadable, EtcdUnavailable, StoreFull, UserError; the store is as it was then.
    """
    found = await look_at_pointer(etcd, prefix)
    while found is not None:
        try:
            return await _load(found.read(), objects, directory, cluster, shown)
        except SnapshotUnreadable:
            newer = await look_at_pointer(etcd, prefix)
            if newer == found or newer is None:
                raise
            log.info("the snapshot was replaced while it was read; reading the newer one")
            found = newer
    return None


async def _load(pointer: SnapshotPointer, objects: ObjectStore, directory: Path, cluster: str, shown: Shown | None) -> Marks:
    if pointer.cluster != cluster:
        raise UserError(f"the snapshot in etcd is of cluster {pointer.cluster}, the configuration of {cluster}: use another prefix")
    log.info("loading a snapshot", position=pointer.marks.position, size_bytes=pointer.size_bytes, objects=len(pointer.objects))
    objects.follow(pointer.map)
    beside = directory.with_name(directory.name + ".loading")
    _remove(beside)
    store = Store(beside)
    try:
        await _fill(store, pointer, objects, shown or (lambda _done, _all: None))
        _check_state(store, pointer)
        await store.checkpoint(marks.write(pointer.marks))
    finally:
        store.close()
    _move(beside, directory)
    log.info("snapshot loaded", position=pointer.marks.position)
    return pointer.marks


async def _fill(store: Store, pointer: SnapshotPointer, objects: ObjectStore, shown: Shown) -> None:
    reader = StreamReader()
    done_bytes = 0
    for stored in pointer.objects:
        await _take_in(store, reader.feed(await _read(stored, objects)))
        if store.pending_bytes > _PENDING_BYTES_MAX:
            await store.checkpoint({})
        done_bytes += stored.size_bytes
        shown(done_bytes, pointer.size_bytes)
    reader.finish(pointer.size_bytes, pointer.digest)


async def _take_in(store: Store, pairs: Iterator[tuple[bytes, bytes]]) -> None:
    """Rows, some at a time."""
    while gathered := dict(islice(pairs, _TURN_PAIRS)):
        store.apply(gathered)
        await trio.lowlevel.checkpoint()


async def _read(stored: StoredObject, objects: ObjectStore) -> memoryview:
    for attempt in range(_READ_ROUNDS):
        try:
            return await objects.get(stored.oid, stored.size_bytes)
        except Refused as refused:
            failure = refused
            log.warning("a part of the snapshot cannot be read", object=stored.oid.hex(), reason=str(refused), attempt=attempt + 1)
            await trio.sleep(_READ_PAUSE_S)
    raise SnapshotUnreadable(f"the snapshot cannot be read: {failure}; are the data nodes up?")


def _check_state(store: Store, pointer: SnapshotPointer) -> None:
    """It is a namespace of the cluster that the pointer says. Raises SnapshotDamaged, UserError."""
    facts.check_format(store)
    found = facts.cluster_id(store)
    if found != pointer.cluster:
        raise SnapshotDamaged(f"it is of cluster {found}, its pointer of {pointer.cluster}")


def _move(beside: Path, directory: Path) -> None:
    """Durably, in the place of what was there. Brief, and this server has nothing better to do: not in a thread."""
    files = RealFiles()
    files.make_directory(directory)
    lock = files.lock(directory)
    try:
        _remove(directory)
        files.rename(beside, directory)
        files.sync_directory(directory.parent)
    finally:
        lock.release()


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
