"""A pass over a share: what becomes due, what is swept, what is sparse, and when it says that nothing is left to do."""

from typing import Any

import pytest
import trio
import trio.testing

from ringfs.base.errors import ConnectionLost
from ringfs.base.limits import HASH_BYTES, MIB
from ringfs.data.steward.counts import Counts
from ringfs.data.steward.heap import DueObjects
from ringfs.data.steward.outlook import Outlooks
from ringfs.data.steward.share import Share, before, share_of
from ringfs.data.steward.survey import Found, Survey
from ringfs.ring.parts import COPY
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_DOWN, NODE_UP, STANDING_IN, ClusterMap, Node
from ringfs.wire.messages.data import PART_BYTES, ListObjects, ObjectPage, ObjectRow
from ringfs.wire.messages.heal import ListLive, LiveObject, LivePage, Sweep, SweepDone
from tests.support.meta_doubles import TrioClock

ALL = Share(b"", b"")
SWEEP_AFTER_S = 1000.0
_PAGE = 7


def oid_of(number: int) -> bytes:
    """Ids all over the ring, ascending."""
    return (number << 150).to_bytes(20, "big")


class Cluster:
    """A Member and a Reach: three nodes, and live objects of replica:2."""

    def __init__(self) -> None:
        self.clock = TrioClock()
        self.number = 1
        self.confirmed_s = 0.0
        self.map = self.mapped(NODE_UP)
        self.live: dict[bytes, LiveObject] = {}
        self.held: dict[int, dict[bytes, int]] = {1: {}, 2: {}, 3: {}}
        self.silent: set[int] = set()
        self.leader_is_gone = False
        self.swept: list[bytes] = []
        self.member = self

    @staticmethod
    def mapped(state: int) -> ClusterMap:
        """The third node has that state."""
        return ClusterMap(
            1,
            "c",
            [
                Node(
                    n,
                    f"00000000-0000-0000-0000-{n:012d}",
                    f"d{n}",
                    f"d{n}:1",
                    f"r{n}",
                    100,
                    NODE_UP if n < 3 else state,
                    STANDING_IN,
                )
                for n in (1, 2, 3)
            ],
        )

    def add(self, number: int, *, copies: int = 2, size_bytes: int = MIB, live_bytes: int = MIB) -> bytes:
        """An object with so many of its copies where they belong."""
        oid = oid_of(number)
        self.live[oid] = LiveObject(oid, size_bytes, live_bytes, "replica:2", "replica:2")
        for node in Ring(self.map).desired(oid, 2)[:copies]:
            self.hold(node, oid)
        return oid

    def hold(self, node: int, oid: bytes, age_s: float = 5000.0) -> None:
        """A node has a copy."""
        self.held[node][oid] = self.clock.wall_ns() - int(age_s * 1e9)

    async def ask_leader(self, request: Any) -> Any:
        """See Reach."""
        await trio.lowlevel.checkpoint()
        if self.leader_is_gone:
            raise ConnectionLost("no leader")
        if isinstance(request, Sweep):
            self.swept += request.objects
            return SweepDone(len(request.objects))
        assert isinstance(request, ListLive)
        rows = [row for oid, row in sorted(self.live.items()) if oid > request.after and (not request.stop or oid < request.stop)]
        return LivePage(rows[:_PAGE], len(rows) > _PAGE)

    async def ask(self, node: Node, request: Any) -> Any:
        """See Reach."""
        await trio.lowlevel.checkpoint()
        if node.node in self.silent:
            raise ConnectionLost("silent")
        assert isinstance(request, ListObjects)
        rows = [ObjectRow(oid, 1000, birth, COPY.pack()) for oid, birth in sorted(self.held[node.node].items())]
        after = request.after + b"\xff" * PART_BYTES if len(request.after) == HASH_BYTES else request.after
        left = [row for row in rows if row.object + row.part > after]
        return ObjectPage(left[:_PAGE], len(left) > _PAGE)

    async def survey(self, share: Share = ALL) -> tuple[Found, list[bytes], Counts]:
        """A pass: what it found, what is due in order, what was counted."""
        due, counts = DueObjects(), Counts()
        outlooks = Outlooks(self, lambda _map: None)  # type: ignore[arg-type]
        survey = Survey(self, outlooks, due, counts, self.clock, SWEEP_AFTER_S)  # type: ignore[arg-type]
        found = await survey.run(outlooks.latest(), share)
        assert found is not None
        order = []
        while (each := due.pop()) is not None:
            order.append(each.oid)
        return found, order, counts


async def test_all_is_well(autojump_clock: trio.testing.MockClock) -> None:
    cluster = Cluster()
    for number in range(50):
        cluster.add(number)
    found, due, counts = await cluster.survey()
    assert (found.is_done, due, found.sparse, cluster.swept, counts.scanned_permille) == (True, [], [], [], 1000)


