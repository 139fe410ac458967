"""The durable view: changes in memory over a checkpoint in LMDB.

A read looks in the live table, then in the frozen one (changes that a checkpoint is writing now, or failed to write), then in LMDB.
Nothing here is durable before a checkpoint is; what must survive until then is in the journal, or can be found again.
All methods belong to the event loop's thread; only a checkpoint's writing is in another.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import trio

from ringfs.base.files import RealFiles
from ringfs.base.kv.environment import (
    KEY_BYTES_MAX,
    STATE,
    Environment,
    LmdbView,
    ReadDamaged,
    StoreCorrupted,
    StoreDamaged,
    StoreFailed,
    StoreFull,
)
from ringfs.base.kv.merge import merged, without_deletions
from ringfs.base.kv.table import Change, ChangeTable
from ringfs.base.kv.turns import Turns
from ringfs.base.kv.whole import ensure_whole
from ringfs.base.limits import GIB
from ringfs.base.memory import mapped_bytes

#: The event loop waits no longer for a turn of the checkpoint's thread (which may have to read a page from a disk).
TURN_WAIT_S = 0.001
# How often it is looked meanwhile how much is mapped: keys here and there may map a file of 250 MB in half a second.
_TURNS_PER_LOOK = 8

Snapshot = LmdbView


# Told by identity, it says that a table has no change of a key (None says that the key was deleted). It is nobody's value.
_ABSENT: Final = bytes(bytearray(b"absent"))


class Store:
    """A View over an LMDB environment in a directory, which no other process may use meanwhile (UserError).

    With mapped_bytes_max, checkpoints and bound_memory() let go of what this process has in memory of the environment's file once
    it has more than that of all files that it maps. StoreDamaged: it cannot be read.
    """

    def __init__(self, directory: Path, *, map_bytes: int = 64 * GIB, mapped_bytes_max: int | None = None) -> None:
        self._mapped_bytes_max = mapped_bytes_max
        files = RealFiles()
        files.make_directory(directory)
        files.sync_directory(directory.parent)
        self._lock = files.lock(directory)
        try:
            ensure_whole(directory)
            self._environment = Environment(directory, map_bytes)
            files.sync_directory(directory)
        except BaseException:
            self._lock.release()
            raise
        # Changes since the last checkpoint began.
        self._live = ChangeTable()
        # Changes that the checkpoint under way writes, or that a failed one did not. Never changed while _writing.
        self._frozen = ChangeTable()
        self._writing = False
        self._threads = trio.CapacityLimiter(1)
        # The last checkpoint that this store knows of.
        self._base = self._environment.view()
        self._bind()

    @property
    def pending_bytes(self) -> int:
        """Size in memory of what the next checkpoint would write, and of what one writes now."""
        return self._live.size_bytes + self._frozen.size_bytes

    def get(self, key: bytes) -> bytes | None:
        """See ReadView."""
        found = self._live_get(key, _ABSENT)
        if found is _ABSENT:
            found = self._frozen_get(key, _ABSENT)
            if found is _ABSENT:
                return self._base_get(key)
        return found

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See ReadView. The iterator does not outlive the next await of the task that made it: a checkpoint may end there."""
        tables = [table for table in (self._frozen, self._live) if table.touches(start, stop)]
        if not tables:
            return self._base.scan(start, stop)
        pairs: Iterator[tuple[bytes, Change]] = self._base.scan(start, stop)
        for table in tables:
            pairs = merged(table.scan(start, stop), pairs)
        return without_deletions(pairs)

    def put(self, key: bytes, value: bytes) -> None:
        """See View."""
        self.apply({key: value})

    def delete(self, key: bytes) -> None:
        """See View."""
        self.apply({key: None})

    def apply(self, changes: Mapping[bytes, Change]) -> None:
        """Make all the changes; None deletes. Keys have 1 to 511 bytes (LMDB's limit)."""
        for key in changes:
            assert 0 < len(key) <= KEY_BYTES_MAX, f"a key of {len(key)} bytes"
        self._live.apply(changes)

    def mark(self, name: bytes) -> bytes | None:
        """A mark of the last checkpoint, or None if it never had one of that name."""
        return self._base.mark(name)

    async def checkpoint(self, marks: Mapping[bytes, bytes]) -> None:
        """Write all changes made before the call, with the marks, in one durable transaction; reads and changes go on meanwhile.

        Marks that are not given keep their value. StoreFull: nothing was written, nothing is lost, try again later.
        StoreFailed: stop the process. It is not cancelled half-way.
        """
        assert not self._writing, "one checkpoint at a time"
        self._freeze()
        self._writing = True
        try:
            await self._write(marks)
        finally:
            self._writing = False
        self._base.close()
        self._base = self._environment.view()
        self._frozen = ChangeTable()
        self._bind()

    def bound_memory(self) -> None:
        """Let go of pages that were read, if there are too many; other reads find them in the page cache."""
        if self._mapped_bytes_max is not None and mapped_bytes() > self._mapped_bytes_max:
            self._environment.let_go_pages()

    def snapshot(self) -> Snapshot:
        """The last checkpoint, unchanging until its close(). Holds back the reuse of disk space, so do close it."""
        return self._environment.view()

    def close(self) -> None:
        """Close without a checkpoint. Snapshots must have been closed."""
        assert not self._writing, "a checkpoint is being written"
        self._base.close()
        self._environment.close()
        self._lock.release()

    def _freeze(self) -> None:
        """Move the live changes to the frozen table, over what a failed checkpoint left there."""
        if self._frozen.changes:
            self._frozen.apply(self._live.changes)
        else:
            self._frozen = self._live
        self._live = ChangeTable()
        self._bind()

    def _bind(self) -> None:
        """Bind the three lookups of get(), which is the hottest call of the metadata service."""
        self._live_get = self._live.changes.get
        self._frozen_get = self._frozen.changes.get
        self._base_get = self._base.get

    async def _write(self, marks: Mapping[bytes, bytes]) -> None:
        """Write the frozen table in a thread, giving it turns until only the commit is left."""
        turns = Turns()
        changes = self._frozen.in_order()
        failure: StoreFull | StoreFailed | None = None

        async def write_in_thread() -> None:
            nonlocal failure
            try:
                await trio.to_thread.run_sync(self._environment.write, changes, marks, turns, limiter=self._threads)
            except (StoreFull, StoreFailed) as error:
                failure = error

        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write_in_thread)
                try:
                    for number in itertools.count():
                        if turns.finished:
                            break
                        await trio.lowlevel.checkpoint()
                        turns.give(TURN_WAIT_S)
                        if number % _TURNS_PER_LOOK == 0:
                            self.bound_memory()
                finally:
                    turns.release()
        if failure is not None:
            raise failure


__all__ = ["STATE", "ReadDamaged", "Snapshot", "Store", "StoreCorrupted", "StoreDamaged", "StoreFailed", "StoreFull"]
