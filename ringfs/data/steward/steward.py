"""The steward of one data node: passes through its share of the ids, the work that they find, the scrub, and its reports.

Nothing that goes wrong with other nodes or the leader ends it: what could not be done is found again by the next pass. Nothing is
kept on disk but the scrub's cursor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.config import RingConfig
from ringfs.base.errors import ConnectionLost, Refused
from ringfs.data.steward.audit import Audit
from ringfs.data.steward.compaction import Compactor
from ringfs.data.steward.counts import Counts
from ringfs.data.steward.cursor import Keeper
from ringfs.data.steward.heap import DueObjects
from ringfs.data.steward.mending import End, Mender
from ringfs.data.steward.outlook import Outlook, Outlooks
from ringfs.data.steward.reach import Member, Reach
from ringfs.data.steward.scrub import LocalParts, Scrubber
from ringfs.data.steward.share import Share, share_of
from ringfs.data.steward.survey import Found, Survey
from ringfs.data.steward.throttle import Throttle
from ringfs.objects.nodes import DataNodes
from ringfs.objects.objects import Objects

log = structlog.get_logger("ringfs.data.steward")

#: Objects that are worked on at one time: each has up to twice its size in memory.
WORKERS = 4
REPORT_S = 3.0
#: A new map is gone by once there was no newer one for so long, or there was one after the other for so long.
_SETTLE_S = 1.0
_SETTLE_S_MAX = 5.0
#: How often a worker with nothing to do looks.
_LOOK_S = 0.25
#: After a pass that left something to do the next one comes sooner: after the first, or twice as long, and so on, to the second.
_AGAIN_S = 2.0
_AGAIN_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Disk:
    """What a steward needs of its node's disk. is_busy: clients want something of the node just now."""

    parts: LocalParts
    keeper: Keeper
    audit: Audit
    is_busy: Callable[[], bool]


