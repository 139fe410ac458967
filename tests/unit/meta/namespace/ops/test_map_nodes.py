"""What operators and time do to nodes of the map: standings, weights, removal, another disk."""

import pytest

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import WEIGHT_MAX
from ringfs.meta.namespace import facts, system
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    NODE_UP,
    STANDING_DRAINING,
    STANDING_IN,
    STANDING_LOST,
    STANDING_MAINTENANCE,
    STANDING_OUT,
    Node,
)
from ringfs.wire.messages.common import CLASS_XATTR
from ringfs.wire.messages.heal import RemoveNode, ReplaceDisk, SetStanding, SetWeight, StartHeal
from tests.support.namespace import SECOND, TrialNamespace
from tests.support.refusals import refused


@pytest.fixture
def ring(trial: TrialNamespace) -> TrialNamespace:
    """Three nodes, data1 to data3, each a domain; the default class needs two."""
    for number in (1, 2, 3):
        enter(trial, number)
    return trial


def enter(trial: TrialNamespace, number: int, uuid: str = "", *, weight: int = 100, has_losses: bool = False) -> int:
    name = f"data{number}"
    entering = system.EnterNode(uuid or f"u{number}", name, f"{name}:1", f"domain{number}", weight, has_losses)
    node: int = trial.system(entering).node
    return node


def node(trial: TrialNamespace, number: int) -> Node:
    return next(each for each in facts.nodes(trial.view) if each.node == number)


def epoch(trial: TrialNamespace) -> int:
    return facts.cluster_map(trial.view).epoch


# --- standings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standing", [STANDING_OUT, STANDING_DRAINING])
def test_standings_by_operators(ring: TrialNamespace, standing: int) -> None:
    """Each is an epoch, once; the node may enter again without changing it; IN ends it."""
    before = epoch(ring)
    changed = ring.system(SetStanding("data2", standing, 0))
    assert (changed.epoch, changed.nodes[1].standing) == (before + 1, standing)
    assert ring.system(SetStanding("data2", standing, 0)).epoch == before + 1
    enter(ring, 2)
    assert (node(ring, 2).standing, epoch(ring)) == (standing, before + 1)
    assert ring.system(SetStanding("data2", STANDING_IN, 0)).nodes[1].standing == STANDING_IN


def test_maintenance_ends_with_its_time(ring: TrialNamespace) -> None:
    """Until then it stays, whoever looks; it can be made longer, and costs no domain."""
    ring.system(SetStanding("data1", STANDING_MAINTENANCE, 60))
    ring.system(SetStanding("data2", STANDING_MAINTENANCE, 60))
    assert node(ring, 1).until_ns == ring.now_ns - SECOND + 60 * SECOND
    ring.system(SetStanding("data1", STANDING_MAINTENANCE, 600))
    ring.now_ns += 60 * SECOND
    for number in (1, 2):
        ring.system(system.FollowStanding(number, STANDING_IN))
    assert [(node(ring, number).standing, node(ring, number).until_ns > 0) for number in (1, 2)] == [
        (STANDING_MAINTENANCE, True),
        (STANDING_IN, False),
    ]


@pytest.mark.parametrize(
    ("name", "standing", "duration_s", "code"),
    [
        ("data9", STANDING_OUT, 0, Code.NOT_FOUND),
        ("data1", STANDING_LOST, 0, Code.INVALID),
        ("data1", 0, 0, Code.INVALID),
        ("data1", STANDING_MAINTENANCE, 0, Code.INVALID),
        ("data1", STANDING_OUT, 5, Code.INVALID),
    ],
)
def test_standings_refused(ring: TrialNamespace, name: str, standing: int, duration_s: int, code: Code) -> None:
    """Nobody of that name; what only time gives; a duration where there is none."""
    with refused(code):
        ring.system(SetStanding(name, standing, duration_s))


def test_the_refusal_names_the_class(ring: TrialNamespace) -> None:
    """Also one that nothing has any more, as long as nobody has looked: an operator has to find out what keeps the node in."""
    ring.do(m.SetXattr(ROOT_INODE, CLASS_XATTR, b"replica:3", 0, False))
    ring.do(m.RemoveXattr(ROOT_INODE, CLASS_XATTR))
    with pytest.raises(Refused, match="replica:3 needs 3, and counts as in use until stewards have looked"):
        ring.system(SetStanding("data1", STANDING_DRAINING, 0))
    with pytest.raises(Refused, match="replica:3 needs 3") as told:
        ring.system(SetStanding("data1", STANDING_DRAINING, 0, 3))
    assert "counts as in use" not in str(told.value)
    assert ring.system(SetStanding("data1", STANDING_DRAINING, 0, 2)).nodes[0].standing == STANDING_DRAINING


