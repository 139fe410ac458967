"""Objects against nodes: what is missing is found, and a busy cluster raises no false alarm."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.kv.memory import MemoryView
from ringfs.cli.checking import holders
from ringfs.cli.checking.holders import HolderCheck
from ringfs.cli.checking.nodes import HoldingNode
from ringfs.cli.checking.report import Finding, Report
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import pack_object
from ringfs.ring.parts import Part
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import (
    STANDING_OUT,
    CloseSnapshot,
    ClusterMap,
    OpenSnapshot,
    Pair,
    ReadSnapshot,
    SnapshotOpened,
    SnapshotPage,
)
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.data import WHOLE, Have, Held, HeldPart, ListObjects, ObjectPage, ObjectRow, Verified, Verify
from ringfs.wire.rpc import Answer
from tests.support.heal_reports import node as map_node

SIZE = 100
NO_FIELDS: Mapping[int, dict[str, Any]] = {}


def oid(number: int) -> bytes:
    """A made-up id; ids sort as their numbers."""
    return number.to_bytes(20, "big")


def namespace(*numbers: int, stored_class: str = "replica:2") -> MemoryView:
    """A namespace in which these objects live."""
    view = MemoryView()
    for number in numbers:
        view.put(keys.object_row(oid(number)), pack_object(SIZE, SIZE, stored_class, stored_class))
    return view


class FakeClient:
    """Answers calls with plain functions. `lost`: every call fails."""

    def __init__(self) -> None:
        self.is_lost = False

    async def call(self, request: Any, *, timeout_s: float) -> Answer:
        """See RpcClient."""
        if self.is_lost:
            raise ConnectionLost("gone")
        return Answer(self.answer(request), memoryview(b""))

    def answer(self, request: Any) -> Any:
        """The answer."""
        raise NotImplementedError


class FakeLeader(FakeClient):
    """Every snapshot is the next of those given; the last one stays."""

    def __init__(self, *views: MemoryView) -> None:
        super().__init__()
        self.views = list(views)
        self.opened = 0
        self.closed = 0

    def answer(self, request: Any) -> Any:
        """Snapshots."""
        match request:
            case OpenSnapshot():
                self.opened += 1
                return SnapshotOpened(self.opened, self.opened)
            case CloseSnapshot():
                self.closed += 1
                return Done()
            case ReadSnapshot(snapshot, after, limit):
                view = self.views[min(snapshot, len(self.views)) - 1]
                pairs = [Pair(key, value) for key, value in view.scan(after + b"\0", b"\xff")][:limit]
                return SnapshotPage(pairs, True)
        raise AssertionError(request)


class FakeData(FakeClient):
    """A node that holds whole copies of these objects, and `fragments`. `pages` bounds a page of its list."""

    def __init__(self, *numbers: int, page: int = 2, fragments: Sequence[tuple[int, Part]] = ()) -> None:
        super().__init__()
        self.held = {(oid(number), WHOLE): SIZE for number in numbers}
        self.held |= {(oid(number), part.pack()): SIZE for number, part in fragments}
        self.page = page
        self.bad: dict[bytes, Verified | Refused] = {}
        self.verified: list[bytes] = []
        #: Objects that its list shows and that are gone when it is asked again, or the other way round.
        self.later: dict[bytes, bool] = {}
        #: Objects that it holds from the second question on.
        self.arriving: list[bytes] = []

    def answer(self, request: Any) -> Any:
        """Lists, questions, verification."""
        match request:
            case ListObjects(after):
                rows = [ObjectRow(name, size, 0, part) for (name, part), size in sorted(self.held.items()) if name + part > after]
                return ObjectPage(rows[: self.page], len(rows) > self.page)
            case Have(objects):
                return Held([HeldPart(name, part) for name in objects for part in self._parts_now(name)])
            case Verify(name):
                return self.verify(name)
        raise AssertionError(request)

    def _parts_now(self, name: bytes) -> list[bytes]:
        parts = [part for held, part in sorted(self.held) if held == name]
        is_held = self.later.get(name, bool(parts))
        if name in self.arriving:
            self.later[name] = True
        return (parts or [WHOLE]) if is_held else []

    def verify(self, name: bytes) -> Verified:
        """What the disk says."""
        self.verified.append(name)
        outcome = self.bad.get(name, Verified(True, []))
        if isinstance(outcome, Refused):
            raise outcome
        return outcome


class Quiet:
    """Nobody watches the progress."""

    def step(self, what: str, done: int = 0, total: int | None = None) -> None:
        """See Progress."""


@pytest.fixture(autouse=True, params=[1, 2, 1024])
def _batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome does not depend on how many objects are gone through together."""
    monkeypatch.setattr(holders, "_BATCH", request.param)


