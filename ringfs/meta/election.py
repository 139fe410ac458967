"""Who leads: a key in etcd under a lease, whose create revision is the term. Not here: what a leader or a standby does (roles.py).

A leader may answer from its state only while nobody else can lead: until a lease time after its last successful keepalive was
*sent*. Past that it holds requests back; if a keepalive succeeds after all (etcd had no leader itself), it goes on, and if
the lease has ended, the leadership is lost.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.meta.etcd.interface import Absent, CreatedAt, Etcd, EtcdFull, EtcdUnavailable, Get, KeyValue, LeaseEnded, Put
from ringfs.wire.packing import pack, unpack

log = structlog.get_logger("ringfs.meta.election")

#: A lease is renewed so often in its time, and trusted for so much of it: clocks run at slightly different rates.
_RENEWALS = 4
_TRUSTED = 0.9
_RETRY_S = 0.05
#: After so long without certainty the leadership is given up: what waits for it would pile up.
GIVE_UP_NS = 10 * 10**9
#: A server that was named as the next leader has so long before others try.
_SUCCESSOR_TTL_S = 2


@dataclass(frozen=True, slots=True)
class LeaderName:
    """Who leads, as the key says. ("", "") is nobody."""

    name: str
    address: str


NOBODY = LeaderName("", "")


class Leadership:
    """One term of this server."""

    def __init__(self, holds: CreatedAt, term: int, lease: int, base_position: int, certain_until_ns: int, clock: Clock) -> None:
        #: The condition of every transaction of this term.
        self.holds = holds
        self.term = term
        self.lease = lease
        #: Position of the state before the journal's first entry ever.
        self.base_position = base_position
        self.lost = trio.Event()
        self._clock = clock
        self._certain_until_ns = certain_until_ns
        self._held: deque[Callable[[], None]] = deque()

    @property
    def is_lost(self) -> bool:
        """Whether the term is over."""
        return self.lost.is_set()

    def uncertain_ns(self) -> int:
        """For how long it has not been certain that nobody else leads; 0 or less while it is."""
        return self._clock.monotonic_ns() - self._certain_until_ns

    def is_certain(self) -> bool:
        """Whether it is certain that nobody else leads."""
        return not self.lost.is_set() and self.uncertain_ns() < 0

    def when_certain(self, act: Callable[[], None]) -> None:
        """Call act() while it is certain that nobody else leads: now, or after a renewal; never if the leadership is lost."""
        if self.lost.is_set():
            return
        if self._held or self.uncertain_ns() >= 0:
            self._held.append(act)
        else:
            act()

    def renewed(self, until_ns: int) -> None:
        """The lease lives until then at least."""
        self._certain_until_ns = max(self._certain_until_ns, until_ns)
        while self._held and self.uncertain_ns() < 0:
            self._held.popleft()()

    def lose(self, reason: str) -> None:
        """The term is over."""
        if not self.lost.is_set():
            log.warning("leadership lost", term=self.term, reason=reason)
            self._held.clear()
            self.lost.set()


class Election:
    """This server's part in it. `prefix` is the cluster's in etcd."""

    def __init__(self, etcd: Etcd, prefix: bytes, me: LeaderName, clock: Clock, *, lease_s: int) -> None:
        self._etcd = etcd
        self._key = prefix + b"leader"
        self._successor_key = prefix + b"successor"
        self._me = me
        self._clock = clock
        self._lease_s = lease_s
        #: Who led when it was last looked.
        self.leader = NOBODY
        #: Since which revision the newest leader that was seen has led, or did; 0 if none was.
        self.since_revision = 0

    @property
    def key(self) -> bytes:
        """The leader's key, for who watches it."""
        return self._key

    async def campaign(self, base_term: int, base_position: int) -> Leadership | None:
        """Lead, if nobody does. Raises EtcdUnavailable: then we do not, or not for longer than a lease."""
        if not await self._may_stand():
            return None
        sent_ns = self._clock.monotonic_ns()
        lease, ttl_s = await self._etcd.grant(self._lease_s)
        try:
            done = await self._etcd.transact([Absent(self._key)], [Put(self._key, _pack(self._me), lease)], [Get(self._key)])
        except (EtcdUnavailable, EtcdFull, LeaseEnded):
            await self._give_back(lease)
            raise
        if not done.succeeded:
            self.note(done.found[0][0])
            await self._give_back(lease)
            return None
        self.leader, self.since_revision = self._me, done.revision
        until_ns = sent_ns + int(ttl_s * 1e9 * _TRUSTED)
        holds = CreatedAt(self._key, done.revision)
        log.info("elected", term=base_term + done.revision)
        return Leadership(holds, base_term + done.revision, lease, base_position, until_ns, self._clock)

    async def _may_stand(self) -> bool:
        """Whether nobody leads, and nobody else is named to be next."""
        leaders, successors = (await self._etcd.transact([], [Get(self._key), Get(self._successor_key)])).found
        self.note(leaders[0] if leaders else None)
        return not leaders and all(pair.value == self._me.name.encode() for pair in successors)

    def note(self, pair: KeyValue | None) -> None:
        """What the leader's key says now; None: it is not there."""
        self.leader = NOBODY if pair is None else unpack_name(pair.value)
        if pair is not None:
            self.since_revision = pair.create_revision

    async def keep(self, leadership: Leadership) -> None:
        """Renew the lease until cancelled, or the leadership is lost."""
        pause_s = self._lease_s / _RENEWALS
        while not leadership.is_lost:
            await trio.sleep(pause_s)
            sent_ns = self._clock.monotonic_ns()
            try:
                ttl_s = await self._etcd.keep_alive(leadership.lease, timeout_s=self._lease_s / _RENEWALS)
            except EtcdUnavailable as error:
                log.info("a renewal was not answered", term=leadership.term, reason=str(error))
                if leadership.uncertain_ns() > GIVE_UP_NS:
                    leadership.lose("etcd has not answered for too long")
                pause_s = _RETRY_S
                continue
            pause_s = self._lease_s / _RENEWALS
            if ttl_s <= 0:
                leadership.lose("its lease ended before it was renewed")
            else:
                leadership.renewed(sent_ns + int(ttl_s * 1e9 * _TRUSTED))

    async def resign(self, leadership: Leadership, successor: str = "") -> None:
        """Let another one lead at once: `successor`, if one is named. Best effort: the lease ends by itself too."""
        with trio.move_on_after(self._lease_s, shield=True), suppress(EtcdUnavailable, EtcdFull, LeaseEnded):
            if successor:
                lease, _ = await self._etcd.grant(_SUCCESSOR_TTL_S)
                await self._etcd.transact([leadership.holds], [Put(self._successor_key, successor.encode(), lease)])
            await self._etcd.revoke(leadership.lease)
        leadership.lose(f"handed over to {successor}" if successor else "resigned")

    async def _give_back(self, lease: int) -> None:
        with trio.move_on_after(self._lease_s, shield=True), suppress(EtcdUnavailable):
            await self._etcd.revoke(lease)


def _pack(name: LeaderName) -> bytes:
    return pack((name.name, name.address))


def unpack_name(value: bytes) -> LeaderName:
    """Who the value of the leader's key names."""
    return LeaderName(*unpack(value))