def test_too_few_domains_would_be_left(ring: TrialNamespace) -> None:
    """The class in use needs two: one of three may go, in whatever way, and no second one."""
    ring.system(SetStanding("data1", STANDING_DRAINING, 0))
    for standing in (STANDING_OUT, STANDING_DRAINING):
        with refused(Code.INVALID):
            ring.system(SetStanding("data2", standing, 0))
    ring.system(system.SetNodeState(2, NODE_DOWN))
    with refused(Code.INVALID):
        ring.system(system.FollowStanding(2, STANDING_LOST))
    assert ring.system(SetStanding("data1", STANDING_OUT, 0)).nodes[0].standing == STANDING_OUT, "that takes none away"
    ring.system(system.EnterNode("u4", "data4", "data4:1", "domain2", 100))
    assert ring.system(SetStanding("data2", STANDING_OUT, 0)).nodes[1].standing == STANDING_OUT, "its domain has another node"


def test_time_goes_by_what_is_stored(ring: TrialNamespace) -> None:
    """A class that was set once does not keep a dead node from being lost, if stewards have seen that nothing has it."""
    ring.do(m.SetXattr(ROOT_INODE, CLASS_XATTR, b"replica:3", 0, False))
    ring.system(system.SetNodeState(1, NODE_DOWN))
    for width in (0, 3):
        with refused(Code.INVALID):
            ring.system(system.FollowStanding(1, STANDING_LOST, width))
    assert ring.system(system.FollowStanding(1, STANDING_LOST, 2)).nodes[0].standing == STANDING_LOST


def test_lost_and_found(ring: TrialNamespace) -> None:
    """Only what is down and IN is lost; whoever is lost and comes up, by word or by entering, is IN again in the same step."""
    ring.system(system.FollowStanding(1, STANDING_LOST))
    assert node(ring, 1).standing == STANDING_IN, "it is up"
    for back in (lambda: ring.system(system.SetNodeState(1, NODE_UP)), lambda: enter(ring, 1)):
        ring.system(system.SetNodeState(1, NODE_DOWN))
        assert ring.system(system.FollowStanding(1, STANDING_LOST)).nodes[0].standing == STANDING_LOST
        back()
        assert (node(ring, 1).state, node(ring, 1).standing) == (NODE_UP, STANDING_IN)
    ring.system(SetStanding("data1", STANDING_OUT, 0))
    ring.system(system.SetNodeState(1, NODE_DOWN))
    ring.system(system.FollowStanding(1, STANDING_LOST))
    ring.system(system.SetNodeState(1, NODE_UP))
    assert node(ring, 1).standing == STANDING_OUT, "an operator's word stays"
    with refused(Code.INVALID):
        ring.system(system.FollowStanding(1, STANDING_OUT))
    with refused(Code.NOT_FOUND):
        ring.system(system.FollowStanding(9, STANDING_LOST))


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weight_by_an_operator_stays(ring: TrialNamespace) -> None:
    """What the node says later does not count any more; the same again is no new epoch."""
    changed = ring.system(SetWeight("data1", 250))
    enter(ring, 1, weight=70)
    assert (node(ring, 1).weight, epoch(ring)) == (250, changed.epoch)
    assert ring.system(SetWeight("data1", 250)).epoch == changed.epoch
    for weight in (0, WEIGHT_MAX + 1):
        with refused(Code.INVALID):
            ring.system(SetWeight("data1", weight))
    with refused(Code.NOT_FOUND):
        ring.system(SetWeight("data9", 5))


# --- removal, another disk --------------------------------------------------------------------------------------------


