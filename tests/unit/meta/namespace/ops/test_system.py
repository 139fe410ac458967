"""The leader's own transactions: sessions, orphans, nodes, and the end of verdicts."""

import pytest

from ringfs.base.errors import Code
from ringfs.base.limits import DELETE_GRACE_NS, WEIGHT_MAX
from ringfs.meta.namespace import facts, system
from ringfs.meta.namespace.condemned import condemned_page
from ringfs.meta.namespace.ops import enter_node
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.cluster import NODE_DOWN, NODE_UP, Node
from tests.support.namespace import TrialNamespace, object_id, piece_of
from tests.support.refusals import refused

# --- sessions ---------------------------------------------------------------------------------------------------------


def test_sessions_are_numbered(trial: TrialNamespace) -> None:
    """Each gets a number that never comes back."""
    second = trial.begin_session("second")
    trial.system(system.EndSession(second))
    third = trial.begin_session("third")
    assert (trial.session, second, third) == (1, 2, 3)
    assert [(session.session, session.name) for session in facts.sessions(trial.view)] == [(1, "trial"), (3, "third")]


def test_end_of_a_session(trial: TrialNamespace) -> None:
    """Its replies go, its orphans go unless another keeps them; a second end is NO_SESSION."""
    other = trial.begin_session("other")
    for name, holders in ((b"a", [1]), (b"b", [1, other]), (b"c", [other])):
        trial.file(name)
        trial.do(m.Unlink(1, name), holders=holders)
    trial.system(system.EndSession(1))
    assert [trial.exists(number) for number in (2, 3, 4)] == [False, True, True]
    assert not [key for key in trial.view.pairs() if key[:1] == b"A"]
    trial.system(system.EndSession(other))
    assert facts.counters(trial.view).inode_count == 1
    with refused(Code.NO_SESSION):
        trial.system(system.EndSession(1))


def test_free_orphans(trial: TrialNamespace) -> None:
    """The last holder's word ends the inode and its content; what is not held is passed over."""
    other = trial.begin_session("other")
    inode, named = trial.file(b"a"), trial.file(b"named")
    trial.commit(inode, piece_of(1, 0, 9), objects=[trial.new_object(1, 9)])
    trial.do(m.Unlink(1, b"a"), holders=[1, other])
    trial.system(system.FreeOrphans(1, [inode, named, 999]))
    assert trial.exists(inode)
    trial.system(system.FreeOrphans(1, [inode]))
    assert trial.exists(inode)
    trial.system(system.FreeOrphans(other, [inode, inode]))
    assert not trial.exists(inode)
    assert trial.exists(named)
    assert facts.counters(trial.view).dead_bytes == 9


# --- nodes ------------------------------------------------------------------------------------------------------------


def enter(trial: TrialNamespace, name: str, weight: int = 100, uuid: str = "") -> int:
    number: int = trial.system(system.EnterNode(uuid or f"uuid of {name}", name, f"{name}:1", name, weight)).node
    return number


def test_nodes_enter(trial: TrialNamespace) -> None:
    """Numbers from 1; the epoch grows with what is new, and only then."""
    assert facts.cluster_map(trial.view).epoch == 1
    joined = trial.system(system.EnterNode("u1", "data1", "host:1", "rack", 100))
    assert (joined.node, joined.map.epoch, joined.map.cluster) == (1, 2, facts.cluster_id(trial.view))
    assert joined.map.nodes == [Node(1, "u1", "data1", "host:1", "rack", 100, NODE_UP)]
    assert enter(trial, "data2") == 2
    assert trial.system(system.EnterNode("u1", "data1", "host:1", "rack", 100)).map.epoch == 3
    moved = trial.system(system.EnterNode("u1", "renamed", "host:2", "rack", 50))
    assert (moved.node, moved.map.epoch, moved.map.nodes[0].address) == (1, 4, "host:2")


@pytest.mark.parametrize(
    ("name", "uuid", "weight", "code"),
    [
        ("data1", "u2", 1, Code.NODE_NAME_TAKEN),
        ("", "u2", 1, Code.INVALID),
        ("x", "", 1, Code.INVALID),
        ("x", "u2", 0, Code.INVALID),
        ("x", "u2", WEIGHT_MAX + 1, Code.INVALID),
    ],
)
def test_nodes_refused(trial: TrialNamespace, name: str, uuid: str, weight: int, code: Code) -> None:
    """Another disk's name; no name, disk or weight, or too much of it."""
    trial.system(system.EnterNode("u1", "data1", "host:1", "rack", 100))
    with refused(code):
        trial.system(system.EnterNode(uuid, name, "host:1", "rack", weight))


