"""Object stores for tests: objects to put, a store that is opened on a directory and runs, segments that fail on command."""

import errno
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from ringfs.base.checksums import Buffer, block_table, object_id
from ringfs.base.errors import Refused
from ringfs.base.files import RealFiles
from ringfs.base.limits import HASH_BYTES, KIB, MIB
from ringfs.data.disk import Disk, Segment
from ringfs.data.identity import check_disk, make_identity
from ringfs.data.index import Index, SegmentUse, place_of
from ringfs.data.recovery import open_store
from ringfs.data.segment_format import HEAD_BYTES, record_bytes
from ringfs.data.segment_log import SegmentSizes
from ringfs.data.store import ObjectStore
from ringfs.data.stored_part import StoredPart, Tables, length_of
from ringfs.ring.parts import COPY, Part, part_bytes, range_of, unpack_part

CLUSTER = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True, slots=True)
class Made:
    """A part of an object to put, with the part's bytes; size_bytes is the whole object's."""

    oid: bytes
    table: bytes
    content: bytes
    size_bytes: int
    part: Part = COPY
    own_table: bytes = b""

    @property
    def stored(self) -> StoredPart:
        """What a store calls it."""
        return StoredPart(self.oid, self.size_bytes, self.part)

    @property
    def tables(self) -> Tables:
        """What proves it."""
        return Tables(self.table, self.own_table)


def made(seed: int, size_bytes: int = 3 * 64 * KIB + 17) -> Made:
    """The object of that seed and size, always the same."""
    content = random.Random(seed).randbytes(size_bytes)
    table = block_table(content)
    return Made(object_id(size_bytes, table), table, content, size_bytes)


def fragment_of(thing: Made, data: int, parity: int, number: int) -> Made:
    """A fragment of a whole object. Parity is any bytes here: what is in it is the encoder's business."""
    part = Part(data, parity, number)
    if part.is_parity:
        content = random.Random(f"{thing.oid.hex()} {part}").randbytes(part_bytes(part, thing.size_bytes))
        return replace(thing, part=part, content=content, own_table=block_table(content))
    start, stop = range_of(part, thing.size_bytes)
    return replace(thing, part=part, content=thing.content[start:stop])


def any_part(whole: Made) -> Made:
    """The object itself or a fragment of it, always the same for the same object."""
    chance = random.Random(whole.oid)
    data, parity = chance.choice([(0, 0), (0, 0), (2, 1), (4, 2), (8, 3)])
    return fragment_of(whole, data, parity, chance.randrange(data + parity)) if data else whole


def unpacked(key: bytes) -> tuple[bytes, Part]:
    """Id and part of a key in the index."""
    part = unpack_part(key[HASH_BYTES:])
    assert part is not None
    return key[:HASH_BYTES], part


class TickingClock:
    """A wall clock that a test sets; it ticks with each look."""

    def __init__(self, now_ns: int = 1_000_000) -> None:
        self.now_ns = now_ns

    def wall_ns(self) -> int:
        """See Clock."""
        self.now_ns += 1
        return self.now_ns

    def monotonic_ns(self) -> int:
        """See Clock."""
        return int(trio.current_time() * 1e9)


class Faults:
    """What the segments of a FaultyDisk do wrong; shared by all of them, none at first."""

    def __init__(self) -> None:
        self.on_write: int | None = None
        self.on_read: int | None = None
        self.on_sync: int | None = None
        self.on_create: int | None = None
        #: What the file system says it has free; None: the truth.
        self.free_bytes: int | None = None
        self.sync_count = 0
        #: Called in the thread before each sync.
        self.before_sync: Callable[[], None] | None = None
        #: Called in the thread before and after each hole is punched.
        self.around_punch: Callable[[], None] | None = None


