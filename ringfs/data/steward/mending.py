"""Carrying out what is decided for one object: parts made or moved, its form changed, surplus dropped; and a bad part made anew.

Before each step the object is looked at anew, so that a step may be cut short, or done twice, at any point: nothing is remembered.
Not here: what is to be done (ring/healing.py), and how parts are made of others (objects/moving.py).
"""

import enum
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import structlog

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.ids import NodeId
from ringfs.base.limits import KIB
from ringfs.data.steward.counts import Counts
from ringfs.data.steward.outlook import DROP_TIMEOUT_S, Outlook, Outlooks
from ringfs.data.steward.reach import Reach
from ringfs.data.steward.seeing import Sight, see_one
from ringfs.data.steward.share import share_of
from ringfs.data.steward.throttle import Throttle
from ringfs.ring.classes import ReplicaClass, ServiceClass, parse_class
from ringfs.ring.healing import ChangeForm, DropPart, Healing, MakePart, decide
from ringfs.ring.parts import Part, form_bytes, part_bytes, parts_of, unpack_part
from ringfs.wire.messages.cluster import Node
from ringfs.wire.messages.data import Drop, SurplusPart
from ringfs.wire.messages.heal import LiveObject, Reform, Reformed

log = structlog.get_logger("ringfs.data.steward")

#: Making, changing the form and dropping are three; nodes that turn out to be full are some more.
_STEPS_MAX = 8
#: What a look at an object costs, as the throttle counts: small objects, too, take time of the leader and of all nodes.
_LOOK_BYTES = 128 * KIB


class End(enum.Enum):
    """How it stands with an object."""

    #: Nothing is left to do here: metadata does not know the object, or it is another steward's by now.
    SETTLED = enum.auto()
    #: Something is, but not now: nodes are down or full, or it is too soon to take parts away.
    WAITING = enum.auto()
    #: It was tried, and did not succeed.
    FAILED = enum.auto()


class PartMaker(Protocol):
    """Who makes parts of whatever parts there are (objects/objects.py). Raises Refused: NO_SPACE if a target is full, IO."""

    async def make_part(self, oid: bytes, part: Part, target: Node) -> int:
        """Have a node hold a part: how many bytes it has."""
        ...

    async def make_all(self, oid: bytes, form: ServiceClass, targets: Sequence[Node]) -> int:
        """The same for all parts of a form, the i-th on the i-th target: how many bytes they have together."""
        ...


def held_parts(sight: Sight) -> dict[NodeId, dict[Part, int]]:
    """What the nodes hold of an object, as decide() wants it. Parts that no correct node has are left out."""
    held = {}
    for number, rows in sight.held.items():
        parts = {part: row.birth_ns for row in rows if (part := unpack_part(row.part)) is not None}
        if parts:
            held[NodeId(number)] = parts
    return held


