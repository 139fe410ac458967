"""The store of a data node in memory, for rings under virtual time: what data/store.py promises, with no disk and no threads.

The disk outlives the process: a store is made on it at each start. What can go wrong with one are knobs of the disk.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

import trio

from ringfs.base.checksums import Buffer
from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES
from ringfs.data.health import Health
from ringfs.data.identity import Identity
from ringfs.data.index import Entry
from ringfs.data.records import Findings, check_content
from ringfs.data.store import Got, StoreFigures
from ringfs.data.stored_part import StoredPart, Tables, own_span, span_of
from ringfs.ring.parts import COPY, Part

CAPACITY_BYTES = 1 << 40


@dataclass(slots=True)
class Held:
    """A part on a disk."""

    stored: StoredPart
    tables: Tables
    content: bytes
    birth_ns: int
    #: Its bytes were changed behind the node's back.
    is_rotten: bool = False

    @property
    def entry(self) -> Entry:
        """As an index has it."""
        return Entry(0, self.stored.size_bytes, self.birth_ns)

    def first_bad_block(self) -> int | None:
        """Which block is not what it should be."""
        return self.stored.first_bad_block(self.tables, 0, self.content)


@dataclass(slots=True)
class MemoryDisk:
    """What survives a process. Knobs: how long puts and gets take; full; every write fails."""

    name: str
    uuid: str
    held: dict[bytes, Held] = field(default_factory=dict)
    put_s: float = 0.0
    get_s: float = 0.0
    is_full: bool = False
    is_failed: bool = False
    newest_birth_ns: int = 0
    #: When the index was built anew, as the next start finds it to be.
    index_built_ns: int = 0
    #: Told of each object of which a part was deleted or dropped, at once.
    on_removed: Callable[[bytes], None] = lambda _oid: None

    def file_system(self) -> str:
        """See Disk."""
        return self.name

    def rot(self, draw: random.Random, key: bytes) -> None:
        """Flip a bit of a part's bytes."""
        held = self.held[key]
        if held.content:
            content = bytearray(held.content)
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            held.content = bytes(content)
            held.is_rotten = True

    def used_bytes(self) -> int:
        """What all parts take."""
        return sum(len(held.content) for held in self.held.values())


class MemoryStore:
    """Stands for an ObjectStore."""

    def __init__(self, disk: MemoryDisk, cluster: str, clock: Clock) -> None:
        self.identity = Identity(cluster, UUID(disk.uuid), bytes(32))
        self.health = Health()
        self.health.index_built_ns = disk.index_built_ns
        self.disk = disk
        self._clock = clock

    # --- questions answered from memory ------------------------------------------------------------------------------

    def holds(self, oid: bytes, part: Part = COPY) -> bool:
        """See ObjectStore."""
        return oid + part.pack() in self.disk.held

    def parts(self, oid: bytes) -> list[tuple[bytes, Entry]]:
        """See ObjectStore."""
        return [(key, held.entry) for key, held in sorted(self.disk.held.items()) if key[:HASH_BYTES] == oid]

    def page(self, after: bytes, limit: int) -> tuple[list[tuple[bytes, Entry]], bool]:
        """See ObjectStore."""
        start = after + b"\xff\xff\xff" if len(after) == HASH_BYTES else after
        keys = sorted(key for key in self.disk.held if key > start)
        return [(key, self.disk.held[key].entry) for key in keys[:limit]], len(keys) > limit

    def figures(self) -> StoreFigures:
        """See ObjectStore."""
        free_bytes = 0 if self.disk.is_full or self.disk.is_failed else CAPACITY_BYTES
        return StoreFigures(self.disk.used_bytes(), free_bytes, free_bytes, len(self.disk.held), 1, CAPACITY_BYTES)

    # --- operations --------------------------------------------------------------------------------------------------

    async def put(self, stored: StoredPart, tables: Tables, content: Buffer) -> bool:
        """See ObjectStore."""
        await trio.sleep(self.disk.put_s)
        self._check_writable()
        check_content(stored, tables, content)
        old = self.disk.held.get(stored.key)
        if old is None and self.disk.is_full:
            raise Refused(Code.DISK_FULL)
        birth_ns = self.disk.newest_birth_ns = max(self._clock.wall_ns(), self.disk.newest_birth_ns + 1)
        self.disk.held[stored.key] = Held(stored, tables, bytes(content), birth_ns)
        return old is None

    def put_soon(self, *_: object) -> bool:
        """See ObjectStore. Its disk is never so fast."""
        return False

    async def get(self, oid: bytes, part: Part | None, first_block: int, block_count: int) -> Got:
        """See ObjectStore."""
        await trio.sleep(self.disk.get_s)
        held = [self.disk.held[key] for key, _ in self.parts(oid)]
        if part is not None:
            held = [each for each in held if each.stored.part == part]
        if not held:
            raise Refused(Code.NOT_HELD, oid.hex())
        spans = [each.stored for each in held]
        span = own_span(spans[0], first_block, block_count) if part is not None else span_of(spans, first_block, block_count)
        chosen = self.disk.held[span.stored.key]
        start = span.first_block * BLOCK_BYTES
        content = chosen.content[start : start + span.block_count * BLOCK_BYTES]
        if chosen.stored.first_bad_block(chosen.tables, span.first_block, content) is not None:
            raise self.health.corrupt(chosen.stored, "rotten")
        return Got(chosen.stored, chosen.tables, memoryview(content))

    def get_now(self, _oid: bytes, _part: Part | None, _first_block: int, _block_count: int) -> Got | None:
        """See ObjectStore: every get takes its time."""
        return None

    async def verify(self, oid: bytes, part: Part = COPY) -> Findings:
        """See ObjectStore."""
        await trio.sleep(self.disk.get_s)
        held = self.disk.held.get(oid + part.pack())
        if held is None:
            raise Refused(Code.NOT_HELD, oid.hex())
        bad = held.first_bad_block()
        if bad is not None:
            self.health.corrupt(held.stored, f"block {bad}")
        return Findings(True, [] if bad is None else [bad], held.tables)

    async def delete(self, verdicts: list[tuple[bytes, int]]) -> list[bool]:
        """See ObjectStore."""
        self._check_writable()
        return [self._remove(key for key, entry in self.parts(oid) if entry.birth_ns <= verdict) > 0 for oid, verdict in verdicts]

    async def drop(self, surplus: list[tuple[bytes, int]]) -> int:
        """See ObjectStore."""
        self._check_writable()
        held = self.disk.held
        return self._remove(key for key, birth_ns in surplus if key not in held or held[key].birth_ns <= birth_ns)

    def _remove(self, keys: Iterable[bytes]) -> int:
        gone = list(keys)
        for key in gone:
            if self.disk.held.pop(key, None) is not None:
                self.disk.on_removed(key[:HASH_BYTES])
        return len(gone)

    def _check_writable(self) -> None:
        if self.disk.is_failed:
            self.health.fail("it is broken")
        self.health.check_writable()
