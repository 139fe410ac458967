"""Steps for one object, with a leader and nodes that only know what a test tells them: order, patience, and what goes wrong."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import DELETE_GRACE_NS
from ringfs.data.steward.counts import Counts
from ringfs.data.steward.mending import End, Mender
from ringfs.data.steward.outlook import CALM_S, CONFIRMED_S, Outlooks
from ringfs.data.steward.throttle import Throttle
from ringfs.ring.classes import ServiceClass, parse_class
from ringfs.ring.parts import COPY, Part, parts_of
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_DOWN, NODE_UP, STANDING_IN, STANDING_LOST, ClusterMap, Node
from ringfs.wire.messages.data import WHOLE, Drop, Dropped, ListObjects, ObjectPage, ObjectRow
from ringfs.wire.messages.heal import ListLive, LiveObject, LivePage, Reform, ReformDone
from tests.support.meta_doubles import TrioClock

OID = bytes(range(20))
SIZE_BYTES = 300_000


class Ringlet:
    """A Member, a Reach and a PartMaker: four nodes and one object. `log` has what was done, in order."""

    def __init__(self, stored_class: str = "replica:2", form: str = "") -> None:
        self.clock = TrioClock()
        self.row: LiveObject | None = LiveObject(OID, SIZE_BYTES, SIZE_BYTES, stored_class, form or stored_class)
        self.map = self.mapped()
        self.number = 1
        self.confirmed_s = 0.0
        #: Node → part → birth.
        self.held: dict[int, dict[Part, int]] = {number: {} for number in range(1, 5)}
        self.silent: set[int] = set()
        self.full: set[int] = set()
        self.refusal: Refused | None = None
        self.agrees = True
        self.log: list[str] = []
        #: How long making a part, and dropping one, takes.
        self.make_s = self.drop_s = 0.0
        self.news = trio.Event()

    @staticmethod
    def mapped(epoch: int = 1, **states: tuple[int, int]) -> ClusterMap:
        """Nodes 1 to 4, up and in but for those of which something else is said, as d1=(state, standing)."""
        nodes = [
            Node(
                n,
                f"00000000-0000-0000-0000-{n:012d}",
                f"d{n}",
                f"d{n}:1",
                f"r{n}",
                100,
                *states.get(f"d{n}", (NODE_UP, STANDING_IN)),
            )
            for n in range(1, 5)
        ]
        return ClusterMap(epoch, "c", nodes)

    @property
    def member(self) -> "Ringlet":
        """See Reach."""
        return self

    def places(self, width: int) -> list[int]:
        """Where the object's parts belong."""
        return [int(number) for number in Ring(self.map).desired(OID, width)]

    def others(self, width: int) -> list[int]:
        """The nodes where they do not."""
        return [number for number in range(1, 5) if number not in self.places(width)]

    def node(self, number: int) -> Node:
        """See Reach."""
        return self.map.nodes[number - 1]

    def hold(self, number: int, part: Part = COPY, age_s: float = 1000.0) -> None:
        """A node has a part for so long."""
        self.held[number][part] = self.clock.wall_ns() - int(age_s * 1e9)

    async def wait_map(self, epoch: int) -> None:
        """See Member."""
        while self.map.epoch == epoch:
            await self.news.wait()

    def change_map(self, cluster_map: ClusterMap) -> None:
        """There is a newer one."""
        self.map = cluster_map
        self.news.set()
        self.news = trio.Event()

    async def ask_leader(self, request: Any) -> Any:
        """See Reach."""
        await trio.lowlevel.checkpoint()
        match request:
            case ListLive():
                return LivePage([self.row] if self.row else [], False)
            case Reform():
                (change,) = request.objects
                self.log.append(f"{change.old_form} is {change.new_form}")
                if self.agrees and self.row is not None:
                    self.row.form = change.new_form
                return ReformDone([OID] if self.agrees else [])

    async def ask(self, node: Node, request: Any, *, timeout_s: float = 0) -> Any:
        """See Reach."""
        await trio.lowlevel.checkpoint()
        if node.node in self.silent:
            raise ConnectionLost("silent")
        held = self.held[node.node]
        match request:
            case ListObjects():
                # In pages of one, to have them turned.
                rows = [ObjectRow(OID, SIZE_BYTES, birth, part.pack()) for part, birth in sorted(held.items())]
                rows.append(ObjectRow(bytes([255]) * 20, 1, 0, WHOLE))
                left = [row for row in rows if row.object + row.part > request.after]
                return ObjectPage(left[:1], len(left) > 1)
            case Drop():
                await trio.sleep(self.drop_s)
                (surplus,) = request.parts
                part = Part(*surplus.part)
                assert held[part] == surplus.birth_ns
                del held[part]
                self.log.append(f"drop {part} on {node.node}")
                return Dropped(1)

    async def make_part(self, oid: bytes, part: Part, target: Node) -> int:
        """See PartMaker."""
        await trio.lowlevel.checkpoint()
        assert oid == OID
        if self.refusal is not None:
            raise self.refusal
        await trio.sleep(self.make_s)
        if target.node in self.full:
            raise Refused(Code.NO_SPACE)
        self.log.append(f"make {part} on {target.node}")
        self.hold(target.node, part, age_s=0)
        return 100

    async def make_all(self, oid: bytes, form: ServiceClass, targets: Sequence[Node]) -> int:
        """See PartMaker."""
        self.log.append("all at once")
        for part, target in zip(parts_of(form), targets, strict=True):
            await self.make_part(oid, part, target)
        return 1000