async def test_the_most_endangered_come_first(autojump_clock: trio.testing.MockClock) -> None:
    cluster = Cluster()
    for number in range(30):
        cluster.add(number, copies=1 if number in (7, 20) else 2)
    spare = cluster.add(3)
    missing = ({1, 2, 3} - {int(node) for node in Ring(cluster.map).desired(spare, 2)}).pop()
    cluster.hold(missing, spare)
    found, due, _ = await cluster.survey()
    assert due == [oid_of(7), oid_of(20), spare]
    assert not found.is_done


async def test_only_the_share_is_looked_at(autojump_clock: trio.testing.MockClock) -> None:
    cluster = Cluster()
    numbers = range(0, 1024, 16)
    for number in numbers:
        cluster.add(number, copies=1)
        cluster.hold(1, oid_of(number + 3))
    seen: list[bytes] = []
    for node in (1, 2, 3):
        share = share_of(cluster.map, node)
        assert share is not None
        found, due, _ = await cluster.survey(share)
        assert found.due_count == len(due) > 10
        seen += due
    assert sorted(seen) == [oid_of(number) for number in numbers]
    assert sorted(cluster.swept) == [oid_of(number + 3) for number in numbers]


async def test_a_node_that_is_down_is_waited_for_and_a_silent_one_is_not_passed_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cluster = Cluster()
    for number in range(20):
        cluster.add(number)
    cluster.silent = {3}
    found, due, _ = await cluster.survey()
    assert (due, found.is_done, found.unreached) == ([], False, frozenset({3}))
    cluster.map = cluster.mapped(NODE_DOWN)
    found, due, _ = await cluster.survey()
    assert (due, found.is_done, found.unreached) == ([], True, frozenset())


async def test_what_waits_for_a_node_is_counted_by_how_safe_it_is(autojump_clock: trio.testing.MockClock) -> None:
    """One copy of two is away: exposed; both are: unreadable; a class that promises nothing: it only waits."""
    cluster = Cluster()
    oids = [cluster.add(number) for number in range(20)]
    away = [oid for oid in oids if oid in cluster.held[3]]
    single, gone = away[:2]
    for oid in (single, gone):
        for node in (1, 2):
            cluster.held[node].pop(oid, None)
    cluster.live[single] = LiveObject(single, MIB, MIB, "replica:1", "replica:1")
    _, _, counts = await cluster.survey()
    assert (counts.waiting, counts.exposed, counts.unreadable) == (0, 0, 0)
    del cluster.held[3][single], cluster.held[3][gone]
    cluster.hold(next(node for node in (1, 2) if Ring(cluster.map).desired(single, 1) != [node]), single)
    cluster.map = cluster.mapped(NODE_DOWN)
    _, _, counts = await cluster.survey()
    assert (counts.unreadable, counts.unhealable, counts.exposed) == (1, 0, len(away) - 2)
    assert counts.waiting >= len(away) - 1


async def test_what_cannot_be_healed_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    cluster = Cluster()
    cluster.add(1)
    cluster.add(2, copies=0)
    found, due, counts = await cluster.survey()
    assert (due, found.unhealable, counts.unhealable) == ([], 1, 1)


async def test_old_parts_that_nobody_knows_are_swept(autojump_clock: trio.testing.MockClock) -> None:
    """All parts have to be old; other shares' are others' business."""
    cluster = Cluster()
    cluster.add(1)
    old, young, mixed = oid_of(2), oid_of(3), oid_of(4)
    cluster.hold(1, old, SWEEP_AFTER_S + 1)
    cluster.hold(1, young, SWEEP_AFTER_S - 1)
    cluster.hold(1, mixed, SWEEP_AFTER_S + 1)
    cluster.hold(2, mixed, 10)
    _, _, counts = await cluster.survey()
    assert (cluster.swept, counts.swept_objects) == ([old], 1)
    cluster.swept.clear()
    await cluster.survey(Share(old, b""))
    assert cluster.swept == []
    await cluster.survey(Share(before(old), young))
    assert cluster.swept == [old]


async def test_sparse_objects_are_noted(autojump_clock: trio.testing.MockClock) -> None:
    cluster = Cluster()
    cluster.add(1, live_bytes=MIB // 2)
    sparse = cluster.add(2, live_bytes=MIB // 2 - 1)
    cluster.add(3, size_bytes=MIB - 1, live_bytes=1)
    found, _, _ = await cluster.survey()
    assert [row.object for row in found.sparse] == [sparse]


async def test_without_a_leader_a_pass_ends(autojump_clock: trio.testing.MockClock) -> None:
    cluster = Cluster()
    cluster.add(1)
    cluster.leader_is_gone = True
    with pytest.raises(ConnectionLost, match="no leader"):
        await cluster.survey()
