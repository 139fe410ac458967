"""One pass through a steward's share: what is to be done for each object, what nobody knows any more, what is sparsely live."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.limits import MIB
from ringfs.data.steward.counts import Counts
from ringfs.data.steward.heap import Due, DueObjects
from ringfs.data.steward.looked import LookedAt
from ringfs.data.steward.mending import held_parts
from ringfs.data.steward.outlook import Outlook, Outlooks
from ringfs.data.steward.reach import Reach
from ringfs.data.steward.seeing import Sight, see_share
from ringfs.data.steward.share import Share, behind
from ringfs.ring.classes import parse_class
from ringfs.ring.healing import ChangeForm, Healing, KnownNodes, MakePart, decide
from ringfs.ring.parts import part_bytes
from ringfs.wire.messages.cluster import NODE_UP
from ringfs.wire.messages.heal import LiveObject, Sweep

log = structlog.get_logger("ringfs.data.steward")

#: Ids in one Sweep; so many are gathered.
_SWEPT_TOGETHER = 512
#: Objects that are remembered as sparsely live; the next pass finds others.
_SPARSE_MAX = 1024
#: Smaller ones are not worth it.
_SPARSE_BYTES_MIN = MIB
#: Decisions between two turns of the event loop.
_DECISIONS = 64


@dataclass(slots=True)
class Found:
    """What a pass found. due_count: objects with something to do now; waiting_count: with something to do later. Of the latter,
    unreadable: cannot be read from the nodes that answer; unhealable: the same, and no node is away that may come back; exposed:
    would not survive the next loss. classes: of all objects."""

    due_count: int = 0
    waiting_count: int = 0
    unreadable: int = 0
    unhealable: int = 0
    exposed: int = 0
    classes: set[str] = field(default_factory=set)
    #: Nodes that may come back, and those that are up and did not say what they hold.
    absent: frozenset[int] = frozenset()
    unreached: frozenset[int] = frozenset()
    sparse: list[LiveObject] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Failure domains that the widest class needs."""
        return max((parse_class(text).width for text in self.classes), default=0)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do before a node comes back."""
        return not self.due_count and not self.unreached and (not self.waiting_count or bool(self.absent))


class Survey:
    """See the module. sweep_after_s: how old parts are that are offered to be condemned."""

    def __init__(
        self, reach: Reach, outlooks: Outlooks, due: DueObjects, counts: Counts, clock: Clock, sweep_after_s: float
    ) -> None:
        self._reach = reach
        self._outlooks = outlooks
        self._due = due
        self._counts = counts
        self._clock = clock
        self._sweep_after_ns = int(sweep_after_s * 1e9)
        #: In ascending order: those of the part of the share that is gone through.
        self._unknown: list[bytes] = []
        self._looked = LookedAt()
        #: The pass has got on; one that is ended before that would leave the next one with the same to do.
        self.got_on = trio.Event()

    async def run(self, outlook: Outlook, share: Share) -> Found | None:
        """A pass; what is due is added to the queue while it goes on. It begins with what was looked at longest ago. None: there is
        a new map. Raises Refused, ConnectionLost."""
        found = Found()
        self._looked.begin()
        self.got_on = trio.Event()
        self._counts.scanned_permille = 0
        try:
            for part in self._looked.parts(share):
                await self._go_through(outlook, share, part, found)
                if not self._outlooks.is_latest(outlook):
                    return None
        finally:
            self.got_on.set()
        counts = self._counts
        counts.seen_epoch, counts.seen_width = outlook.map.epoch, found.width
        counts.waiting, counts.unhealable = found.waiting_count, found.unhealable
        counts.exposed, counts.unreadable = found.exposed, found.unreadable
        return found

    async def _go_through(self, outlook: Outlook, share: Share, part: Share, found: Found) -> None:
        """A part of the share, or less if there is a new map."""
        self._unknown.clear()
        async for sights in see_share(self._reach, outlook.map, part):
            if self.got_on.is_set() and not self._outlooks.is_latest(outlook):
                return
            if sights:
                await self._take_all(outlook, sights, found)
                await self._sweep(_SWEPT_TOGETHER if self.got_on.is_set() else 1)
                self._note(share, Share(part.after, self._unknown[0] if self._unknown else behind(sights[-1].oid)))
            self.got_on.set()
        await self._sweep(1)
        self._note(share, part)

    def _note(self, share: Share, seen: Share) -> None:
        self._looked.note(seen)
        self._counts.scanned_permille = self._looked.permille(share)

    async def _take_all(self, outlook: Outlook, sights: Sequence[Sight], found: Found) -> None:
        silent = sights[0].silent
        nodes = self._outlooks.nodes(outlook, silent)
        found.absent = nodes.absent
        found.unreached = frozenset(node.node for node in outlook.map.nodes if node.state == NODE_UP and node.node in silent)
        for index, sight in enumerate(sights):
            if index % _DECISIONS == 0:
                await trio.lowlevel.checkpoint()
            self._take(sight, nodes, found)

    def _take(self, sight: Sight, nodes: KnownNodes, found: Found) -> None:
        if sight.row is None:
            self._look_at_unknown(sight)
            return
        found.classes.add(sight.row.stored_class)
        healing = decide(sight.row, held_parts(sight), nodes, self._clock.wall_ns())
        if healing.actions:
            found.due_count += 1
            self._due.add(Due(healing.endangerment, sight.oid, _cost_bytes(sight.row, healing)))
        elif not healing.is_settled:
            _count_waiting(sight.row, healing, nodes, found)
        if _is_sparse(sight.row) and len(found.sparse) < _SPARSE_MAX:
            found.sparse.append(sight.row)

    def _look_at_unknown(self, sight: Sight) -> None:
        """Old parts of it only: a young one may be about to be committed."""
        newest_ns = max(row.birth_ns for rows in sight.held.values() for row in rows)
        if newest_ns + self._sweep_after_ns < self._clock.wall_ns():
            self._unknown.append(sight.oid)

    async def _sweep(self, at_least: int) -> None:
        while len(self._unknown) >= at_least:
            together, self._unknown = self._unknown[:_SWEPT_TOGETHER], self._unknown[_SWEPT_TOGETHER:]
            done = await self._reach.ask_leader(Sweep(self._reach.member.number, together))
            self._counts.swept_objects += done.count
            if done.count:
                log.info("objects that no file refers to are condemned", count=done.count)


def _count_waiting(row: LiveObject, healing: Healing, nodes: KnownNodes, found: Found) -> None:
    found.waiting_count += 1
    if healing.endangerment < 0:
        found.unreadable += bool(nodes.absent)
        found.unhealable += not nodes.absent
    else:
        found.exposed += healing.endangerment == 0 < parse_class(row.stored_class).tolerance


def _is_sparse(row: LiveObject) -> bool:
    return row.size_bytes >= _SPARSE_BYTES_MIN and 2 * row.live_bytes < row.size_bytes


def _cost_bytes(row: LiveObject, healing: Healing) -> int:
    makes = sum(part_bytes(action.part, row.size_bytes) for action in healing.actions if isinstance(action, MakePart))
    return makes + sum(row.size_bytes for action in healing.actions if isinstance(action, ChangeForm))
