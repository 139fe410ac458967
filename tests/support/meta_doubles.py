"""Doubles under a metadata server: journal and store in memory that crash, fill up, fail and stall; a clock.

Both doubles outlive a server: what a crash leaves is `restarted()`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import trio

from ringfs.base.config import ClusterConfig, MetaConfig, MountConfig
from ringfs.base.kv.memory import MemoryView
from ringfs.base.kv.store import StoreFull
from ringfs.meta.journal.interface import JournalFailed

CLUSTER = "12345678-1234-5678-1234-567812345678"
KEY = bytes(range(32))
CONFIG = ClusterConfig(
    path=Path("cluster.toml"),
    cluster=CLUSTER,
    key_file=Path("key"),
    default_class="replica:2",
    meta=(MetaConfig("meta1", "meta1:7000", Path("state")),),
    data=(),
    mount=MountConfig(),
    log_level="info",
)


class TrioClock:
    """Both clocks follow trio's, so that the autojump clock governs them; wall time can be set off."""

    def __init__(self) -> None:
        self.wall_offset_ns = 1_700_000_000 * 10**9

    def wall_ns(self) -> int:
        """See Clock."""
        return self.wall_offset_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """See Clock."""
        return int(trio.current_time() * 1e9)


class MemoryJournal:
    """A Journal; see meta/journal/interface.py."""

    def __init__(self, entries: list[bytes] | None = None, first: int = 1, term: int = 0) -> None:
        self.first = first
        self.entries: list[bytes] = entries or []
        self.term = term
        #: Sizes of the appends that were made, in entries.
        self.batches: list[int] = []
        #: An append waits for it before anything is durable, if it is set to an event.
        self.gate: trio.Event | None = None
        #: As gate, but what was appended is durable before the wait: a crash there is one between append and reply.
        self.gate_after: trio.Event | None = None
        #: What has_room counts from; None is endless.
        self.room_bytes: int | None = None
        self.reserve_bytes = 1000
        self.fails = False
        #: How long an append takes.
        self.append_s = 0.0

    @property
    def last(self) -> int:
        """See Journal."""
        return self.first + len(self.entries) - 1

    def has_room(self, size_bytes: int, *, reserve: bool) -> bool:
        """See Journal."""
        return self.room_bytes is None or size_bytes + (0 if reserve else self.reserve_bytes) <= self.room_bytes

    async def append(self, term: int, entries: Sequence[bytes]) -> int:
        """See Journal."""
        assert entries
        assert term >= self.term
        if self.gate is not None:
            await self.gate.wait()
        await trio.sleep(self.append_s)
        if self.fails:
            raise JournalFailed("the disk is on fire")
        self.term = term
        self.entries += entries
        self.batches.append(len(entries))
        if self.room_bytes is not None:
            self.room_bytes -= sum(map(len, entries))
        last = self.last
        if self.gate_after is not None:
            await self.gate_after.wait()
        return last

    async def replay(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """See Journal."""
        assert after >= self.first - 1
        for entry in enumerate(self.entries[after - self.first + 1 :], after + 1):
            yield entry

    async def trim(self, upto: int) -> None:
        """See Journal."""
        await trio.lowlevel.checkpoint()
        del self.entries[: max(0, upto - self.first + 1)]
        self.first = max(self.first, upto + 1)

    def close(self) -> None:
        """See Journal."""

    def restarted(self) -> "MemoryJournal":
        """What the next process finds."""
        return MemoryJournal(list(self.entries), self.first, self.term)


class MemoryStore(MemoryView):
    """A Store; see base/kv/store.py."""

    def __init__(self, durable: Mapping[bytes, bytes] | None = None, marks: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(durable)
        self._durable = dict(durable or {})
        self._marks = dict(marks or {})
        self.pending_bytes = 0
        self.is_full = False
        self.checkpoint_count = 0
        #: How long a checkpoint takes.
        self.checkpoint_s = 0.0

    @property
    def durable(self) -> Mapping[bytes, bytes]:
        """The rows that a restart finds."""
        return self._durable

    @property
    def durable_marks(self) -> Mapping[bytes, bytes]:
        """The marks of the last checkpoint."""
        return self._marks

    def put(self, key: bytes, value: bytes) -> None:
        """See View."""
        self.pending_bytes += len(key) + len(value)
        super().put(key, value)

    def delete(self, key: bytes) -> None:
        """See View."""
        self.pending_bytes += len(key)
        super().delete(key)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """See Store."""
        for key, value in changes.items():
            if value is None:
                self.delete(key)
            else:
                self.put(key, value)

    def close(self) -> None:
        """See Store."""

    def mark(self, name: bytes) -> bytes | None:
        """See Store."""
        return self._marks.get(name)

    async def checkpoint(self, marks: Mapping[bytes, bytes]) -> None:
        """See Store."""
        frozen, frozen_bytes = self.pairs(), self.pending_bytes
        with trio.CancelScope(shield=True):
            await trio.sleep(self.checkpoint_s)
        if self.is_full:
            raise StoreFull("no space left on device")
        self._durable, self._marks = frozen, dict(marks)
        self.pending_bytes -= frozen_bytes
        self.checkpoint_count += 1

    def snapshot(self) -> "MemorySnapshot":
        """See Store."""
        return MemorySnapshot(self._durable, self._marks)

    def restarted(self) -> "MemoryStore":
        """What the next process finds."""
        return MemoryStore(self._durable, self._marks)


class MemorySnapshot(MemoryView):
    """A Snapshot."""

    def __init__(self, rows: Mapping[bytes, bytes], marks: Mapping[bytes, bytes]) -> None:
        super().__init__(rows)
        self._marks = dict(marks)
        self.is_closed = False

    def mark(self, name: bytes) -> bytes | None:
        """See Snapshot."""
        return self._marks.get(name)

    def close(self) -> None:
        """See Snapshot."""
        self.is_closed = True
