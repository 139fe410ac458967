"""The verbs about nodes, against a leader that is a function: what they ask for, show and refuse."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ringfs.base.config import load_config
from ringfs.base.errors import Code, Refused, UserError
from ringfs.base.files import RealFiles
from ringfs.cli import exits, healing
from ringfs.cli.heal import advice_of
from ringfs.cli.main import cli
from ringfs.cli.node import add, changing, drain, draining, into, maintenance, out, remove, weight
from ringfs.cli.node import list as listing
from ringfs.cli.node import replace as replacing
from ringfs.data.identity import make_identity
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    STANDING_DRAINING,
    STANDING_IN,
    STANDING_MAINTENANCE,
    STANDING_OUT,
    ClusterMap,
    Node,
)
from ringfs.wire.messages.heal import GetHeal, HealStatus, RemoveNode, ReplaceDisk, SetStanding, SetWeight
from tests.support.heal_reports import HEALED, node, status
from tests.support.heal_reports import healing as busy
from tests.support.meta_doubles import CONFIG

CLUSTER = "00000000-1111-2222-3333-444444444444"


class Leader:
    """Two nodes; what is asked of it is noted."""

    def __init__(self) -> None:
        self.nodes = [node(1), node(2)]
        self.asked: list[Any] = []
        #: Answers of GetHeal, one after the other; the last one stays.
        self.heal = [HEALED]
        #: Refusals of changes, one after the other.
        self.refusals: list[Refused] = []

    @property
    def map(self) -> ClusterMap:
        return ClusterMap(7, CLUSTER, self.nodes)

    async def ask(self, _config: Any, _verb: str, request: Any) -> Any:
        """See ask_leader."""
        if isinstance(request, GetHeal):
            return self.heal.pop(0) if len(self.heal) > 1 else self.heal[0]
        self.asked.append(request)
        if self.refusals:
            raise self.refusals.pop(0)
        self.nodes = [left for each in self.nodes if (left := self.changed(each, request)) is not None]
        return self.map

    def changed(self, each: Node, request: Any) -> Node | None:
        """What becomes of a node."""
        if each.name != request.name:
            return each
        match request:
            case SetStanding():
                return replace(each, standing=request.standing)
            case SetWeight():
                return replace(each, weight=request.weight)
            case RemoveNode():
                return None
        return each

    async def status(self, _config: Any, _verb: str) -> Any:
        """See ask_status."""
        return status(*self.nodes)

    async def tell_heal(self, _config: Any, _verb: str) -> tuple[HealStatus, ClusterMap]:
        """See ask_heal."""
        return self.heal[0], self.map

    async def advise(self, _config: Any, _verb: str) -> Any:
        """See ask_status_and_advice."""
        told = status(*self.nodes)
        return told, advice_of(told, self.heal[0])


@pytest.fixture
def leader(monkeypatch: pytest.MonkeyPatch) -> Leader:
    """The one that every verb finds."""
    found = Leader()
    for module in (add, drain, into, listing, maintenance, out, remove, replacing, weight):
        monkeypatch.setattr(module, "find_cluster", lambda *_places: CONFIG)
    for module in (changing, draining, healing):
        monkeypatch.setattr(module, "ask_leader", found.ask)
    monkeypatch.setattr(listing, "ask_status_and_advice", found.advise)
    for module in (add, changing, draining, out, replacing):
        if hasattr(module, "ask_status"):
            monkeypatch.setattr(module, "ask_status", found.status)
    monkeypatch.setattr(out, "ask_heal", found.tell_heal)
    monkeypatch.setattr(healing, "LOOK_S", 0.0)
    monkeypatch.setattr(replacing, "LOOK_S", 0.0)
    monkeypatch.setattr(replacing, "_SILENCE_S", 0.01)
    monkeypatch.setattr(draining, "LOOK_S", 0.0)
    return found


def run(*words: str) -> str:
    """What `ringfs node WORDS` shows."""
    result = CliRunner().invoke(cli, ["node", *words], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


CHANGES = [
    (("drain", "data2"), SetStanding("data2", STANDING_DRAINING, 0), "data2 is draining"),
    (("in", "data2"), SetStanding("data2", STANDING_IN, 0), "data2 is in"),
    (("maintenance", "data2", "2h"), SetStanding("data2", STANDING_MAINTENANCE, 7200), "data2 is in maintenance"),
    (("weight", "data2", "250"), SetWeight("data2", 250), "weight 250"),
    (("replace", "data2"), ReplaceDisk("data2"), "now: an empty disk"),
    (("out", "data2", "--force"), SetStanding("data2", STANDING_OUT, 0), "data2 is out"),
    (("remove", "data2"), RemoveNode("data2"), "data2 is removed: the cluster has data1"),
]


@pytest.mark.parametrize(("words", "asked", "shown"), CHANGES, ids=lambda each: each[0] if isinstance(each, tuple) else "")
def test_change(leader: Leader, words: tuple[str, ...], asked: Any, shown: str) -> None:
    """One request, and the node as it is afterwards; with --json one object."""
    assert shown in run(*words)
    assert leader.asked == [asked]
    leader.nodes = [node(1), node(2)]
    assert isinstance(json.loads(run(*words, "--json")), dict)


@pytest.mark.parametrize("words", [words for words, _, _ in CHANGES if words[0] != "out"], ids=lambda words: words[0])
def test_refused(leader: Leader, words: tuple[str, ...]) -> None:
    """The line has the leader's reason; a node that is not there is told with those that are."""
    leader.refusals = [Refused(Code.INVALID, "too few domains")]
    with pytest.raises(exits.NotClean, match=r"cannot .* data2: too few domains"):
        run(*words)
    leader.refusals = [Refused(Code.NOT_FOUND)]
    with pytest.raises(UserError, match="no node 'data9': it has data1, data2"):
        run(words[0], "data9", *words[2:])


