"""What the disks say of a file: every part of its objects, read and verified by the nodes that hold them."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.cli.checking.holders import damage_of
from ringfs.cli.checking.nodes import HoldingNode
from ringfs.cli.locate import read_extents
from ringfs.cli.session import Session
from ringfs.ring.parts import Part
from ringfs.wire.messages.common import Attributes

#: Parts that one node verifies at once.
_AT_ONCE = 4
#: Outcomes that are kept: small files share objects, and an object need not be read for each of them.
_KEPT_MAX = 4096


@dataclass(frozen=True, slots=True)
class BadPart:
    """A part that its node found to be wrong; it mends it from the others, if they have it."""

    object: str
    node: str
    part: str
    what: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one object: how many parts were read, and which are bad."""

    verified: int
    bad: tuple[BadPart, ...]


class PartVerifier:
    """Has parts verified; each object once, as long as its outcome is kept."""

    def __init__(self, session: Session, nodes: Sequence[HoldingNode]) -> None:
        self._session = session
        self._nodes = nodes
        self._limits = {node.name: trio.CapacityLimiter(_AT_ONCE) for node in nodes}
        self._outcomes: OrderedDict[bytes, Outcome] = OrderedDict()
        #: Objects that are being verified, and what is set when they are.
        self._pending: dict[bytes, trio.Event] = {}

    async def verify(self, attributes: Attributes) -> list[Outcome]:
        """One for each object that the file points to. Raises Refused."""
        found: list[Outcome] = []
        async for answer in read_extents(self._session, attributes):
            oids = dict.fromkeys(extent.source for extent in answer.extents if extent.object_offset >= 0)
            for start in range(0, len(oids), PAGE_ENTRIES_MAX):
                found += await self._verify_objects(list(oids)[start : start + PAGE_ENTRIES_MAX])
        return found

    async def _verify_objects(self, oids: Sequence[bytes]) -> list[Outcome]:
        """Those that are being verified for another file are waited for."""
        outcomes: dict[bytes, Outcome] = {}
        while missing := [oid for oid in oids if oid not in outcomes]:
            outcomes |= {oid: self._outcomes[oid] for oid in missing if oid in self._outcomes}
            new = [oid for oid in missing if oid not in outcomes and oid not in self._pending]
            outcomes |= await self._verify_new(new) if new else {}
            for oid in missing:
                if oid not in outcomes and oid in self._pending:
                    await self._pending[oid].wait()
        return [outcomes[oid] for oid in oids]

    async def _verify_new(self, oids: Sequence[bytes]) -> dict[bytes, Outcome]:
        done = trio.Event()
        self._pending |= dict.fromkeys(oids, done)
        said: dict[bytes, list[BadPart | None]] = {oid: [] for oid in oids}

        async def ask(node: HoldingNode) -> None:
            held = await node.held(oids)
            async with trio.open_nursery() as nursery:
                for oid, part in held:
                    nursery.start_soon(self._verify_one, node, oid, part, said[oid])

        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(ask, node)
        outcomes = {oid: _outcome(each) for oid, each in said.items()}
        self._keep(outcomes)
        done.set()
        return outcomes

    def _keep(self, outcomes: dict[bytes, Outcome]) -> None:
        self._outcomes |= outcomes
        for oid in outcomes:
            del self._pending[oid]
        while len(self._outcomes) > _KEPT_MAX:
            self._outcomes.popitem(last=False)

    async def _verify_one(self, node: HoldingNode, oid: bytes, part: Part, said: list[BadPart | None]) -> None:
        async with self._limits[node.name]:
            outcome = await node.verify(oid, part)
        if outcome is None or (isinstance(outcome, Refused) and outcome.code is Code.NOT_HELD):
            return  # it went silent, or was moved meanwhile
        damage = damage_of(outcome)
        said.append(BadPart(oid.hex(), node.name, str(part), damage) if damage else None)


def _outcome(said: Iterable[BadPart | None]) -> Outcome:
    verdicts = list(said)
    return Outcome(len(verdicts), tuple(each for each in verdicts if each is not None))
