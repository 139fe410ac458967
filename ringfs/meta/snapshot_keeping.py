"""Snapshots of the state into the ring while we lead: when, in which order, and what is cleaned up. The journal is trimmed behind
them.

The order, and what a crash after each step leaves: docs/formats/snapshot.md. Everything here goes on beside transactions, a little
in each turn of the event loop. Not here: reading them (snapshot_loading.py).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol

import structlog
import trio

from ringfs.base.errors import Refused, again
from ringfs.base.ids import NO_SESSION
from ringfs.base.kv.store import Snapshot, StoreFull
from ringfs.base.limits import ETCD_JOURNAL_BYTES_MAX, KIB, MIB, PAGE_ENTRIES_MAX
from ringfs.meta import marks
from ringfs.meta.etcd.interface import CreatedAt, Etcd, EtcdFull, EtcdUnavailable
from ringfs.meta.live import Live
from ringfs.meta.namespace import facts
from ringfs.meta.namespace.system import AppendSnapshot, FreeOrphans
from ringfs.meta.object_store import ObjectStore
from ringfs.meta.snapshot_pointer import SeenPointer, SnapshotPointer, StoredObject, Superseded, look_at_pointer, write_pointer
from ringfs.meta.snapshot_stream import SnapshotDamaged, StreamWriter
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.namespace import NewObject

log = structlog.get_logger("ringfs.meta.snapshot")

#: A snapshot is due when the journal holds more than this, or more transactions: what a new server has to read, and to apply.
JOURNAL_BYTES = 64 * MIB
JOURNAL_ENTRIES = 500_000
assert 2 * JOURNAL_BYTES <= ETCD_JOURNAL_BYTES_MAX, "there is room in the journal while a snapshot is made, and made again"
#: How often it is looked whether one is due.
LOOK_S = 1.0
#: After a failure, at first and at most; it doubles in between.
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
#: What is packed before others have their turn: about 0.1 ms.
_TURN_PAIRS = 64
_TURN_BYTES = 64 * KIB

#: Past every key of the namespace (namespace/keys.py: families are ASCII letters).
_END = b"\xff"

_FAILURES = (Refused, StoreFull, EtcdFull, EtcdUnavailable, Superseded)


class TrimmedJournal(Protocol):
    """A journal as far as snapshots shorten it. snapshot_position: what the latest one has; never less than before."""

    snapshot_position: int

    @property
    def held_bytes(self) -> int:
        """Of all that is not trimmed."""
        ...

    async def trim(self, upto: int) -> None:
        """Entries up to this position are in a snapshot."""
        ...


@dataclass(slots=True)
class _Written:
    """What of a snapshot is in the ring, and kept by a file."""

    inode: int
    objects: list[StoredObject]


class SnapshotKeeper:
    """For one term. base_position: where the journal in etcd began; what is before it is in no journal. tell(position, trouble) is
    called when either may have changed."""

    def __init__(
        self,
        live: Live,
        journal: TrimmedJournal,
        etcd: Etcd,
        prefix: bytes,
        holds: CreatedAt,
        objects: ObjectStore,
        base_position: int,
        tell: Callable[[int, str], None],
    ) -> None:
        self._live = live
        self._journal = journal
        self._etcd = etcd
        self._prefix = prefix
        self._holds = holds
        self._objects = objects
        self._base_position = base_position
        self._seen: SeenPointer | None = None
        #: What it says; None if there is none that can be read.
        self._pointer: SnapshotPointer | None = None
        self._followed_epoch = 0
        self._wanted = trio.Event()
        #: Why there is no newer snapshot although one is due, in one line for people, or "".
        self.trouble = ""
        self._tell = tell

    @property
    def position(self) -> int:
        """Of the latest snapshot, 0 if there is none."""
        return 0 if self._pointer is None else self._pointer.marks.position

    def want(self) -> None:
        """Make one as soon as possible."""
        self._wanted.set()

    async def run(self) -> None:
        """Keep them until cancelled."""
        await self._retried(self._settle)
        while True:
            if self._is_due():
                self._wanted = trio.Event()
                await self._retried(self._renew)
            elif self._has_moved():
                await self._retried(self._tell_where)
            with trio.move_on_after(LOOK_S):
                await self._wanted.wait()

    async def _retried(self, act: Callable[[], Awaitable[None]]) -> None:
        """Until it succeeds."""
        for attempt in count():
            try:
                await act()
            except _FAILURES as failure:
                self._note_failure(failure)
                await trio.sleep(min(RETRY_FIRST_S * 2 ** min(attempt, 10), RETRY_MAX_S))
            else:
                if self.trouble:
                    log.info("the metadata's snapshot is up to date again", position=self.position)
                    self.trouble = ""
                self._tell(self.position, self.trouble)
                return

    def _note_failure(self, failure: Exception) -> None:
        since = f"since transaction {self.position}" if self.position else "yet"
        trouble = f"no snapshot of the metadata {since}: {failure}"
        if trouble != self.trouble:
            log.warning("no snapshot of the metadata could be made; trying again", since=self.position, reason=str(failure))
        self.trouble = trouble
        self._tell(self.position, self.trouble)

    # --- when -------------------------------------------------------------------------------------------------------------

    def _is_due(self) -> bool:
        applied = self._live.leader.applied
        if self._pointer is None and (self._seen is not None or self._base_position):
            # The journal alone does not give the state back.
            return True
        is_long = self._journal.held_bytes > JOURNAL_BYTES or applied - max(self.position, self._base_position) > JOURNAL_ENTRIES
        return is_long or self._wanted.is_set()

    def _has_moved(self) -> bool:
        """Whether who has nothing but the pointer would look for data nodes in the wrong places."""
        return self._pointer is not None and _places(self._pointer.map) != _places(self._map())

    # --- one after the other ------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """A new snapshot in the place of the old one."""
        await self._settle()
        position, view = await self._live.leader.snapshot()
        try:
            log.info("writing a snapshot", position=position)
            pointer = await self._write(view)
        finally:
            view.close()
        await self._replace_pointer(pointer)
        log.info("snapshot written", position=position, size_bytes=pointer.size_bytes, objects=len(pointer.objects))
        await self._settle()

    async def _tell_where(self) -> None:
        """The same snapshot, and where the data nodes are now."""
        await self._settle()
        if self._pointer is not None:
            await self._replace_pointer(replace(self._pointer, map=self._map()))

    async def _settle(self) -> None:
        """What follows from the pointer that is in etcd: the journal is trimmed behind it, and other snapshots' files are freed."""
        self._seen = await look_at_pointer(self._etcd, self._prefix)
        self._pointer = _readable(self._seen)
        if self._pointer is not None:
            self._journal.snapshot_position = self._pointer.marks.position
            await self._journal.trim(self._pointer.marks.position)
        elif self._seen is not None:
            return
        kept = 0 if self._pointer is None else self._pointer.inode
        orphans = [inode for inode in facts.orphans_of(self._live.leader.view, NO_SESSION) if inode != kept]
        for start in range(0, len(orphans), PAGE_ENTRIES_MAX):
            await self._transact(FreeOrphans(NO_SESSION, orphans[start : start + PAGE_ENTRIES_MAX]))

    async def _replace_pointer(self, pointer: SnapshotPointer) -> None:
        self._seen = await write_pointer(self._etcd, self._prefix, pointer, self._holds, self._seen)
        self._pointer = pointer

    # --- writing ------------------------------------------------------------------------------------------------------------

    async def _write(self, view: Snapshot) -> SnapshotPointer:
        """All rows into the ring, kept by a new file."""
        found = marks.read(view)
        assert found is not None, "a checkpoint has marks"
        stream, written = StreamWriter(), _Written(0, [])
        async with aclosing(_contents(view, stream)) as contents:
            async for content in contents:
                await self._keep(content, written)
        return SnapshotPointer(
            facts.cluster_id(view),
            found,
            written.inode,
            stream.size_bytes,
            stream.digest(),
            self._live.default_class,
            tuple(written.objects),
            self._map(),
        )

    async def _keep(self, content: bytes, written: _Written) -> None:
        """An object more: first in the ring, then in the namespace."""
        map = self._map()
        if map.epoch != self._followed_epoch:
            self._objects.follow(map)
            self._followed_epoch = map.epoch
        new: NewObject = await self._objects.put([memoryview(content)], self._live.default_class)
        written.inode = (await self._transact(AppendSnapshot(written.inode, [new]))).inode
        written.objects.append(StoredObject(new.object, new.size_bytes))

    async def _transact(self, operation: Any) -> Any:
        """Its answer, once it is in the journal. Raises Refused."""
        done = trio.Event()
        answers: list[Any] = []

        def act() -> None:
            answers.append(self._live.transact_own(operation))
            self._live.leader.when_durable(done.set)

        self._live.leader.admit(act)
        await done.wait()
        if isinstance(answers[0], Refused):
            raise again(answers[0])
        return answers[0]

    def _map(self) -> ClusterMap:
        return facts.cluster_map(self._live.leader.view)


async def _contents(view: Snapshot, stream: StreamWriter) -> AsyncGenerator[bytes, None]:
    """The objects of a stream of all rows."""
    turn_bytes = 0
    for number, (key, value) in enumerate(view.scan(b"", _END), 1):
        stream.add(key, value)
        turn_bytes += len(value)
        while stream.has_object:
            yield stream.take()
        if number % _TURN_PAIRS == 0 or turn_bytes >= _TURN_BYTES:
            turn_bytes = 0
            await trio.lowlevel.checkpoint()
    stream.end()
    while content := stream.take():
        yield content


def _readable(seen: SeenPointer | None) -> SnapshotPointer | None:
    if seen is None:
        return None
    try:
        return seen.read()
    except SnapshotDamaged as damage:
        # We have the state that it led to, and will write another one.
        log.error("the pointer to the latest snapshot is damaged", reason=str(damage))
        return None


def _places(map: ClusterMap) -> Sequence[tuple[int, str, str, str, int]]:
    """What has to be known to find objects."""
    return [(node.node, node.uuid, node.address, node.domain, node.weight) for node in map.nodes]
