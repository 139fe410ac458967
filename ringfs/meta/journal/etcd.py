"""The engine of the journal on etcd: batches as keys, each append one transaction that holds only while we lead.

Reading needs no leadership. Not here: keys and values (batches.py), leadership (election.py), following (standby.py).
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import structlog
import trio

from ringfs.base.limits import ETCD_JOURNAL_BYTES_MAX, JOURNAL_RESERVE_BYTES
from ringfs.meta.election import GIVE_UP_NS, Leadership
from ringfs.meta.etcd.interface import Absent, Delete, Etcd, EtcdFull, EtcdUnavailable, Get, KeyValue, Put, prefix_end
from ringfs.meta.journal.batches import Assembler, Batch, BatchKey, cut, damaged, key_of, keys_from, parse_key, parse_value
from ringfs.meta.journal.interface import JournalFailed

log = structlog.get_logger("ringfs.meta.journal")

#: Batches that are read at once: as many MiB at most.
_PAGE_BATCHES = 8
_RETRY_S = 0.02
#: Between tries while etcd's database is full.
_FULL_RETRY_S = 0.5


def journal_prefix(prefix: bytes) -> bytes:
    """Where the batches are."""
    return prefix + b"journal/"


class EtcdJournal:
    """A Journal, as long as we lead. From open_journal."""

    def __init__(self, etcd: Etcd, prefix: bytes, leadership: Leadership, keys: list[BatchKey], newest: Batch | None) -> None:
        self._etcd = etcd
        self._journal = journal_prefix(prefix)
        self._leadership = leadership
        #: Of the batches that are held, oldest first.
        self._keys = deque(keys)
        self._held_bytes = sum(key.size_bytes for key in keys)
        self._number = keys[-1].number if keys else 0
        self._last = newest.last if newest else leadership.base_position
        self._term = newest.term if newest else 0
        self._first = self._last + 1
        self._appending_bytes = 0
        #: After a checkpoint and after a snapshot, by different tasks.
        self._trimming = trio.Lock()
        self._failure: Exception | None = None
        #: What the newest snapshot in the ring has: servers without a state begin there, so trim leaves what comes after it.
        self.snapshot_position = 0
        #: etcd takes nothing because its database is full.
        self.is_full = False

    # --- See Journal ----------------------------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """See Journal."""
        return self._first

    @property
    def last(self) -> int:
        """See Journal."""
        return self._last

    @property
    def term(self) -> int:
        """See Journal."""
        return self._term

    @property
    def held_bytes(self) -> int:
        """Of all batches that are not trimmed."""
        return self._held_bytes

    def has_room(self, size_bytes: int, *, reserve: bool) -> bool:
        """See Journal."""
        needed_bytes = self._held_bytes + self._appending_bytes + size_bytes + (0 if reserve else JOURNAL_RESERVE_BYTES)
        return self._failure is None and needed_bytes <= ETCD_JOURNAL_BYTES_MAX

    async def append(self, term: int, entries: Sequence[bytes]) -> int:
        """See Journal. Cancelling takes effect before it begins, or after it has ended."""
        assert entries, "an append has at least one entry"
        assert not self._appending_bytes, "one append at a time"
        await trio.lowlevel.checkpoint_if_cancelled()
        self._appending_bytes = sum(map(len, entries)) + 1
        try:
            self._check_usable(term)
            with trio.CancelScope(shield=True):
                for batch in cut(self._number + 1, term, self._last + 1, entries):
                    await self._put(batch)
        except JournalFailed as failure:
            self._failure = failure
            raise
        finally:
            self._appending_bytes = 0
        return self._last

    async def replay(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """See Journal."""
        assembler = Assembler(after)
        for key in self._keys:
            if key.begun > after:
                async for batch, name in read_batches(self._etcd, self._journal, key.number):
                    for entry in assembler.take(batch, name):
                        yield entry
                return

    async def trim(self, upto: int) -> None:
        """See Journal. One server's checkpoint is not enough to let go: see snapshot_position.

        The newest batch always stays: it says where the journal is, and of which term.
        """
        async with self._trimming:
            await self._trim(min(upto, self.snapshot_position))

    async def _trim(self, upto: int) -> None:
        gone = 0
        while gone < len(self._keys) - 1 and self._keys[gone].begun <= upto:
            gone += 1
        if gone:
            await self._delete_before(self._keys[gone].number)
            for _ in range(gone):
                key = self._keys.popleft()
                self._held_bytes -= key.size_bytes
                self._first = key.begun + 1

    def close(self) -> None:
        """See Journal."""

    # --- how ------------------------------------------------------------------------------------------------------------

    def _check_usable(self, term: int) -> None:
        if self._failure is not None:
            raise JournalFailed(f"the journal has failed before: {self._failure}")
        if term < self._term:
            raise JournalFailed(f"term {term} is over: the journal is in term {self._term}")

    async def _put(self, batch: Batch) -> None:
        value = batch.pack()
        key = key_of(self._journal, batch, len(value))
        await self._put_until_known(batch.number, key, value)
        self._keys.append(BatchKey(batch.number, batch.begun, len(value)))
        self._held_bytes += len(value)
        self._number, self._term, self._last = batch.number, batch.term, batch.last

    async def _put_until_known(self, number: int, key: bytes, value: bytes) -> None:
        """Until it is in etcd. A try that was not answered may have taken effect: the next one finds its value there."""
        start, end = keys_from(self._journal, number), keys_from(self._journal, number + 1)
        while True:
            try:
                done = await self._etcd.transact([self._leadership.holds, Absent(start, end)], [Put(key, value)], [Get(start, end)])
            except EtcdUnavailable as error:
                await self._wait_before_retry(error)
                continue
            except EtcdFull as error:
                self._note_full(error)
                await self._wait_before_retry(error, _FULL_RETRY_S)
                continue
            self.is_full = False
            if done.succeeded or [(pair.key, pair.value) for pair in done.found[0]] == [(key, value)]:
                return
            raise JournalFailed(f"deposed: term {self._leadership.term} is over")

    def _note_full(self, error: EtcdFull) -> None:
        if not self.is_full:
            log.error("etcd's database is full: nothing is acknowledged until it has space", reason=str(error))
        self.is_full = True

    async def _wait_before_retry(self, error: Exception, pause_s: float = _RETRY_S) -> None:
        if self._leadership.is_lost or self._leadership.uncertain_ns() > GIVE_UP_NS:
            raise JournalFailed(f"the leadership of term {self._leadership.term} ended while etcd did not answer: {error}")
        await trio.sleep(pause_s)

    async def _delete_before(self, number: int) -> None:
        start, end = keys_from(self._journal, 0), keys_from(self._journal, number)
        while True:
            try:
                done = await self._etcd.transact([self._leadership.holds], [Delete(start, end)])
            except EtcdUnavailable as error:
                await self._wait_before_retry(error)
                continue
            if not done.succeeded:
                raise JournalFailed(f"deposed: term {self._leadership.term} is over")
            return


async def open_journal(etcd: Etcd, prefix: bytes, leadership: Leadership) -> EtcdJournal:
    """The journal of the leadership. Raises EtcdUnavailable, JournalDamaged, JournalFailed if we do not lead any more."""
    journal = journal_prefix(prefix)
    done = await etcd.transact(
        [leadership.holds],
        [Get(journal, prefix_end(journal), keys_only=True), Get(journal, prefix_end(journal), limit=1, last_first=True)],
    )
    if not done.succeeded:
        raise JournalFailed(f"deposed: term {leadership.term} is over")
    names, newest = done.found
    keys = [parse_key(journal, pair.key) for pair in names]
    check_numbers(journal, keys)
    opened = EtcdJournal(etcd, prefix, leadership, keys, _parse(journal, newest[0]) if newest else None)
    if keys:
        opened._first = await _first_position(etcd, journal, keys[0])
    return opened


def check_numbers(journal: bytes, keys: Sequence[BatchKey]) -> None:
    """No batch is missing between the first and the last. Raises JournalDamaged."""
    for before, key in pairwise(keys):
        if key.number != before.number + 1:
            raise damaged(keys_from(journal, before.number + 1), before.begun + 1, f"batch {before.number + 1} is missing")


async def read_batches(etcd: Etcd, journal: bytes, number: int) -> AsyncIterator[tuple[Batch, bytes]]:
    """All batches from a number on, each with its key. Raises EtcdUnavailable, JournalDamaged."""
    start = keys_from(journal, number)
    while True:
        found = (await etcd.transact([], [Get(start, prefix_end(journal), limit=_PAGE_BATCHES)])).found[0]
        for pair in found:
            yield _parse(journal, pair), pair.key
        if len(found) < _PAGE_BATCHES:
            return
        start = found[-1].key + b"\0"


async def _first_position(etcd: Etcd, journal: bytes, key: BatchKey) -> int:
    """Of the first entry that is there from its beginning."""
    start, end = keys_from(journal, key.number), keys_from(journal, key.number + 1)
    (pair,) = (await etcd.transact([], [Get(start, end)])).found[0]
    batch = _parse(journal, pair)
    return batch.first + batch.continues


def _parse(journal: bytes, pair: KeyValue) -> Batch:
    return parse_value(journal, pair.key, pair.value)