def faulty_disk(faults: Faults) -> type[Disk]:
    """A Disk whose segments do what faults says."""

    class FaultySegment(Segment):
        def write(self, parts: Sequence[Buffer], offset: int) -> None:
            if faults.on_write is not None:
                # A failed write leaves a part of it behind.
                super().write([parts[0]], offset)
                raise OSError(faults.on_write, os.strerror(faults.on_write))
            super().write(parts, offset)

        def read(self, buffer: memoryview, offset: int, *, direct: bool) -> int:
            if faults.on_read is not None:
                raise OSError(faults.on_read, os.strerror(faults.on_read))
            return super().read(buffer, offset, direct=direct)

        def punch(self, offset: int, length_bytes: int) -> None:
            if faults.around_punch is not None:
                faults.around_punch()
            super().punch(offset, length_bytes)
            if faults.around_punch is not None:
                faults.around_punch()

        def sync(self) -> None:
            faults.sync_count += 1
            if faults.before_sync is not None:
                faults.before_sync()
            if faults.on_sync is not None:
                raise OSError(faults.on_sync, os.strerror(faults.on_sync))
            super().sync()

    class FaultyDisk(Disk):
        segment_type = FaultySegment

        def create(self, number: int, capacity_bytes: int, header: bytes) -> Segment:
            if faults.on_create is not None:
                raise OSError(faults.on_create, os.strerror(faults.on_create))
            return super().create(number, capacity_bytes, header)

        def free_bytes(self) -> int:
            return super().free_bytes() if faults.free_bytes is None else faults.free_bytes

    return FaultyDisk


def tickets_given(store: ObjectStore) -> int:
    """How many writes to the first segment wait for a sync or had one, and how many syncs there were, together."""
    return next(copy(store._segments.opened(1)._tickets))


SMALL = SegmentSizes(segment_bytes=4 * MIB, segment_bytes_min=MIB, reserve_bytes=0)
EIO = errno.EIO
ENOSPC = errno.ENOSPC


async def opened(
    directory: Path, sizes: SegmentSizes = SMALL, clock: TickingClock | None = None, faults: Faults | None = None
) -> ObjectStore:
    """The store on a directory, which becomes a disk if it is empty. Not running, nothing locked."""
    identity = check_disk(RealFiles(), directory, CLUSTER) or make_identity(RealFiles(), directory, CLUSTER)
    return await open_store(directory, identity, clock or TickingClock(), sizes, faulty_disk(faults) if faults else Disk)


@asynccontextmanager
async def running(
    directory: Path, sizes: SegmentSizes = SMALL, clock: TickingClock | None = None, faults: Faults | None = None
) -> AsyncIterator[ObjectStore]:
    """The same store running; closed with a checkpoint at the end."""
    store = await opened(directory, sizes, clock, faults)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            yield store
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await store.close()


async def put(store: ObjectStore, thing: Made) -> bool:
    """Put it as a server does, in a plain call if that can be; whether it was fresh."""
    content, ended = memoryview(bytearray(thing.content)), trio.Event()
    refusals: list[Refused] = []

    def on_put(refused: Refused | None) -> None:
        refusals.extend([refused] if refused else [])
        ended.set()

    if not store.put_soon(thing.stored, thing.tables, content, on_put):
        return await store.put(thing.stored, thing.tables, content)
    await ended.wait()
    if refusals:
        raise refusals[0]
    return True


async def content_of(store: ObjectStore, thing: Made) -> bytes:
    """All of it, as the store gives it."""
    got = await store.get(thing.oid, thing.part, 0, 128)
    assert (got.stored, got.tables) == (thing.stored, thing.tables)
    return bytes(got.content)


def adds_up(index: Index) -> bool:
    """Whether the segments' figures are what the parts' rows add up to."""
    counted = {number: SegmentUse() for number in index.segments}
    for key, entry in index.entries():
        use = counted[place_of(entry.position)[0]]
        use.part_count += 1
        use.live_bytes += record_bytes(length_of(key, entry.size_bytes))
        if entry.renewal:
            counted[place_of(entry.renewal)[0]].live_bytes += HEAD_BYTES
    return counted == index.segments