class Steward:
    """See the module. `objects` and `nodes` are its own: what it reads has nothing to do with what clients know."""

    def __init__(self, member: Member, objects: Objects, nodes: DataNodes, disk: Disk, settings: RingConfig, clock: Clock) -> None:
        self._member = member
        self._settings = settings
        self.counts = Counts()
        self._reach = Reach(member, nodes)
        self._outlooks = Outlooks(self._reach, objects.follow)
        throttle = Throttle(settings.heal_bytes_per_s, disk.is_busy)
        self._mender = Mender(self._reach, self._outlooks, objects, throttle, self.counts, clock)
        self._due = DueObjects()
        self._survey = Survey(self._reach, self._outlooks, self._due, self.counts, clock, settings.sweep_after_s)
        self._compactor = Compactor(self._reach, objects, throttle)
        self.scrubber = Scrubber(
            disk.parts, disk.keeper, disk.audit, self._mender.mend, self.counts, clock, settings.scrub_period_s
        )
        #: A pass goes on, which may find something to do.
        self._is_passing = trio.Event()
        #: Nothing is due any more.
        self._is_done = trio.Event()
        #: Objects that workers have in hand, and how many of the latest pass were not settled.
        self._working = 0
        self._unsettled = 0

    async def run(self) -> None:
        """For ever; begins when the node has joined."""
        await self._member.wait_map(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.scrubber.run)
            nursery.start_soon(self._report)
            for _ in range(WORKERS):
                nursery.start_soon(self._work)
            nursery.start_soon(self._look_after_share)

    # --- passes -------------------------------------------------------------------------------------------------------

    async def _look_after_share(self) -> None:
        """One pass after the other: soon after one that did something, later and later while that is not possible; else after a
        long while, or a new map."""
        again_s = _AGAIN_S
        while True:
            outlook = await self._settled()
            share = share_of(outlook.map, self._member.number)
            found = None if share is None else await self._pass(outlook, share)
            if share is None or (found is not None and found.is_done):
                again_s = _AGAIN_S
                if found is None:
                    await self._until_changed(outlook, self._settings.scan_s)
                else:
                    await self._finish(outlook, found)
                continue
            if found is not None:
                self.counts.clean_epoch = 0
            gets_on = found is not None and found.due_count > 0 and not self._unsettled
            again_s = _AGAIN_S if gets_on else min(2 * again_s, _AGAIN_S_MAX)
            await self._until_changed(outlook, min(again_s, self._settings.scan_s))

    async def _finish(self, outlook: Outlook, found: Found) -> None:
        """All is well: there is time to compact, until the next pass."""
        if self.counts.clean_epoch != outlook.map.epoch:
            self.counts.clean_epoch = outlook.map.epoch
            await self._report_once(0)
        until_s = trio.current_time() + self._settings.scan_s
        compact = partial(self._compactor.run, found.sparse, lambda: trio.current_time() < until_s)
        await self._outlooks.run_while_latest(outlook, compact)
        await self._until_changed(outlook, until_s - trio.current_time())

    async def _pass(self, outlook: Outlook, share: Share) -> Found | None:
        """Go through the share, and have workers do what is due. None: there is a new map, or the leader did not answer."""
        self._unsettled = 0
        found: Found | None = None
        self._is_passing.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_changed, outlook, nursery.cancel_scope)
            found = await self._surveyed(outlook, share)
            await self._until_done()
            nursery.cancel_scope.cancel()
        self._is_passing = trio.Event()
        return found if self._outlooks.is_latest(outlook) else None

    async def _until_done(self) -> None:
        """Until nothing is due any more."""
        self._is_done = trio.Event()
        if self._due or self._working:
            await self._is_done.wait()

    async def _surveyed(self, outlook: Outlook, share: Share) -> Found | None:
        """See _pass."""
        try:
            return await self._survey.run(outlook, share)
        except (Refused, ConnectionLost) as error:
            log.info("a pass was given up", reason=str(error))
            self._unsettled += 1
            return None

    async def _settled(self) -> Outlook:
        """The newest map, once it has been that for a while; if maps go on changing, the one of then."""
        latest_s = trio.current_time() + _SETTLE_S_MAX
        while True:
            outlook = self._outlooks.latest()
            wait_s = min(outlook.since_s + _SETTLE_S, latest_s) - trio.current_time()
            if wait_s <= 0:
                return outlook
            await trio.sleep(wait_s)

    async def _until_changed(self, outlook: Outlook, most_s: float) -> None:
        """Until there is a new map, for that long at most."""
        with trio.move_on_after(max(0.0, most_s)):
            await self._member.wait_map(outlook.map.epoch)

    async def _cancel_when_changed(self, outlook: Outlook, scope: trio.CancelScope) -> None:
        """But have the survey get on in any case: maps may change faster than that takes."""
        await self._member.wait_map(outlook.map.epoch)
        await self._survey.got_on.wait()
        scope.cancel()

    async def _work(self) -> None:
        """For ever: take what is most endangered. A new map ends nothing that was begun: each step goes by the newest one."""
        while True:
            due = self._due.pop()
            if due is not None:
                self._working += 1
                try:
                    self._unsettled += await self._mender.settle(due.oid) is not End.SETTLED
                finally:
                    self._working -= 1
                    if not self._due and not self._working:
                        self._is_done.set()
            else:
                await self._is_passing.wait()
                await trio.sleep(_LOOK_S)

    # --- reports ------------------------------------------------------------------------------------------------------

    async def _report(self) -> None:
        """Every REPORT_S."""
        worked_bytes = self.counts.worked_bytes
        while True:
            await trio.sleep(REPORT_S)
            before_bytes, worked_bytes = worked_bytes, self.counts.worked_bytes
            await self._report_once(int((worked_bytes - before_bytes) / REPORT_S))

    async def _report_once(self, rate_bytes_per_s: int) -> None:
        report = self.counts.report(
            self._member.number,
            queued=len(self._due) + self._working,
            queued_bytes=self._due.size_bytes,
            endangered=self._due.endangered(),
            rate_bytes_per_s=rate_bytes_per_s,
        )
        try:
            await self._reach.ask_leader(report)
        except (Refused, ConnectionLost) as error:
            log.debug("a report was not taken", reason=str(error))
