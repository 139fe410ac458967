"""etcd's guarantees in memory and in trio's time, with faults: what ringfs/meta/etcd/interface.py promises, and no more.

One EtcdModel is the cluster; each server has a ModelClient of its own, whose line can be cut, slowed, or lose an answer after the
change took effect. tests/contract/etcd_contract.py holds it to what a real etcd does.
"""

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio
from sortedcontainers import SortedDict

from ringfs.meta.etcd.interface import (
    Absent,
    Action,
    AtVersion,
    Change,
    Changes,
    Condition,
    Delete,
    EtcdCompacted,
    EtcdFull,
    EtcdUnavailable,
    Get,
    KeyValue,
    LeaseEnded,
    Member,
    Put,
    Transacted,
)

#: As etcd with its default election timeout.
_TTL_MIN_S = 2
_WATCHED_MAX = 4096
#: How often leases are looked at while nobody asks anything.
_TICK_S = 0.5


@dataclass(slots=True)
class _Lease:
    """ttl_s: as granted. end_s: on trio's clock."""

    ttl_s: int
    end_s: float
    keys: set[bytes] = field(default_factory=set)


class EtcdModel:
    """The cluster. One that has lost its quorum answers nobody."""

    def __init__(self) -> None:
        self.revision = 1
        self.has_quorum = True
        #: Bytes of keys, values and history that it takes; puts are EtcdFull beyond, until disarmed with less.
        self.quota_bytes = math.inf
        self.is_full = False
        self._pairs: SortedDict[bytes, KeyValue] = SortedDict()
        #: Every change that is not compacted away, in order.
        self._history: list[Change] = []
        self._compacted = 0
        self._leases: dict[int, _Lease] = {}
        self._lease_count = 0
        self._watchers: set[_Watcher] = set()

    # --- state ----------------------------------------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Of the keys that are there and of the history."""
        live = sum(len(pair.key) + len(pair.value) for pair in self._pairs.values())
        return live + sum(len(change.pair.key) + len(change.pair.value) for change in self._history)

    def pairs(self, prefix: bytes = b"") -> dict[bytes, bytes]:
        """All that is there, for checkers."""
        self._expire()
        return {key: pair.value for key, pair in self._pairs.items() if key.startswith(prefix)}

    def pair(self, key: bytes) -> KeyValue | None:
        """One key, for checkers."""
        self._expire()
        found: KeyValue | None = self._pairs.get(key)
        return found

    def restore(self, pairs: dict[bytes, bytes]) -> None:
        """As an operator would from an old backup: these keys, made anew, and no leases."""
        self._leases.clear()
        for key in list(self._pairs):
            self._change([Delete(key)])
        for key, value in pairs.items():
            self._change([Put(key, value)])

    # --- what is asked --------------------------------------------------------------------------------------------------

    def transact(self, conditions: Sequence[Condition], then: Sequence[Action], otherwise: Sequence[Action]) -> Transacted:
        """See Etcd."""
        self._expire()
        succeeded = all(map(self._holds, conditions))
        return Transacted(succeeded, *self._change(then if succeeded else otherwise))

    def grant(self, ttl_s: int) -> tuple[int, int]:
        """See Etcd."""
        self._expire()
        ttl_s = max(ttl_s, _TTL_MIN_S)
        self._lease_count += 1
        self._leases[self._lease_count] = _Lease(ttl_s, trio.current_time() + ttl_s)
        return self._lease_count, ttl_s

    def keep_alive(self, lease: int) -> int:
        """See Etcd."""
        self._expire()
        found = self._leases.get(lease)
        if found is None:
            return 0
        found.end_s = trio.current_time() + found.ttl_s
        return found.ttl_s

    def revoke(self, lease: int) -> None:
        """See Etcd."""
        self._expire()
        self._end(lease)

    def compact(self, revision: int) -> None:
        """See Etcd."""
        self._compacted = max(self._compacted, min(revision, self.revision))
        self._history = [change for change in self._history if change.pair.mod_revision >= self._compacted]

    def disarm(self) -> None:
        """See Etcd."""
        self.is_full = self.used_bytes > self.quota_bytes

    def watch(self, key: bytes, end: bytes, from_revision: int) -> "_Watcher":
        """A watcher that has been told what happened since; end it with unwatch."""
        self._expire()
        if from_revision <= self._compacted:
            raise EtcdCompacted(f"compacted up to {self._compacted}")
        watcher = _Watcher(key, end)
        by_revision: dict[int, list[Change]] = {}
        for change in self._history:
            if change.pair.mod_revision >= from_revision:
                by_revision.setdefault(change.pair.mod_revision, []).append(change)
        for changes in by_revision.values():
            watcher.tell(changes)
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: "_Watcher") -> None:
        """Nothing more is told."""
        self._watchers.discard(watcher)

    def silence_watches(self) -> None:
        """Whoever watches is told nothing more, and not that: its member of etcd stands still."""
        self._watchers.clear()

    def expire(self) -> None:
        """Leases whose time is up end, with their keys; called from time to time, as etcd does itself."""
        self._expire()

    # --- changes --------------------------------------------------------------------------------------------------------

    def _holds(self, condition: Condition) -> bool:
        if isinstance(condition, Absent):
            return not any(self._in(condition.key, condition.end))
        pair = self._pairs.get(condition.key)
        if isinstance(condition, AtVersion):
            return pair is not None and pair.version == condition.version
        return pair is not None and pair.create_revision == condition.revision

    def _in(self, key: bytes, end: bytes) -> Iterator[KeyValue]:
        if not end:
            return iter([self._pairs[key]] if key in self._pairs else [])
        return iter([self._pairs[each] for each in self._pairs.irange(key, end, (True, False))])

    def _change(self, actions: Sequence[Action]) -> tuple[int, list[list[KeyValue]]]:
        for action in actions:
            if isinstance(action, Put):
                self._check_put(action)
        revision, changes, found = self.revision + 1, [], []
        for action in actions:
            if isinstance(action, Get):
                found.append(self._get(action))
            elif isinstance(action, Put):
                changes.append(self._put(action, revision))
            else:
                changes += self._delete(action, revision)
        self._took_effect(changes, revision)
        return self.revision, found

    def _check_put(self, put: Put) -> None:
        if put.lease and put.lease not in self._leases:
            raise LeaseEnded("requested lease not found")
        if self.is_full or (self.quota_bytes < math.inf and self.used_bytes + len(put.value) > self.quota_bytes):
            self.is_full = True
            raise EtcdFull("database space exceeded")

    def _get(self, get: Get) -> list[KeyValue]:
        pairs = list(self._in(get.key, get.end))
        if get.last_first:
            pairs.reverse()
        pairs = pairs[: get.limit or None]
        return [replace(pair, value=b"") for pair in pairs] if get.keys_only else pairs

    def _put(self, put: Put, revision: int) -> Change:
        before = self._pairs.get(put.key)
        created, version = (before.create_revision, before.version + 1) if before else (revision, 1)
        if before is not None and before.lease:
            self._leases[before.lease].keys.discard(put.key)
        if put.lease:
            self._leases[put.lease].keys.add(put.key)
        pair = self._pairs[put.key] = KeyValue(put.key, put.value, created, revision, version, put.lease)
        return Change(pair, False)

    def _delete(self, delete: Delete, revision: int) -> list[Change]:
        changes = []
        for pair in list(self._in(delete.key, delete.end)):
            del self._pairs[pair.key]
            if pair.lease and pair.lease in self._leases:
                self._leases[pair.lease].keys.discard(pair.key)
            changes.append(Change(KeyValue(pair.key, b"", 0, revision, 0, 0), True))
        return changes

    def _took_effect(self, changes: list[Change], revision: int) -> None:
        if changes:
            self.revision = revision
            self._history += changes
            for watcher in self._watchers:
                watcher.tell(changes)

    def _expire(self) -> None:
        # Without a quorum nothing ends: a new leader of etcd gives every lease its whole time again.
        if self.has_quorum:
            for lease in [number for number, each in self._leases.items() if each.end_s <= trio.current_time()]:
                self._end(lease)

    def _end(self, number: int) -> None:
        lease = self._leases.pop(number, None)
        if lease is not None:
            self._change([Delete(key) for key in sorted(lease.keys)])

    def regain_quorum(self) -> None:
        """There is a new leader of etcd: leases live on from now."""
        self.has_quorum = True
        for lease in self._leases.values():
            lease.end_s = trio.current_time() + lease.ttl_s