class Mender:
    """See the module."""

    def __init__(
        self, reach: Reach, outlooks: Outlooks, maker: PartMaker, throttle: Throttle, counts: Counts, clock: Clock
    ) -> None:
        self._reach = reach
        self._outlooks = outlooks
        self._maker = maker
        self._throttle = throttle
        self._counts = counts
        self._clock = clock

    async def settle(self, oid: bytes) -> End:
        """Do for an object what is to be done."""
        try:
            return await self._settle(oid)
        except (Refused, ConnectionLost) as error:
            log.info("an object could not be healed now", object=oid.hex(), reason=str(error))
            return End.FAILED

    async def _settle(self, oid: bytes) -> End:
        for _ in range(_STEPS_MAX):
            await self._throttle.take(_LOOK_BYTES)
            outlook = self._outlooks.latest()
            share = share_of(outlook.map, self._reach.member.number)
            if share is None or not share.has(oid):
                return End.SETTLED
            sight = await see_one(self._reach, outlook.map, oid)
            if sight.row is None:
                return End.SETTLED
            nodes = self._outlooks.nodes(outlook, sight.silent)
            healing = decide(sight.row, held_parts(sight), nodes, self._clock.wall_ns())
            if not healing.actions:
                return End.SETTLED if healing.is_settled else End.WAITING
            if not await self._do(sight.row, healing, outlook):
                return End.WAITING
        return End.FAILED

    async def _do(self, row: LiveObject, healing: Healing, outlook: Outlook) -> bool:
        """One step. False if it is too soon for it."""
        makes = [action for action in healing.actions if isinstance(action, MakePart)]
        if makes:
            await self._make(row, makes, is_move=healing.is_move)
            return True
        if not self._outlooks.may_take_away(outlook):
            return False
        await self._outlooks.run_while_latest(outlook, partial(self._take_away, row, healing, outlook))
        return True

    async def _take_away(self, row: LiveObject, healing: Healing, outlook: Outlook) -> None:
        """The steps that take something away; drops as long as that is allowed."""
        for action in healing.actions:
            if isinstance(action, ChangeForm):
                await self._change_form(row, action)
        for action in healing.actions:
            if isinstance(action, DropPart) and self._outlooks.may_take_away(outlook):
                await self._drop(row.object, action)

    # --- steps --------------------------------------------------------------------------------------------------------

    async def _make(self, row: LiveObject, makes: Sequence[MakePart], *, is_move: bool) -> None:
        """Have nodes hold parts. If all of a form are missing, the object is read once for them."""
        parts = [make.part for make in makes]
        form = parse_class(parts[0].form) if parts[0].form else ReplicaClass(1)
        if len(parts) > 1 and sorted(parts) == parts_of(form):
            nodes = {make.part: make.node for make in makes}
            await self._throttle.take(row.size_bytes + form_bytes(form, row.size_bytes))
            made = self._maker.make_all(row.object, form, [self._reach.node(nodes[part]) for part in parts_of(form)])
            self._count(len(parts), await made, is_move=is_move)
            return
        for make in makes:
            await self._make_one(row, make, is_move=is_move)

    async def _make_one(self, row: LiveObject, make: MakePart, *, is_move: bool) -> None:
        """What has to be read for it counts for the throttle too: for a part that nobody has, about all of the object."""
        size_bytes = part_bytes(make.part, row.size_bytes)
        await self._throttle.take(size_bytes + (size_bytes if make.holders else row.size_bytes))
        try:
            made_bytes = await self._maker.make_part(row.object, make.part, self._reach.node(make.node))
        except Refused as refused:
            if refused.code is not Code.NO_SPACE:
                raise
            # The next look finds another place for it.
            self._outlooks.note_full(make.node)
        else:
            self._count(1, made_bytes, is_move=is_move)

    def _count(self, part_count: int, size_bytes: int, *, is_move: bool) -> None:
        if is_move:
            self._counts.moved_parts += part_count
            self._counts.moved_bytes += size_bytes
        else:
            self._counts.healed_parts += part_count
            self._counts.healed_bytes += size_bytes

    async def _change_form(self, row: LiveObject, change: ChangeForm) -> None:
        done = await self._reach.ask_leader(Reform([Reformed(row.object, change.old_form, change.new_form)]))
        if row.object in done.objects:
            self._counts.reformed_objects += 1
            log.info("stored in another form", object=row.object.hex(), old=change.old_form, new=change.new_form)

    async def _drop(self, oid: bytes, drop: DropPart) -> None:
        surplus = SurplusPart(oid, drop.part.pack(), drop.birth_ns)
        dropped = await self._reach.ask(self._reach.node(drop.node), Drop([surplus]), timeout_s=DROP_TIMEOUT_S)
        self._counts.dropped_parts += dropped.count

    # --- bad parts of this node's disk --------------------------------------------------------------------------------

    async def mend(self, oid: bytes, part: Part) -> bool:
        """See scrub.Mend."""
        outlook = self._outlooks.latest()
        sight = await see_one(self._reach, outlook.map, oid)
        if sight.row is None:
            return False
        await self._throttle.take(part_bytes(part, sight.row.size_bytes) + sight.row.size_bytes)
        await self._maker.make_part(oid, part, self._reach.node(self._reach.member.number))
        return True