async def check(
    leader: FakeLeader, nodes: Sequence[FakeData], *, deep: bool = False, fields: Mapping[int, dict[str, Any]] = NO_FIELDS
) -> Report:
    """A whole check of the leader's first view. `fields`: what is not as usual about a node of the map, by number."""
    report = Report(lambda _finding: None)
    rows = [map_node(number, **fields.get(number, {})) for number in range(1, len(nodes) + 1)]
    held = [HoldingNode(row, node) for row, node in zip(rows, nodes, strict=True)]  # type: ignore[arg-type]  # fakes
    view = leader.views[0]
    ring = Ring(ClusterMap(1, "", rows))
    await HolderCheck(leader, held, ring, report, Quiet(), deep=deep).run(view)  # type: ignore[arg-type]  # a fake
    assert leader.opened == leader.closed
    return report


async def test_all_is_there() -> None:
    """Enough copies of everything, on whichever nodes: clean, without a second look."""
    leader = FakeLeader(namespace(1, 2, 3))
    report = await check(leader, [FakeData(1, 2, 3), FakeData(1, 3), FakeData(2)])
    assert report.is_clean
    assert (report.object_count, report.part_count, leader.opened) == (3, 6, 0)


async def test_missing_copy_is_found() -> None:
    """It is reported once, with its object, the copies that are there, and where."""
    report = await check(FakeLeader(namespace(1, 2, 3)), [FakeData(1, 2, 3), FakeData(1, 3)])
    assert [str(finding) for finding in report.findings] == [f"object {oid(2).hex()}: 1 of 2 copies (replica:2), held by data1"]


async def test_lost_object_is_found() -> None:
    """No copy at all."""
    report = await check(FakeLeader(namespace(7, stored_class="replica:1")), [FakeData(1), FakeData(9)])
    assert [str(finding) for finding in report.findings] == [
        f"object {oid(7).hex()}: 0 of 1 copies (replica:1), held by no node that answers"
    ]


async def test_harmed_file_is_named() -> None:
    """The finding tells which inode points to the object."""
    view = namespace(5)
    view.put(keys.reference(oid(5), keys.u64_u32(12, 0)), b"\x64")
    report = await check(FakeLeader(view), [FakeData(5)])
    assert report.findings[0].paths == ("inode 12",)


async def test_object_that_died_meanwhile() -> None:
    """It was unlinked after the snapshot, and deleted before its node was listed: no alarm."""
    report = await check(FakeLeader(namespace(1, 2), namespace(1)), [FakeData(1), FakeData(1)])
    assert report.is_clean


async def test_copy_that_came_meanwhile() -> None:
    """A list that was read too early is not believed: the node is asked again."""
    first, second = FakeData(1), FakeData()
    second.later[oid(1)] = True
    report = await check(FakeLeader(namespace(1)), [first, second])
    assert report.is_clean


async def test_copy_that_is_just_moving() -> None:
    """One that left a node after it was asked, and reached another before that was: the second look sees it."""
    target = FakeData()
    target.arriving = [oid(1)]
    report = await check(FakeLeader(namespace(1)), [FakeData(1), target])
    assert report.is_clean


async def test_class_of_the_newer_snapshot_counts() -> None:
    """What is promised now is what must be held."""
    leader = FakeLeader(namespace(1), namespace(1, stored_class="replica:1"))
    report = await check(leader, [FakeData(1), FakeData()])
    assert report.is_clean


async def test_unreferenced_objects_are_counted() -> None:
    """Before, between and behind the namespace's objects; they are no fault."""
    report = await check(FakeLeader(namespace(5, 7)), [FakeData(1, 5, 6, 7, 9), FakeData(5, 7, 8)])
    assert report.is_clean
    assert (report.unreferenced_count, report.unreferenced_bytes) == (4, 4 * SIZE)


async def test_wrong_size_is_no_copy() -> None:
    """An object of another size under the id is a finding, and does not count as a copy."""
    wrong = FakeData(1)
    wrong.held[oid(1), WHOLE] = SIZE - 1
    wrong.later[oid(1)] = False
    report = await check(FakeLeader(namespace(1)), [FakeData(1), wrong])
    assert [finding.what for finding in report.findings] == [
        "has 99 bytes, the namespace says 100",
        "1 of 2 copies (replica:2), held by data1",
    ]


async def test_silent_node_alone_is_no_fault() -> None:
    """While the others hold what is promised it is only told."""
    silent = FakeData(1)
    silent.is_lost = True
    report = await check(FakeLeader(namespace(1)), [FakeData(1), silent, FakeData(1)])
    assert report.is_clean
    assert report.silent == {"data2": "gone"}


async def test_silent_node_holds_nothing() -> None:
    """What cannot be asked for is not verified."""
    silent = FakeData(1)
    silent.is_lost = True
    report = await check(FakeLeader(namespace(1)), [FakeData(1), silent])
    assert [finding.what for finding in report.findings] == ["1 of 2 copies (replica:2), held by data1"]


async def test_deep_verifies_every_copy() -> None:
    """Each copy of a referenced object is read once; others are not."""
    nodes = [FakeData(1, 2, 8), FakeData(1, 2)]
    report = await check(FakeLeader(namespace(1, 2)), nodes, deep=True)
    assert report.is_clean
    assert report.verified_count == 4
    assert [sorted(node.verified) for node in nodes] == [[oid(1), oid(2)]] * 2