class _Watcher:
    """Who watches keys from key up to end."""

    def __init__(self, key: bytes, end: bytes) -> None:
        self._key = key
        self._end = end
        self.send, self.receive = trio.open_memory_channel[list[Change]](_WATCHED_MAX)

    def tell(self, changes: list[Change]) -> None:
        """What of it is watched."""
        mine = [change for change in changes if self._watches(change.pair.key)]
        if mine:
            self.send.send_nowait(mine)

    def _watches(self, key: bytes) -> bool:
        return self._key <= key < self._end if self._end else key == self._key


class ModelClient:
    """An Etcd of one server."""

    def __init__(self, model: EtcdModel) -> None:
        self.model = model
        #: No call gets through, and watches are silent, while this is True.
        self.is_cut = False
        #: How long a call takes each way.
        self.delay_s = 0.001
        #: So many of the next changes take effect, and their answers are lost.
        self.answers_to_lose = 0

    async def transact(
        self, conditions: Sequence[Condition], then: Sequence[Action], otherwise: Sequence[Action] = (), *, timeout_s: float = 2.0
    ) -> Transacted:
        """See Etcd."""
        await self._reach(timeout_s)
        done = self.model.transact(conditions, then, otherwise)
        if self.answers_to_lose and any(not isinstance(action, Get) for action in then):
            self.answers_to_lose -= 1
            await trio.sleep(timeout_s)
            raise EtcdUnavailable("the answer was lost")
        await self._return(timeout_s)
        return done

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        """See Etcd."""
        await self._reach(2.0)
        return self.model.grant(ttl_s)

    async def keep_alive(self, lease: int, *, timeout_s: float = 2.0) -> int:
        """See Etcd."""
        await self._reach(timeout_s)
        left_s = self.model.keep_alive(lease)
        await self._return(timeout_s)
        return left_s

    async def revoke(self, lease: int) -> None:
        """See Etcd."""
        await self._reach(2.0)
        self.model.revoke(lease)

    @asynccontextmanager
    async def watch(self, key: bytes, end: bytes, *, from_revision: int) -> AsyncIterator[Changes]:
        """See Etcd."""
        await self._reach(2.0)
        watcher = self.model.watch(key, end, from_revision)
        try:
            yield _Receiver(self, watcher)
        finally:
            self.model.unwatch(watcher)

    async def compact(self, revision: int) -> None:
        """See Etcd."""
        await self._reach(2.0)
        self.model.compact(revision)

    async def members(self) -> list[Member]:
        """See Etcd."""
        reachable = self.model.has_quorum and not self.is_cut
        alarms = ("no space",) if self.model.is_full else ()
        return [Member("model", "" if reachable else "does not answer", True, self.model.used_bytes, self.model.used_bytes, alarms)]

    async def defragment(self, endpoint: str) -> None:
        """See Etcd."""
        await self._reach(2.0)

    async def disarm(self) -> None:
        """See Etcd."""
        await self._reach(2.0)
        self.model.disarm()

    def close(self) -> None:
        """As EtcdClient's."""

    async def _reach(self, timeout_s: float) -> None:
        await trio.sleep(self.delay_s)
        await self._or_time_out(timeout_s)

    async def _return(self, timeout_s: float) -> None:
        await trio.sleep(self.delay_s)
        await self._or_time_out(timeout_s)

    async def _or_time_out(self, timeout_s: float) -> None:
        if self.is_cut or not self.model.has_quorum:
            await trio.sleep(timeout_s)
            raise EtcdUnavailable("no answer")


class _Receiver:
    """The channel of a watch; silent while the line is cut. Cancelling loses nothing."""

    def __init__(self, client: ModelClient, watcher: _Watcher) -> None:
        self._client = client
        self._watcher = watcher
        #: Came in, and was not given out yet.
        self._next: list[Change] = []

    async def receive(self) -> list[Change]:
        """The next changes."""
        while not self._next:
            with trio.move_on_after(_TICK_S):
                self._next = await self._watcher.receive.receive()
            self._client.model.expire()
        await trio.sleep(self._client.delay_s)
        while self._client.is_cut:  # noqa: ASYNC110 -- a plain attribute is simpler for whoever sets it
            await trio.sleep(0.05)
        changes, self._next = self._next, []
        return changes