def test_remove(ring: TrialNamespace) -> None:
    """Only what has no share; its cursor goes with it, its disk does not come back, its number neither."""
    ring.do(m.Commit([ring.new_object(1, 100)], []))
    ring.system(system.MarkReaped(3, 1))
    for standing, duration_s in ((STANDING_IN, 0), (STANDING_MAINTENANCE, 60)):
        ring.system(SetStanding("data3", standing, duration_s))
        with refused(Code.INVALID):
            ring.system(RemoveNode("data3"))
    ring.system(SetStanding("data3", STANDING_DRAINING, 0))
    before = epoch(ring)
    left = ring.system(RemoveNode("data3"))
    assert (left.epoch, [each.node for each in left.nodes]) == (before + 1, [1, 2])
    assert facts.reaped_cursor(ring.view, 3) == 0
    with refused(Code.NOT_FOUND):
        ring.system(RemoveNode("data3"))
    with refused(Code.NODE_REMOVED):
        enter(ring, 3)
    assert enter(ring, 3, "another disk") == 4


def test_another_disk_takes_the_place(ring: TrialNamespace) -> None:
    """Number, weight and tokens stay, the address is the new one; it is IN. The old disk does not come back after that."""
    ring.system(SetWeight("data1", 250))
    with refused(Code.BUSY):
        ring.system(ReplaceDisk("data1"))
    ring.system(system.SetNodeState(1, NODE_DOWN))
    ring.system(system.FollowStanding(1, STANDING_LOST))
    waiting = ring.system(ReplaceDisk("data1"))
    assert (waiting.nodes[0].uuid, waiting.nodes[0].seed) == ("", "u1")
    assert ring.system(ReplaceDisk("data1")).epoch == waiting.epoch
    assert enter(ring, 1, "new") == 1
    assert node(ring, 1) == Node(1, "new", "data1", "data1:1", "domain1", 250, NODE_UP, STANDING_IN, 0, "u1")
    with refused(Code.NODE_NAME_TAKEN):
        enter(ring, 1)
    with refused(Code.NODE_REMOVED):
        ring.system(system.EnterNode("u1", "data5", "data5:1", "domain5", 100))
    ring.system(system.SetNodeState(1, NODE_DOWN))
    ring.system(ReplaceDisk("data1"))
    assert enter(ring, 1, "newer") == 1
    assert (node(ring, 1).uuid, node(ring, 1).seed) == ("newer", "u1")
    with refused(Code.NOT_FOUND):
        ring.system(ReplaceDisk("data9"))


def test_the_disk_that_was_given_up_may_come_back_first(ring: TrialNamespace) -> None:
    """As long as no other has taken its place."""
    ring.system(system.SetNodeState(1, NODE_DOWN))
    ring.system(ReplaceDisk("data1"))
    with refused(Code.NODE_REMOVED):
        ring.system(system.EnterNode("u1", "data5", "data5:1", "domain5", 100))
    assert enter(ring, 1) == 1
    ring.system(system.SetNodeState(1, NODE_DOWN))
    ring.system(ReplaceDisk("data1"))
    ring.system(SetStanding("data1", STANDING_OUT, 0))
    ring.system(RemoveNode("data1"))
    with refused(Code.NODE_REMOVED):
        enter(ring, 1)


def test_losses_make_the_epoch_grow(ring: TrialNamespace) -> None:
    """Though nothing else is new."""
    before = epoch(ring)
    enter(ring, 1)
    assert epoch(ring) == before
    enter(ring, 1, has_losses=True)
    assert epoch(ring) == before + 1


def test_who_is_out_or_lost_holds_back_no_verdicts(ring: TrialNamespace) -> None:
    """They are forgotten once the others have passed them; if all are out, none is."""
    for label in (1, 2):
        ring.do(m.Commit([ring.new_object(label, 100)], []))
    for number in (2, 3):
        ring.system(system.MarkReaped(number, 2))
    assert facts.counters(ring.view).dead_bytes == 200
    ring.system(system.ForgetVerdicts())
    assert facts.counters(ring.view).dead_bytes == 200
    ring.system(system.SetNodeState(1, NODE_DOWN))
    ring.system(system.FollowStanding(1, STANDING_LOST))
    ring.system(system.ForgetVerdicts())
    assert facts.counters(ring.view).dead_bytes == 0


def test_start_heal(ring: TrialNamespace) -> None:
    """Nothing but the epoch is new."""
    before = facts.cluster_map(ring.view)
    after = ring.system(StartHeal())
    assert (after.epoch, after.nodes) == (before.epoch + 1, before.nodes)