DAMAGE = [
    (Verified(True, [0, 3]), "damaged blocks 0, 3"),
    (Verified(False, []), "its header or block table is damaged"),
    (Refused(Code.DISK_FAILED, "segment 4"), "segment 4: the node's disk failed"),
]


@pytest.mark.parametrize(("outcome", "what"), DAMAGE, ids=lambda value: type(value).__name__)
async def test_deep_finds_damage(outcome: Verified | Refused, what: str) -> None:
    """It says which copy, and what is wrong with it."""
    damaged = FakeData(1, 2)
    damaged.bad[oid(2)] = outcome
    report = await check(FakeLeader(namespace(1, 2)), [FakeData(1, 2), damaged], deep=True)
    assert [(finding.where, finding.what) for finding in report.findings] == [(f"object {oid(2).hex()} on data2", what)]


def fragments(*numbers: int, of: int = 1) -> FakeData:
    """A node that holds these fragments of ec:2+1 of an object, and pages that end between them."""
    return FakeData(page=1, fragments=[(of, Part(2, 1, number)) for number in numbers])


async def test_fragments() -> None:
    """Every one of them must be there, each in a domain of its own."""
    leader = FakeLeader(namespace(1, stored_class="ec:2+1"))
    assert (await check(leader, [fragments(2), fragments(0), fragments(1)])).is_clean
    report = await check(leader, [fragments(2), fragments(0), fragments(0)])
    assert [finding.what for finding in report.findings] == [
        "1 of 3 fragments missing (ec:2+1): 1; held: 0 on data2, 0 on data3, 2 on data1"
    ]
    report = await check(leader, [fragments(2), fragments(0), fragments(1)], fields={3: {"domain": "rack1"}})
    assert [finding.what for finding in report.findings] == [
        "its 3 parts (ec:2+1) are in too few failure domains (rack1, rack2): 0 on data2, 1 on data3, 2 on data1"
    ]


async def test_several_parts_on_a_node() -> None:
    """They are all listed, whatever the pages; while something moves that is no fault."""
    report = await check(
        FakeLeader(namespace(1, stored_class="ec:2+1")), [fragments(0, 1, 2), fragments(1), fragments(2)], deep=True
    )
    assert report.is_clean
    assert (report.part_count, report.verified_count) == (5, 5)


async def test_nodes_that_are_out_hold_nothing() -> None:
    """What is on them is not counted on."""
    report = await check(FakeLeader(namespace(1)), [FakeData(1), FakeData(1)], fields={2: {"standing": STANDING_OUT}})
    assert [finding.what for finding in report.findings] == ["1 of 2 copies (replica:2), held by data1, data2"]


async def test_what_is_to_be_moved_is_counted() -> None:
    """Kept, but not where the ring wants it: no fault."""
    view = namespace(1, stored_class="replica:1")
    reports = [await check(FakeLeader(view), [FakeData(1), FakeData()]), await check(FakeLeader(view), [FakeData(), FakeData(1)])]
    assert [report.is_clean for report in reports] == [True, True]
    assert sorted(report.to_move_count for report in reports) == [0, 1]


async def test_part_of_no_known_kind() -> None:
    """A newer version wrote it, or something is very wrong: said, and not counted on."""
    odd = FakeData()
    odd.held[oid(1), b"\xff\xff\xff"] = SIZE
    report = await check(FakeLeader(namespace(1, stored_class="replica:1")), [FakeData(1), odd])
    assert [finding.what for finding in report.findings] == ["has a part of no known kind (ffffff)"]


async def test_deep_and_deleted_meanwhile() -> None:
    """A copy that has gone when it is to be verified is looked up again, not reported as damage."""
    gone = FakeData(1)
    gone.bad[oid(1)] = Refused(Code.NOT_HELD)
    assert (await check(FakeLeader(namespace(1), namespace()), [FakeData(1), gone], deep=True)).is_clean
    gone.later[oid(1)] = False
    report = await check(FakeLeader(namespace(1)), [FakeData(1), gone], deep=True)
    assert [finding.what for finding in report.findings] == ["1 of 2 copies (replica:2), held by data1"]


def test_report_for_scripts() -> None:
    """The verdict, the counts and the findings."""
    report = Report(lambda _finding: None)
    assert report.to_json()["clean"] is True
    report.found(Finding("broken", "somewhere", ("/a",)))
    assert report.to_json()["clean"] is False
    assert report.to_json()["findings"] == [{"what": "broken", "where": "somewhere", "paths": ("/a",)}]


def test_findings_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that lost everything does not fill memory: findings are shown, counted, and not all kept."""
    monkeypatch.setattr("ringfs.cli.checking.report.KEPT_MAX", 2)
    shown: list[Any] = []
    report = Report(shown.append)
    for _ in range(5):
        report.found(Finding("broken", "somewhere"))
    assert (len(report.findings), report.finding_count, len(shown)) == (2, 5, 5)
    assert not report.is_clean
