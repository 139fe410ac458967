"""Where the latest snapshot of the state is: one key of etcd. docs/formats/snapshot.md is normative.

The pointer is only ever replaced by a leader that still leads, and that has seen the one before: an answer of etcd that got lost,
or a request that arrives late, cannot bring an old one back.
"""

from dataclasses import dataclass
from typing import Any

import structlog
import trio

from ringfs.base.checksums import plain_digest
from ringfs.base.errors import PeerBrokeProtocol
from ringfs.meta.etcd.interface import Absent, AtVersion, CreatedAt, Etcd, EtcdFull, EtcdUnavailable, Get, KeyValue, Put
from ringfs.meta.marks import Marks
from ringfs.meta.snapshot_stream import SnapshotDamaged
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.packing import pack, unpack
from ringfs.wire.schema import decode, encode

VERSION = 1
_CODE_BYTES = 16
#: Between two tries to write it.
_RETRY_S = 1.0

log = structlog.get_logger("ringfs.meta.snapshot")


class Superseded(Exception):
    """Another leader has taken over: the pointer was not written, and will not be."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A part of the stream."""

    oid: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotPointer:
    """A snapshot, and how to read it. inode: the file of the namespace that keeps its objects (namespace/ops/append_snapshot.py).

    map: of the time when it was written, or of a later one.
    """

    cluster: str
    marks: Marks
    inode: int
    size_bytes: int
    digest: bytes
    stored_class: str
    objects: tuple[StoredObject, ...]
    map: ClusterMap

    def pack(self) -> bytes:
        """The value."""
        marks = (self.marks.position, self.marks.term, self.marks.now_ns)
        objects = [(each.oid, each.size_bytes) for each in self.objects]
        described = (self.inode, self.size_bytes, self.digest, self.stored_class, objects, encode(self.map))
        body = pack((VERSION, self.cluster, marks, *described))
        return plain_digest(body, _CODE_BYTES) + body


def unpack_pointer(value: bytes) -> SnapshotPointer:
    """What a value says. Raises SnapshotDamaged."""
    code, body = value[:_CODE_BYTES], value[_CODE_BYTES:]
    if plain_digest(body, _CODE_BYTES) != code:
        raise SnapshotDamaged("its pointer in etcd does not match its code")
    try:
        version, *fields = unpack(body)
        if version != VERSION:
            raise SnapshotDamaged(f"its pointer in etcd is of version {version}, this ringfs knows {VERSION}")
        return _pointer_of(*fields)
    except (PeerBrokeProtocol, TypeError, ValueError) as error:
        raise SnapshotDamaged(f"its pointer in etcd is malformed: {error}") from error


def _pointer_of(
    cluster: str, marks: Any, inode: int, size_bytes: int, digest: bytes, cls: str, objects: Any, map: bytes
) -> SnapshotPointer:
    stored = tuple(StoredObject(*each) for each in objects)
    return SnapshotPointer(cluster, Marks(*marks), inode, size_bytes, digest, cls, stored, decode(map))


@dataclass(frozen=True, slots=True)
class SeenPointer:
    """The pointer as etcd had it at a time."""

    value: bytes
    created: int
    version: int

    def read(self) -> SnapshotPointer:
        """What it says. Raises SnapshotDamaged."""
        return unpack_pointer(self.value)


def pointer_key(prefix: bytes) -> bytes:
    """Where it is."""
    return prefix + b"snapshot"


async def look_at_pointer(etcd: Etcd, prefix: bytes) -> SeenPointer | None:
    """The latest one, None if there never was one. Raises EtcdUnavailable."""
    return next(map(_seen, (await etcd.transact([], [Get(pointer_key(prefix))])).found[0]), None)


def _seen(pair: KeyValue) -> SeenPointer:
    return SeenPointer(pair.value, pair.create_revision, pair.version)


async def write_pointer(
    etcd: Etcd, prefix: bytes, pointer: SnapshotPointer, holds: CreatedAt, before: SeenPointer | None
) -> SeenPointer:
    """Replace the one before, while the leader's key is as `holds` says. Tries until it is known whether it was written.

    Raises Superseded, EtcdFull: then it was not, and never will be by this call.
    """
    key, value = pointer_key(prefix), pointer.pack()
    unchanged = [Absent(key)] if before is None else [CreatedAt(key, before.created), AtVersion(key, before.version)]
    is_doubtful = False
    while True:
        try:
            done = await etcd.transact([holds, *unchanged], [Put(key, value), Get(key)], [Get(key)])
        except EtcdUnavailable as error:
            log.info("etcd did not say whether the snapshot's pointer was written", reason=str(error))
            is_doubtful = True
            await trio.sleep(_RETRY_S)
            continue
        except EtcdFull:
            if not is_doubtful:
                raise
            await trio.sleep(_RETRY_S)
            continue
        found = done.found[0]
        if [pair.value for pair in found] != [value]:
            raise Superseded(f"the snapshot at {pointer.marks.position} comes from a leader that leads no more")
        return _seen(found[0])