class Trial:
    """A mender in a ringlet that has been calm for a while."""

    def __init__(self, ringlet: Ringlet) -> None:
        self.ringlet = ringlet
        self.counts = Counts()
        self.outlooks = Outlooks(ringlet, lambda _map: None)  # type: ignore[arg-type]
        throttle = Throttle(1e9, lambda: False)
        self.mender = Mender(ringlet, self.outlooks, ringlet, throttle, self.counts, ringlet.clock)  # type: ignore[arg-type]
        self.outlooks.latest()

    async def settle(self, *, calm: bool = True) -> End:
        """Have the object settled."""
        if calm:
            await trio.sleep(CALM_S)
        self.ringlet.confirmed_s = trio.current_time()
        return await self.mender.settle(OID)


async def test_nothing_is_done_for_what_is_as_it_should_be(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet()
    for number in ringlet.places(2):
        ringlet.hold(number)
    assert await Trial(ringlet).settle() is End.SETTLED
    ringlet.row = None
    assert await Trial(ringlet).settle() is End.SETTLED
    assert ringlet.log == []


async def test_a_part_is_moved_before_the_old_one_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet()
    (right, missing), wrong = ringlet.places(2), ringlet.others(2)[0]
    ringlet.hold(right)
    ringlet.hold(wrong)
    trial = Trial(ringlet)
    assert await trial.settle() is End.SETTLED
    assert ringlet.log == [f"make copy on {missing}", f"drop copy on {wrong}"]
    assert (trial.counts.moved_parts, trial.counts.healed_parts, trial.counts.dropped_parts) == (1, 0, 1)


async def test_young_surplus_waits(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet()
    for number in ringlet.places(2):
        ringlet.hold(number)
    ringlet.hold(ringlet.others(2)[0], age_s=1)
    trial = Trial(ringlet)
    assert await trial.settle() is End.WAITING
    await trio.sleep(DELETE_GRACE_NS / 1e9)
    assert await trial.settle() is End.SETTLED
    assert len(ringlet.log) == 1


async def test_nothing_is_taken_away_under_a_map_that_is_new_or_may_be_old(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet()
    for number in (*ringlet.places(2), ringlet.others(2)[0]):
        ringlet.hold(number)
    trial = Trial(ringlet)
    assert await trial.settle(calm=False) is End.WAITING
    await trio.sleep(CALM_S)
    ringlet.confirmed_s = trio.current_time() - CONFIRMED_S
    assert await trial.mender.settle(OID) is End.WAITING
    assert ringlet.log == []
    ringlet.map = ringlet.mapped(2)
    assert await trial.settle(calm=False) is End.WAITING
    assert await trial.settle() is End.SETTLED
    assert len(ringlet.log) == 1


async def test_a_new_map_ends_what_takes_away_and_nothing_else(autojump_clock: trio.testing.MockClock) -> None:
    """A drop that is under way is given up; a part that is being made is finished, and then the newest map says what follows."""
    ringlet = Ringlet()
    right, missing = ringlet.places(2)
    ringlet.hold(right)
    ringlet.hold(ringlet.others(2)[0])
    ringlet.make_s = ringlet.drop_s = 4.0
    trial = Trial(ringlet)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trial.settle)
        await trio.sleep(CALM_S + 1)
        ringlet.change_map(ringlet.mapped(2))
        await trio.sleep(5)
    assert ringlet.log == [f"make copy on {missing}"], "and a map that is new lets nothing be taken away"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trial.settle)
        await trio.sleep(CALM_S + 1)
        ringlet.change_map(ringlet.mapped(3))
    assert len(ringlet.log) == 1


async def test_an_object_that_is_another_stewards_by_now_is_left_to_it(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet()
    ringlet.hold(ringlet.places(2)[0])
    ringlet.number = 2
    assert await Trial(ringlet).settle() is End.SETTLED
    ringlet.number = 9
    assert await Trial(ringlet).settle() is End.SETTLED
    assert ringlet.log == []


async def test_copies_become_fragments_and_only_then_go(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet("ec:2+1", "replica:2")
    holders = [ringlet.places(3)[0], ringlet.others(3)[0]]
    for number in holders:
        ringlet.hold(number)
    trial = Trial(ringlet)
    ringlet.agrees = False
    # The leader does not agree: the object has another class by now, or is dead.
    assert await trial.settle() is End.FAILED
    assert not any(line.startswith("drop") for line in ringlet.log)
    ringlet.log.clear()
    ringlet.agrees = True
    assert await trial.settle() is End.SETTLED
    assert ringlet.log == ["replica:2 is ec:2+1", *(f"drop copy on {number}" for number in sorted(holders))]
    assert trial.counts.reformed_objects == 1


async def test_all_parts_of_a_form_are_made_of_one_reading(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet("ec:2+1", "replica:2")
    for number in ringlet.places(2):
        ringlet.hold(number)
    trial = Trial(ringlet)
    assert await trial.settle() is End.SETTLED
    assert ringlet.log[0] == "all at once"
    assert sorted(part for parts in ringlet.held.values() for part in parts) == parts_of(parse_class("ec:2+1"))


async def test_a_full_node_is_passed_by(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet()
    right, full = ringlet.places(2)
    ringlet.hold(right)
    ringlet.full = {full}
    trial = Trial(ringlet)
    assert await trial.settle() is End.SETTLED
    stand_in = next(int(number) for number in Ring(ringlet.map).order(OID, 2) if number not in (right, full))
    assert ringlet.log == [f"make copy on {stand_in}"]


async def test_nodes_that_do_not_answer_are_waited_for_and_lost_ones_are_not(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet()
    right, away = ringlet.places(2)
    ringlet.hold(right)
    ringlet.silent = {away}
    trial = Trial(ringlet)
    assert await trial.settle() is End.WAITING
    ringlet.map = ringlet.mapped(2, **{f"d{away}": (NODE_DOWN, STANDING_IN)})
    assert await trial.settle() is End.WAITING
    ringlet.map = ringlet.mapped(3, **{f"d{away}": (NODE_DOWN, STANDING_LOST)})
    assert await trial.settle() is End.SETTLED
    assert ringlet.log == [f"make copy on {ringlet.places(2)[1]}"]
    assert trial.counts.healed_parts == 1


@pytest.mark.parametrize("error", [Refused(Code.IO), Refused(Code.CORRUPT)])
async def test_what_fails_ends_nothing(autojump_clock: trio.testing.MockClock, error: Refused) -> None:
    ringlet = Ringlet()
    ringlet.hold(ringlet.places(2)[0])
    ringlet.refusal = error
    trial = Trial(ringlet)
    assert await trial.settle() is End.FAILED
    ringlet.refusal = None
    assert await trial.settle() is End.SETTLED


async def test_a_bad_part_is_made_anew_here_if_it_is_needed(autojump_clock: trio.testing.MockClock) -> None:
    ringlet = Ringlet("ec:2+1")
    trial = Trial(ringlet)
    part = Part(2, 1, 2)
    assert await trial.mender.mend(OID, part)
    assert ringlet.log == [f"make {part} on 1"]
    ringlet.row = None
    assert not await trial.mender.mend(OID, part)