def test_list(leader: Leader) -> None:
    """Standing beside state."""
    leader.nodes = [node(1), node(2, state=NODE_DOWN, standing=STANDING_DRAINING)]
    assert run("list").splitlines()[2].split()[:3] == ["data2", "down", "draining"]
    told = json.loads(run("list", "--json"))
    assert [(row["name"], row["state"], row["standing"], row["object_count"]) for row in told["nodes"]] == [
        ("data1", "up", "in", 1),
        ("data2", "down", "draining", 2),
    ]


def test_advice() -> None:
    """Objects that are not safe, weights that do not fit: a line each, also for scripts."""
    told = status(node(1), node(2))
    told.nodes = [replace(row, size_bytes=row.node << 40) for row in told.nodes]
    heal = replace(HEALED, reports=[replace(HEALED.reports[0], exposed=3)])
    shown = advice_of(told, heal).splitlines()
    assert [line.partition(":")[0] for line in shown] == [
        "3 objects would not survive the next loss",
        "weights do not fit the disks, so some get full before others",
    ]
    assert advice_of(status(node(1), node(2)), HEALED) == ""


def test_giving_up_a_node_that_is_up(leader: Leader) -> None:
    """Only if the others hold everything, and only if that is said."""
    with pytest.raises(exits.NotClean, match="data2 is up: 'ringfs node drain data2'"):
        run("out", "data2")
    leader.heal = [busy(queued=1)]
    with pytest.raises(exits.NotClean, match="may hold what no other node does"):
        run("out", "data2", "--force")
    assert leader.asked == []
    leader.nodes[1] = node(2, state=NODE_DOWN)
    assert "data2 is out" in run("out", "data2")


