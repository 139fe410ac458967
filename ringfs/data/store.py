"""The object store of one disk: put, get, verify, delete, drop parts of objects. Puts are durable when they return; gets verified.

Here is what an operation means. Where bytes go is segment_log.py's, what is known is index.py's, what becomes durable when besides
records is checkpointer.py's business. All methods belong to the event loop's thread; disk I/O is in bounded sets of threads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused, kept
from ringfs.base.kv.store import Store
from ringfs.base.limits import GET_THREADS, HASH_BYTES, PUT_THREADS
from ringfs.base.threads import Threads
from ringfs.data.checkpointer import Checkpointer
from ringfs.data.disk import Disk, Segment
from ringfs.data.health import Health
from ringfs.data.identity import Identity
from ringfs.data.index import Entry, Index, place_of
from ringfs.data.records import (
    Findings,
    Place,
    WrongBytes,
    check_content,
    read_blocks,
    read_blocks_now,
    verify_record,
    write_record,
)
from ringfs.data.segment_format import HEAD_BYTES, KIND_PART, KIND_RENEWAL, Head
from ringfs.data.segment_log import SegmentLog
from ringfs.data.segments import SegmentTable
from ringfs.data.stored_part import Span, StoredPart, Tables, own_span, span_of
from ringfs.data.tables import TableCache
from ringfs.ring.parts import COPY, Part

#: Rows that are removed without a pause of the event loop.
_DROPS_AT_ONCE = 128
#: How often it is looked how much of the index is mapped. Meanwhile reads map a few tens of MiB at most.
_LOOK_S = 0.25
#: Is told how a put ended: well (None), or what is refused.
OnPut = Callable[[Refused | None], None]


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """used_bytes: records of parts held; free_bytes: what more can be stored, after reserve and configured capacity;
    disk_free_bytes: the same without a configured capacity; size_bytes: what the disk can hold, whatever is on it. All
    three are 0 if the disk failed."""

    used_bytes: int
    free_bytes: int
    disk_free_bytes: int
    part_count: int
    segment_count: int
    size_bytes: int


class Got(NamedTuple):
    """What a get found: which part it is of, its proven tables, the verified bytes."""

    stored: StoredPart
    tables: Tables
    content: memoryview


class ObjectStore:
    """Made by recovery.open_store. run() must be running while puts and deletes are asked for."""

    def __init__(
        self,
        identity: Identity,
        disk: Disk,
        segments: SegmentTable,
        index: Index,
        log: SegmentLog,
        checkpointer: Checkpointer,
        health: Health,
        clock: Clock,
        kv: Store,
    ) -> None:
        self.identity = identity
        self.health = health
        self.disk = disk
        self._segments = segments
        self._index = index
        self._log = log
        self._checkpointer = checkpointer
        self._clock = clock
        self._kv = kv
        self._tables = TableCache()
        self._put_threads = Threads(PUT_THREADS)
        self._get_threads = Threads(GET_THREADS)
        self._mistakes: list[Exception] = []
        self._mistaken = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Checkpoint, free space and bound memory, until cancelled. Raises IndexDamaged, and what put_soon() could not."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._checkpointer.run)
            nursery.start_soon(self._bound_memory)
            nursery.start_soon(self._raise_mistake)
            task_status.started()

    async def _bound_memory(self) -> None:
        """For ever: what was read of the index does not pile up in this process's memory."""
        while True:
            self._kv.bound_memory()
            await trio.sleep(_LOOK_S)

    async def _raise_mistake(self) -> None:
        """What puts met that have no task of their own."""
        await self._mistaken.wait()
        raise self._mistakes[0]

    async def close(self) -> None:
        """Checkpoint (unless the disk failed) and close; after run() has ended and with no call under way but puts that were begun
        by put_soon()."""
        await self._put_threads.wait_idle()
        if self._mistakes:
            # The segments have all of it; the index should not be made durable.
            self.health.fail(f"a put: {self._mistakes[0]!r}")
        await self._checkpointer.close()
        self._segments.close()
        self.disk.close()

    # --- questions answered from memory ------------------------------------------------------------------------------

    def holds(self, oid: bytes, part: Part = COPY) -> bool:
        """Whether the part is held."""
        return self._index.get(oid + part.pack()) is not None

    def parts(self, oid: bytes) -> list[tuple[bytes, Entry]]:
        """Keys (id and part) and entries of all parts of an object that are held."""
        return self._index.parts(oid)

    def page(self, after: bytes, limit: int) -> tuple[list[tuple[bytes, Entry]], bool]:
        """Keys and entries of up to `limit` parts after a key or an id, ascending, and whether there are more."""
        return self._index.page(after, limit)

    def figures(self) -> StoreFigures:
        """Asks the file system for its free space, which takes microseconds."""
        try:
            self._log.look_for_space()
            space = (*self._log.free_bytes(), self._log.size_bytes()) if self.health.failure is None else (0, 0, 0)
        except OSError as error:
            self.health.fail(f"statvfs: {error.strerror or error}")
            space = 0, 0, 0
        free_bytes, disk_free_bytes, size_bytes = space
        index = self._index
        return StoreFigures(index.live_bytes, free_bytes, disk_free_bytes, index.part_count, len(index.segments), size_bytes)

    # --- operations --------------------------------------------------------------------------------------------------

    async def put(self, stored: StoredPart, tables: Tables, content: memoryview) -> bool:
        """Hold the part durably; False if it was held (its birth is renewed then). Refused CORRUPT, DISK_FULL, DISK_FAILED.

        content must not change until this returns.
        """
        self.health.check_writable()
        self._checkpointer.check_room()
        while (entry := self._index.get(stored.key)) is not None and await self._is_intact(stored, entry, tables):
            if await self._renew(stored, entry):
                return False
        await self._append_part(stored, tables, content)
        return True

    def put_soon(self, stored: StoredPart, tables: Tables, content: memoryview, on_put: OnPut) -> bool:
        """What put() does, begun in a plain call, if it need not wait for anything first; on_put is told None, the part being held
        now and not before, or what put() refuses. False says to ask put(). Refused as there."""
        self.health.check_writable()
        self._checkpointer.check_room()
        if self._index.get(stored.key) is not None:
            return False
        head, write = self._record(stored, tables, content)
        return self._log.append_soon(head.record_bytes, write, self._put_threads, partial(self._put_ended, head, on_put))

    def _put_ended(self, head: Head, on_put: OnPut, appended: int | Refused) -> None:
        try:
            if isinstance(appended, Refused):
                on_put(appended)
            else:
                self._appended(head, appended)
                on_put(None)
        except Exception as error:
            # There is no task here that it could end.
            self._mistakes.append(error)
            self._mistaken.set()

    async def get(self, oid: bytes, part: Part | None, first_block: int, block_count: int) -> Got:
        """Blocks of a part; with no part, blocks of the object, from a copy or a data fragment that has them all, else no bytes of
        another part. Refused NOT_HELD, INVALID, CORRUPT, DISK_FAILED.
        """
        while True:
            choice = self._choose(oid, part, first_block, block_count)
            if choice is None:
                raise Refused(Code.NOT_HELD, oid.hex())
            span, entry = choice
            try:
                return await self._read_blocks(span, entry)
            except WrongBytes as error:
                kept(error)
                if self._is_at(span.stored, entry):
                    raise self.health.corrupt(span.stored, str(error)) from None
                # It was deleted or put anew meanwhile, and its place punched.
            except OSError as error:
                raise self.health.read_failed(span.stored, error) from kept(error)

    def get_now(self, oid: bytes, part: Part | None, first_block: int, block_count: int) -> Got | None:
        """What get() would return, if that takes no waiting; None says to ask get()."""
        try:
            choice = self._choose(oid, part, first_block, block_count)
            if choice is None:
                return None
            (stored, first_block, block_count), entry = choice
            number, offset = place_of(entry.position)
            place = Place(self._segments.opened(number), offset, self.identity.record_key, stored)
            read = read_blocks_now(place, self._tables.get(stored.key), first_block, block_count)
        except (Refused, OSError):
            # get() meets it again, counts it and says it.
            return None
        if read is None:
            return None
        self._tables.remember(stored.key, read[0])
        return Got(stored, *read)

    async def verify(self, oid: bytes, part: Part = COPY) -> Findings:
        """Read and check a whole record. Refused NOT_HELD, DISK_FAILED."""
        while True:
            entry = self._index.get(oid + part.pack())
            if entry is None:
                raise Refused(Code.NOT_HELD, f"{oid.hex()} {part}")
            stored = StoredPart(oid, entry.size_bytes, part)
            try:
                findings = await self._findings(stored, entry)
            except OSError as error:
                raise self.health.read_failed(stored, error) from kept(error)
            if self._is_at(stored, entry):
                if not findings.is_intact:
                    header = "ok" if findings.header_ok else "bad"
                    self.health.corrupt(stored, f"header {header}, bad blocks {findings.bad_blocks}")
                return findings

    async def delete(self, verdicts: list[tuple[bytes, int]]) -> list[bool]:
        """Delete those parts of objects whose births are not newer than the verdicts (ns); of which objects there were any.
        Durable, and the space is free. Refused DISK_FAILED.
        """
        self.health.check_writable()
        deleted = []
        for oid, verdict_ns in verdicts:
            dead = [key for key, entry in self._index.parts(oid) if entry.birth_ns <= verdict_ns]
            for key in dead:
                self._index.remove(key)
            deleted.append(bool(dead))
        if any(deleted):
            await self._checkpointer.wait_durable()
        return deleted

    async def drop(self, surplus: list[tuple[bytes, int]]) -> int:
        """Drop parts, by key, unless their births are newer; how many of them are not held now. Durable, and the space is free.
        Refused DISK_FAILED.
        """
        self.health.check_writable()
        gone_count, dropped_count = 0, 0
        for key, birth_ns in dict(surplus).items():
            entry = self._index.get(key)
            if entry is None:
                gone_count += 1
            elif entry.birth_ns <= birth_ns:
                self._index.remove(key)
                dropped_count += 1
                if dropped_count % _DROPS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
        if dropped_count:
            await self._checkpointer.wait_durable()
        return gone_count + dropped_count

    # --- parts of operations -----------------------------------------------------------------------------------------

    def _choose(self, oid: bytes, part: Part | None, first_block: int, block_count: int) -> tuple[Span, Entry] | None:
        """From what to answer a get: the part that is asked for, or the one that fits best. None: not held. Refused INVALID."""
        wanted = part or COPY
        entry = self._index.get(oid + wanted.pack())
        if entry is not None:
            return own_span(StoredPart(oid, entry.size_bytes, wanted), first_block, block_count), entry
        if part is not None:
            return None
        held = {StoredPart(oid, entry.size_bytes, Part(*key[HASH_BYTES:])): entry for key, entry in self._index.parts(oid)}
        if not held:
            return None
        span = span_of(list(held), first_block, block_count)
        return span, held[span.stored]

    def _is_at(self, stored: StoredPart, entry: Entry) -> bool:
        now = self._index.get(stored.key)
        return now is not None and now.position == entry.position

    async def _append_part(self, stored: StoredPart, tables: Tables, content: memoryview) -> None:
        head, write = self._record(stored, tables, content)
        self._appended(head, await self._log.append(head.record_bytes, write, self._put_threads))

    def _record(self, stored: StoredPart, tables: Tables, content: memoryview) -> tuple[Head, Callable[[Segment, int], None]]:
        """The head of the record of a part, and what checks and writes it in a thread."""
        head = Head(KIND_PART, stored, self._index.next_birth(self._clock.wall_ns()), tables)

        def write(segment: Segment, offset: int) -> None:
            check_content(stored, tables, content)
            write_record(segment, offset, self.identity.record_key, head, content)

        return head, write

    def _appended(self, head: Head, position: int) -> None:
        """A part's record is durable: the part is held."""
        stored, tables = head.stored, head.tables
        self._index.add(stored.key, position, stored.size_bytes, head.birth_ns)
        self._log.settled(position)
        self.health.mended(stored)
        self._tables.forget(stored.key)
        self._tables.remember(stored.key, tables)
        self._checkpointer.changed()

    async def _renew(self, stored: StoredPart, entry: Entry) -> bool:
        """Give a held part a new birth, durably. False if it is not held there any more."""
        birth_ns = self._index.next_birth(self._clock.wall_ns())
        head = Head(KIND_RENEWAL, stored, birth_ns, Tables(b""))

        def write(segment: Segment, offset: int) -> None:
            write_record(segment, offset, self.identity.record_key, head, memoryview(b""))

        position = await self._log.append(HEAD_BYTES, write, self._put_threads)
        now = self._index.get(stored.key)
        is_held = now is not None and now.position == entry.position
        if now is not None and is_held and now.birth_ns < birth_ns:
            self._index.renew(stored.key, position, birth_ns)
        else:
            self._index.waste(position, HEAD_BYTES)
        self._log.settled(position)
        self._checkpointer.changed()
        return is_held

    async def _is_intact(self, stored: StoredPart, entry: Entry, tables: Tables) -> bool:
        """Whether the part that is held could be given out: only such a one may stand for a new put of the same bytes."""
        try:
            findings = await self._findings(stored, entry)
        except OSError as error:
            self.health.read_failed(stored, kept(error))
            return False
        if findings.is_intact and findings.tables == tables:
            return True
        if not findings.is_intact and self._is_at(stored, entry):
            self.health.corrupt(stored, "replaced by a new put")
        return False

    async def _findings(self, stored: StoredPart, entry: Entry) -> Findings:
        with self._pinned(stored, entry) as place:
            return await self._get_threads.run(verify_record, place)

    async def _read_blocks(self, span: Span, entry: Entry) -> Got:
        stored, first_block, block_count = span
        with self._pinned(stored, entry) as place:
            known = self._tables.get(stored.key)
            tables, content = await self._get_threads.run(read_blocks, place, known, first_block, block_count)
        self._tables.remember(stored.key, tables)
        return Got(stored, tables, content)

    @contextmanager
    def _pinned(self, stored: StoredPart, entry: Entry) -> Iterator[Place]:
        number, offset = place_of(entry.position)
        with self._segments.pinned(number) as segment:
            yield Place(segment, offset, self.identity.record_key, stored)
