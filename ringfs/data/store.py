"""The object store of one disk: put, get, delete, verify. Puts are durable when they return; gets are verified.

Here is what an operation means. Where bytes go is log.py's, what is known is index.py's, what becomes durable when besides
records is checkpointer.py's business. All methods belong to the event loop's thread; disk I/O is in bounded sets of threads.
"""

from dataclasses import dataclass
from functools import partial

import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, GET_THREADS, PUT_THREADS
from ringfs.data.checkpointer import Checkpointer
from ringfs.data.disk import Disk, Segment
from ringfs.data.health import Health
from ringfs.data.identity import Identity
from ringfs.data.index import Entry, Index, place_of
from ringfs.data.records import Findings, WrongBytes, check_content, read_blocks, read_blocks_now, verify_record, write_record
from ringfs.data.segment_format import HEAD_BYTES, KIND_OBJECT, KIND_RENEWAL, Head, record_bytes
from ringfs.data.segment_log import SegmentLog
from ringfs.data.segments import SegmentTable
from ringfs.data.tables import TableCache


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """used_bytes: records of objects held; free_bytes: what more can be stored, after reserve and configured capacity;
    disk_free_bytes: the same without a configured capacity."""

    used_bytes: int
    free_bytes: int
    disk_free_bytes: int
    object_count: int
    segment_count: int


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
    ) -> None:
        self.identity = identity
        self.health = health
        self.disk = disk
        self._segments = segments
        self._index = index
        self._log = log
        self._checkpointer = checkpointer
        self._clock = clock
        self._tables = TableCache()
        self._put_threads = trio.CapacityLimiter(PUT_THREADS)
        self._get_threads = trio.CapacityLimiter(GET_THREADS)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sync, checkpoint and free space, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._log.run_syncs)
            nursery.start_soon(self._checkpointer.run)
            task_status.started()

    async def close(self) -> None:
        """Checkpoint (unless the disk failed) and close; after run() has ended and with no call under way."""
        await self._checkpointer.close()
        self._segments.close()
        self.disk.close()

    # --- questions answered from memory ------------------------------------------------------------------------------

    def holds(self, oid: bytes) -> bool:
        """Whether the object is held."""
        return self._index.get(oid) is not None

    def page(self, after: bytes, limit: int) -> tuple[list[tuple[bytes, Entry]], bool]:
        """Up to `limit` objects after an id, ascending, and whether there are more."""
        return self._index.page(after, limit)

    def figures(self) -> StoreFigures:
        """Asks the file system for its free space, which takes microseconds."""
        try:
            self._log.look_for_space()
            free_bytes, disk_free_bytes = self._log.free_bytes() if self.health.failure is None else (0, 0)
        except OSError as error:
            self.health.fail(f"statvfs: {error.strerror or error}")
            free_bytes = disk_free_bytes = 0
        index = self._index
        return StoreFigures(index.live_bytes, free_bytes, disk_free_bytes, index.object_count, len(index.segments))

    # --- operations --------------------------------------------------------------------------------------------------

    async def put(self, oid: bytes, table: bytes, content: memoryview) -> bool:
        """Hold the object durably; False if it was held (its birth is renewed then). Refused CORRUPT, DISK_FULL, DISK_FAILED.

        content must not change until this returns.
        """
        self.health.check_writable()
        self._checkpointer.check_room()
        while (entry := self._index.get(oid)) is not None and await self._is_intact(oid, entry):
            if await self._renew(oid, entry):
                return False
        await self._append_object(oid, table, content)
        return True

    async def get(self, oid: bytes, first_block: int, block_count: int) -> tuple[int, bytes, memoryview]:
        """Size, table and verified bytes of block_count blocks from first_block on, clamped to the object's end.

        Refused NOT_HELD, INVALID, CORRUPT, DISK_FAILED.
        """
        while True:
            entry = self._entry(oid)
            if first_block * BLOCK_BYTES >= entry.size_bytes:
                raise Refused(Code.INVALID, f"{oid.hex()} has no block {first_block}")
            try:
                table, content = await self._read_blocks(oid, entry, first_block, block_count)
            except WrongBytes as error:
                if self._is_at(oid, entry):
                    raise self.health.corrupt(oid, str(error)) from None
                # It was deleted or put anew meanwhile, and its place punched.
                continue
            except OSError as error:
                raise self.health.read_failed(oid, error) from error
            self._tables.remember(oid, table)
            return entry.size_bytes, table, content

    def get_now(self, oid: bytes, first_block: int, block_count: int) -> tuple[int, bytes, memoryview] | None:
        """What get() would return, if that takes no waiting; None says to ask get()."""
        entry = self._index.get(oid)
        if entry is None or first_block * BLOCK_BYTES >= entry.size_bytes:
            return None
        number, offset = place_of(entry.position)
        table = self._tables.get(oid)
        try:
            segment = self._segments.opened(number)
            read = read_blocks_now(segment, offset, oid, entry.size_bytes, table, first_block, block_count)
        except OSError:
            # get() meets it again, counts it and says it.
            return None
        if read is None:
            return None
        self._tables.remember(oid, read[0])
        return entry.size_bytes, *read

    async def verify(self, oid: bytes) -> Findings:
        """Read and check a whole record. Refused NOT_HELD, DISK_FAILED."""
        while True:
            entry = self._entry(oid)
            try:
                findings = await self._findings(oid, entry)
            except OSError as error:
                raise self.health.read_failed(oid, error) from error
            if self._is_at(oid, entry):
                if not findings.header_ok or findings.bad_blocks:
                    self.health.corrupt(oid, f"header {'ok' if findings.header_ok else 'bad'}, bad blocks {findings.bad_blocks}")
                return findings

    async def delete(self, verdicts: list[tuple[bytes, int]]) -> list[bool]:
        """Delete objects whose births are not newer than their verdicts (ns); which ones were. Durable, and the space is free.

        Refused DISK_FAILED.
        """
        self.health.check_writable()
        deleted = []
        for oid, verdict_ns in verdicts:
            entry = self._index.get(oid)
            dead = entry is not None and entry.birth_ns <= verdict_ns
            if dead:
                self._index.remove(oid)
            deleted.append(dead)
        if any(deleted):
            await self._checkpointer.wait_durable()
        return deleted

    # --- parts -------------------------------------------------------------------------------------------------------

    def _entry(self, oid: bytes) -> Entry:
        entry = self._index.get(oid)
        if entry is None:
            raise Refused(Code.NOT_HELD, oid.hex())
        return entry

    def _is_at(self, oid: bytes, entry: Entry) -> bool:
        now = self._index.get(oid)
        return now is not None and now.position == entry.position

    async def _append_object(self, oid: bytes, table: bytes, content: memoryview) -> None:
        birth_ns = self._index.next_birth(self._clock.wall_ns())
        head = Head(KIND_OBJECT, oid, len(content), birth_ns, table)

        def write(segment: Segment, offset: int) -> None:
            check_content(oid, table, content)
            write_record(segment, offset, self.identity.record_key, head, content)

        position = await self._log.append(record_bytes(len(content)), write, self._put_threads)
        self._index.add(oid, position, len(content), birth_ns)
        self._log.settled(position)
        self._tables.remember(oid, table)
        self._checkpointer.changed()

    async def _renew(self, oid: bytes, entry: Entry) -> bool:
        """Give a held object a new birth, durably. False if it is not held there any more."""
        birth_ns = self._index.next_birth(self._clock.wall_ns())
        head = Head(KIND_RENEWAL, oid, entry.size_bytes, birth_ns, b"")

        def write(segment: Segment, offset: int) -> None:
            write_record(segment, offset, self.identity.record_key, head, memoryview(b""))

        position = await self._log.append(HEAD_BYTES, write, self._put_threads)
        now = self._index.get(oid)
        is_held = now is not None and now.position == entry.position
        if now is not None and is_held and now.birth_ns < birth_ns:
            self._index.renew(oid, position, birth_ns)
        else:
            self._index.waste(position, HEAD_BYTES)
        self._log.settled(position)
        self._checkpointer.changed()
        return is_held

    async def _is_intact(self, oid: bytes, entry: Entry) -> bool:
        """Whether the copy that is held could be given out: only such a one may stand for a new put."""
        try:
            findings = await self._findings(oid, entry)
        except OSError as error:
            self.health.read_failed(oid, error)
            return False
        if findings.header_ok and not findings.bad_blocks:
            return True
        if self._is_at(oid, entry):
            self.health.corrupt(oid, "replaced by a new put")
        return False

    async def _findings(self, oid: bytes, entry: Entry) -> Findings:
        number, offset = place_of(entry.position)
        with self._segments.pinned(number) as segment:
            verify = partial(verify_record, segment, offset, self.identity.record_key, oid, entry.size_bytes)
            return await trio.to_thread.run_sync(verify, limiter=self._get_threads)

    async def _read_blocks(self, oid: bytes, entry: Entry, first_block: int, block_count: int) -> tuple[bytes, memoryview]:
        number, offset = place_of(entry.position)
        table = self._tables.get(oid)
        with self._segments.pinned(number) as segment:
            read = partial(read_blocks, segment, offset, oid, entry.size_bytes, table, first_block, block_count)
            return await trio.to_thread.run_sync(read, limiter=self._get_threads)