def test_more_nodes_than_a_map_holds(trial: TrialNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is INVALID; those that are known may come back."""
    monkeypatch.setattr(enter_node, "_NODES_MAX", 1)
    enter(trial, "data1")
    with refused(Code.INVALID):
        enter(trial, "data2")
    assert enter(trial, "data1") == 1


def test_node_states(trial: TrialNamespace) -> None:
    """Down and up again, an epoch each; a node that enters is up; what is so already costs no epoch."""
    enter(trial, "data1")
    down = trial.system(system.SetNodeState(1, NODE_DOWN))
    assert (down.epoch, down.nodes[0].state) == (3, NODE_DOWN)
    assert trial.system(system.SetNodeState(1, NODE_DOWN)).epoch == 3
    enter(trial, "data1")
    assert facts.cluster_map(trial.view).nodes[0].state == NODE_UP
    with refused(Code.NOT_FOUND):
        trial.system(system.SetNodeState(2, NODE_UP))
    with refused(Code.INVALID):
        trial.system(system.SetNodeState(1, 3))


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def verdicts(trial: TrialNamespace) -> TrialNamespace:
    """Three condemned objects, two nodes."""
    enter(trial, "data1")
    enter(trial, "data2")
    for label in (1, 2, 3):
        trial.do(m.Commit([trial.new_object(label, label * 100)], []))
    return trial


def told(trial: TrialNamespace, after: int = 0, limit: int = 10, grace_ns: int = DELETE_GRACE_NS) -> tuple[list[int], int]:
    page = condemned_page(trial.view, after, limit, trial.now_ns + grace_ns)
    return [entry.sequence for entry in page.entries], page.through


def test_pages_of_verdicts(verdicts: TrialNamespace) -> None:
    """Oldest first, after a sequence number, up to the limit, and only those whose grace has passed."""
    assert told(verdicts) == ([1, 2, 3], 3)
    assert told(verdicts, limit=2) == ([1, 2], 2)
    assert told(verdicts, after=2) == ([3], 3)
    assert told(verdicts, after=3) == ([], 3)
    assert told(verdicts, grace_ns=DELETE_GRACE_NS - 1) == ([1, 2], 2)
    assert told(verdicts, grace_ns=0) == ([], 0)
    assert told(verdicts, after=(1 << 64) - 1) == ([], (1 << 64) - 1)
    first = condemned_page(verdicts.view, 0, 1, verdicts.now_ns + DELETE_GRACE_NS).entries[0]
    assert first.object == object_id(1)


def test_what_lives_again_is_not_told(verdicts: TrialNamespace) -> None:
    """Its verdict is gone."""
    verdicts.commit(verdicts.file(b"a"), piece_of(2, 0, 10), objects=[verdicts.new_object(2, 200)])
    assert told(verdicts) == ([1, 3], 3)


def test_reaped(verdicts: TrialNamespace) -> None:
    """Verdicts go when all nodes have passed them, down or not; a cursor never goes back."""
    verdicts.system(system.MarkReaped(1, 3))
    assert told(verdicts)[0] == [1, 2, 3]
    verdicts.system(system.SetNodeState(2, NODE_DOWN))
    verdicts.system(system.MarkReaped(2, 1))
    assert told(verdicts)[0] == [2, 3]
    assert facts.counters(verdicts.view).dead_bytes == 500
    verdicts.system(system.MarkReaped(2, 0))
    assert facts.reaped_cursor(verdicts.view, 2) == 1
    verdicts.system(system.MarkReaped(2, 3))
    assert told(verdicts) == ([], 0)
    assert facts.counters(verdicts.view).dead_bytes == 0


def test_reaped_refused(verdicts: TrialNamespace) -> None:
    """No such node; a verdict that was never made."""
    with refused(Code.NOT_FOUND):
        verdicts.system(system.MarkReaped(9, 1))
    with refused(Code.INVALID):
        verdicts.system(system.MarkReaped(1, 4))