def test_replacing_the_disk_of_a_node_that_just_ended(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for once it is down."""
    statuses = [status(node(1), node(2)), status(node(1), node(2)), status(node(1), node(2, state=NODE_DOWN))]

    async def ask_status(_config: Any, _verb: str) -> Any:
        return statuses.pop(0)

    monkeypatch.setattr(replacing, "ask_status", ask_status)
    monkeypatch.setattr(replacing, "_SILENCE_S", 60.0)
    run("replace", "data2")
    assert (statuses, leader.asked) == ([], [ReplaceDisk("data2")])


def test_drain_and_wait(leader: Leader) -> None:
    """It returns when the ring is healed at the epoch that the change made, or a later one."""
    leader.heal = [replace(HEALED, epoch=6), busy(queued=5, queued_bytes=5), busy(queued=1), HEALED]
    assert "data2 is draining" in run("drain", "data2", "--wait")
    assert len(leader.heal) == 1


def test_remove_and_wait(leader: Leader) -> None:
    """Drained if it is in, asked for again while it is needed."""
    leader.refusals = []
    leader.heal = [busy(queued=5), HEALED]
    assert "is removed" in run("remove", "data2", "--wait")
    assert leader.asked == [SetStanding("data2", STANDING_DRAINING, 0), RemoveNode("data2")]
    leader.nodes, leader.asked = [node(1), node(2, standing=STANDING_OUT)], []
    leader.refusals = [Refused(Code.BUSY, "12 parts to go")]
    run("remove", "data2", "--wait")
    assert leader.asked == [RemoveNode("data2")] * 2, "it was out already"
    leader.nodes = [node(1), node(2, standing=STANDING_OUT)]
    leader.refusals = [Refused(Code.INVALID, "it is in")]
    with pytest.raises(exits.NotClean, match="cannot remove data2: it is in"):
        run("remove", "data2", "--wait")


@pytest.mark.parametrize("words", [("weight", "data2", "0"), ("maintenance", "data2", "0"), ("maintenance", "data2", "soon")])
def test_mistakes(leader: Leader, words: tuple[str, ...]) -> None:
    """Nothing is asked."""
    with pytest.raises(click.UsageError):
        run(*words)
    assert leader.asked == []


# --- add --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(leader: Leader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster.toml with data1, and an empty directory `new` beside it."""
    (tmp_path / "new").mkdir()
    (tmp_path / "cluster.toml").write_text(
        f'cluster = "{CLUSTER}"\nkey_file = "key"\n[[meta]]\nname = "meta1"\naddress = "h:1"\nstate = "m"\n'
        '[[data]]\nname = "data1"\naddress = "h:2"\ndisk = "one"\n'
    )
    monkeypatch.setattr(add, "find_cluster", lambda *_places: load_config(tmp_path / "cluster.toml"))
    return tmp_path


def new(place: Path, name: str = "data3", disk: str = "new") -> tuple[str, ...]:
    """The words that add a node."""
    return ("add", name, "--address", "h:3", "--disk", str(place / disk), "--domain", "rack9", "--weight", "50")


def test_add(place: Path) -> None:
    """It is entered, once, and the start is told; then its own disk is recognised."""
    assert f"Start it, and it joins: ringfs data {place}/cluster.toml data3" in run(*new(place))
    assert 'domain = "rack9"\nweight = 50\n' in (place / "cluster.toml").read_text()
    told = json.loads(run("add", "data3", "--json"))
    assert told == {
        "name": "data3",
        "configuration": f"{place}/cluster.toml",
        "entered": False,
        "start": f"ringfs data {place}/cluster.toml data3",
    }
    with pytest.raises(click.UsageError, match="has 'data3' already"):
        run(*new(place))
    with pytest.raises(click.UsageError, match="has no node 'data4': give --address and --disk"):
        run("add", "data4")


def test_add_elsewhere(place: Path) -> None:
    """One that listens on every interface must say where others reach it."""
    words = ("add", "data3", "--address", "0.0.0.0:3", "--disk", str(place / "new"))
    with pytest.raises(UserError, match="is no place that others can connect to: say one with advertise"):
        run(*words)
    run(*words, "--advertise", "h:4")
    assert load_config(place / "cluster.toml").data_named("data3").reached_at == "h:4"


def foreign(place: Path, _leader: Leader) -> None:
    """A disk of another cluster."""
    make_identity(RealFiles(), place / "new", "aaaaaaaa-1111-2222-3333-444444444444")


def full(place: Path, _leader: Leader) -> None:
    """Somebody's files."""
    (place / "new" / "photo").touch()


def taken(_place: Path, leader: Leader) -> None:
    """Another disk has the name."""
    leader.nodes.append(node(3))


def known(place: Path, leader: Leader) -> None:
    """The disk of data2."""
    identity = make_identity(RealFiles(), place / "new", CLUSTER)
    leader.nodes[1] = node(2, uuid=str(identity.disk))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (foreign, "belongs to another cluster"),
        (full, "is not empty and has no ringfs-disk"),
        (taken, "has a node data3 with another disk"),
        (known, "is that of the node data2"),
    ],
)
def test_add_refused(place: Path, leader: Leader, spoil: Callable[[Path, Leader], None], reason: str) -> None:
    """With the reason, and cluster.toml stays as it is."""
    before = (place / "cluster.toml").read_text()
    spoil(place, leader)
    with pytest.raises(UserError, match=reason):
        run(*new(place))
    assert (place / "cluster.toml").read_text() == before
