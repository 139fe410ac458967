"""Healing decisions: from any readable state, whatever happens meanwhile, step by step to every part where it belongs; and no step
takes away what is promised."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.base.ids import NodeId
from ringfs.base.limits import DELETE_GRACE_NS
from ringfs.ring.classes import ErasureClass, form_for, parse_class
from ringfs.ring.healing import ChangeForm, DropPart, MakePart, tolerance_of
from ringfs.ring.parts import COPY, Part, parts_of
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
from tests.support.one_object import CLASSES, OneObject, change, is_readable, losses_survived, node, placed, strewn

randoms = st.integers(0, 1 << 40).map(random.Random)


def nodes(count: int) -> list[Node]:
    """Equal nodes, each a domain."""
    return [node(number) for number in range(1, count + 1)]


def stand(at: OneObject, number: int, standing: int, state: int = NODE_UP) -> None:
    """Give a node another standing and state."""
    at.nodes[number] = replace(at.nodes[number], standing=standing, state=state)


def holder_of(at: OneObject, part: Part) -> int:
    """The node that has it."""
    return next(number for number, store in at.stores.items() if part in store)


# --- properties ---------------------------------------------------------------------------------------------------------


@given(randoms)
@settings(max_examples=400, deadline=None)
def test_any_readable_state_ends_settled(draw: random.Random) -> None:
    """With all nodes up: in at most four steps nothing is left to do, and every part is where it belongs, if there are domains
    enough; if not, there is a copy in each."""
    at = strewn(draw)
    for number in at.nodes:
        stand(at, number, draw.choice([STANDING_IN] * 6 + [STANDING_DRAINING, STANDING_OUT]))
    at.settle()
    assert_as_good_as_can_be(at)


@given(randoms)
@settings(max_examples=400, deadline=None)
def test_no_step_takes_away_what_is_promised(draw: random.Random) -> None:
    """While nodes come, go, fill up and change their standing, and stewards carry out what they saw only in part: no action lowers
    the true tolerance below what it was, or what is promised; nor makes anything unreadable. Afterwards everything ends settled."""
    at = strewn(draw)
    for _ in range(draw.randint(1, 12)):
        change(at, draw)
        silent = draw.sample(sorted(at.nodes), draw.choice([0, 0, 0, 1]))
        actions = at.decide(silent).actions
        for action in actions[: draw.randint(0, len(actions))]:
            before, was_readable = at.tolerance(), is_readable(part for part, _ in at.parts(with_given_up=True))
            at.apply(action)
            assert at.tolerance() >= min(before, at.promised), action
            assert is_readable(part for part, _ in at.parts(with_given_up=True)) >= was_readable, action
        at.now_ns += draw.choice([0, DELETE_GRACE_NS])
    for number in at.nodes:
        stand(at, number, STANDING_IN)
    at.full.clear()
    at.settle()
    assert_as_good_as_can_be(at)


def assert_as_good_as_can_be(at: OneObject) -> None:
    """Settled; or, with too few domains, as many copies as there are domains with a share, and nothing more to do."""
    goal = form_for(parse_class(at.row.stored_class), at.row.size_bytes, at.ring.domain_count)
    if at.ring.domain_count >= goal.width:
        at.assert_settled()
        return
    assert not at.decide().actions
    assert not at.decide().is_settled
    assert all(COPY in at.stores[number] for number in at.ring.desired(at.row.object, goal.width))


@given(randoms)
@settings(max_examples=300, deadline=None)
def test_endangerment_is_no_better_than_the_truth(draw: random.Random) -> None:
    """What is said to be survived is; for parts of one form on distinct domains it is exact."""
    at = strewn(draw)
    assert tolerance_of(at.parts()) <= losses_survived(at.parts())
    form = parse_class(draw.choice(CLASSES))
    parts = [(part, f"d{index}") for index, part in enumerate(parts_of(form)) if draw.random() < 0.8]
    assert tolerance_of(parts) == losses_survived(parts)


@given(randoms, st.sampled_from(CLASSES), st.sampled_from(["new", "drain", "lost", "weight"]))
@settings(max_examples=200, deadline=None)
def test_a_map_change_moves_only_what_it_must(draw: random.Random, stored_class: str, happens: str) -> None:
    """As many parts are made as nodes come to be desired, on these; all others stay, with their numbers."""
    at = placed(stored_class, nodes(draw.randint(7, 12)), seed=draw.getrandbits(30))
    width = parse_class(stored_class).width
    before, held = set(at.ring.desired(at.row.object, width)), at.held_on()
    number = draw.choice(sorted(at.nodes))
    if happens == "new":
        at.nodes[99] = node(99)
    elif happens == "weight":
        at.nodes[number] = replace(at.nodes[number], weight=draw.choice([20, 400]))
    else:
        stand(at, number, STANDING_DRAINING if happens == "drain" else STANDING_LOST, NODE_UP if happens == "drain" else NODE_DOWN)
    after = set(at.ring.desired(at.row.object, width))
    if happens == "lost" and at.tolerance() < 0:
        return  # the only copy
    first = at.decide()
    at.settle()
    assert {make.node for make in at.made} == after - before
    assert len(at.made) == len(after - before)
    assert all(at.held_on()[kept] == held[kept] for kept in after & before)
    if at.made:
        assert first.is_move == (happens != "lost")


# --- cases --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored_class", CLASSES)
@pytest.mark.parametrize("size_bytes", [1, 65535, 65536, 8 << 20])
def test_a_healthy_object(stored_class: str, size_bytes: int) -> None:
    """As it is put, it is settled."""
    at = placed(stored_class, nodes(9), size_bytes)
    at.assert_settled()


@pytest.mark.parametrize("stored_class", ["replica:3", "ec:4+2"])
def test_nodes_that_are_down_are_waited_for(stored_class: str) -> None:
    """They are taken to hold what is nowhere else: the object is endangered, and nothing is to be done; also in maintenance."""
    at = placed(stored_class, nodes(9))
    first, second = list(at.stores)[:2]
    stand(at, first, STANDING_IN, NODE_DOWN)
    assert (at.decide().endangerment, at.decide().actions, at.decide().is_settled) == (1, (), False)
    stand(at, second, STANDING_MAINTENANCE, NODE_DOWN)
    assert (at.decide().endangerment, at.decide().actions) == (0, ())


def test_lost_nodes_are_made_up_for() -> None:
    """Once a node is LOST what it had is made anew, from others, on the node that is desired now; that is no move."""
    at = placed("ec:4+2", nodes(9))
    lost = holder_of(at, Part(4, 2, 3))
    stand(at, lost, STANDING_LOST, NODE_DOWN)
    healing = at.decide()
    (action,) = healing.actions
    assert isinstance(action, MakePart)
    assert (action.part, action.holders, healing.is_move, healing.endangerment) == (Part(4, 2, 3), (), False, 1)
    assert action.node in set(at.ring.desired(at.row.object, 6)) - at.stores.keys()


def test_a_lost_node_comes_back() -> None:
    """What was rebuilt elsewhere meanwhile is dropped, once the node is IN again and its part was seen; nothing is made twice."""
    at = placed("ec:4+2", nodes(9))
    before = at.held_on()
    lost = holder_of(at, Part(4, 2, 0))
    stand(at, lost, STANDING_LOST, NODE_DOWN)
    at.settle()
    stand(at, lost, STANDING_IN, NODE_UP)
    at.settle()
    assert at.held_on() == before
    assert len(at.made) == 1


def test_while_one_is_down_another_is_lost() -> None:
    """The fragment that was first put on the node that is down is taken to be there; the other one is made."""
    at = placed("ec:4+2", nodes(9))
    down, lost = holder_of(at, Part(4, 2, 1)), holder_of(at, Part(4, 2, 4))
    stand(at, down, STANDING_IN, NODE_DOWN)
    stand(at, lost, STANDING_LOST, NODE_DOWN)
    made = [action for action in at.decide().actions if isinstance(action, MakePart)]
    assert [make.part for make in made] == [Part(4, 2, 4)]


def test_a_draining_node_is_a_source() -> None:
    """It counts until its part was seen elsewhere; then the part is dropped with the birth that was seen."""
    at = placed("replica:2", nodes(4))
    number = NodeId(next(iter(at.stores)))
    stand(at, number, STANDING_DRAINING)
    healing = at.decide()
    assert healing.is_move
    assert healing.endangerment == 1
    (action,) = healing.actions
    assert isinstance(action, MakePart)
    assert set(action.holders) == at.stores.keys()
    at.apply(action)
    at.now_ns += 2 * DELETE_GRACE_NS
    assert at.decide().actions == (DropPart(COPY, number, 1),)
    at.settle()
    at.assert_settled()


def test_the_only_copy_is_on_a_node_that_is_out() -> None:
    """It counts for nothing and is read all the same: the object does not survive the next loss, and is made anew."""
    at = placed("replica:1", nodes(3))
    stand(at, next(iter(at.stores)), STANDING_OUT)
    healing = at.decide()
    assert healing.endangerment == 0
    assert [type(action) for action in healing.actions] == [MakePart]
    at.settle()
    at.assert_settled()


def test_what_cannot_be_read_is_not_made_of_nothing() -> None:
    """With too few fragments left only what is misplaced can be moved."""
    at = placed("ec:4+2", nodes(9))
    for number in list(at.stores)[:3]:
        stand(at, number, STANDING_LOST, NODE_DOWN)
    assert at.decide().endangerment == -1
    assert not at.decide().actions
    draining = list(at.stores)[5]
    stand(at, draining, STANDING_DRAINING)
    (action,) = at.decide().actions
    assert isinstance(action, MakePart)
    assert action.holders == (draining,)


def test_a_degraded_write_is_reformed_when_there_are_domains() -> None:
    """Copies of an object of class ec:4+2 wait while a domain is missing, are re-formed when all are up, and dropped only after
    the leader agreed."""
    at = placed("ec:4+2", nodes(5))
    assert at.row.form == "replica:3"
    at.assert_settled()
    at.nodes[6] = node(6)
    stand(at, 6, STANDING_IN, NODE_DOWN)
    assert not at.decide().actions
    stand(at, 6, STANDING_IN, NODE_UP)
    made = at.decide().actions
    assert [type(action) for action in made] == [MakePart] * 6
    for action in made:
        at.apply(action)
    at.now_ns += 2 * DELETE_GRACE_NS
    assert at.decide().actions == (ChangeForm("replica:3", "ec:4+2"),)
    at.apply(*at.decide().actions)
    assert [type(action) for action in at.decide().actions] == [DropPart] * 3
    at.settle()
    at.assert_settled()


def test_copies_lost_while_a_reform_waits_are_made_anew() -> None:
    """The present form is healed as long as the new one cannot be had."""
    at = placed("ec:4+2", nodes(5))
    at.nodes[6] = node(6)
    stand(at, 6, STANDING_IN, NODE_DOWN)
    del at.stores[next(number for number in at.stores if number in at.ring.desired(at.row.object, 3))]
    made = at.decide().actions
    assert [(type(action), action.part) for action in made if isinstance(action, MakePart)] == [(MakePart, COPY)]


def test_nodes_that_are_down_are_no_reason_to_reform() -> None:
    """Fragments stay fragments while some of six domains are down; not when there are only five any more."""
    at = placed("ec:4+2", nodes(6))
    stand(at, 2, STANDING_IN, NODE_DOWN)
    assert not at.decide().actions
    stand(at, 2, STANDING_LOST, NODE_DOWN)
    at.settle()
    assert at.row.form == "replica:3"
    del at.nodes[2], at.stores[2]
    at.assert_settled()


@pytest.mark.parametrize(
    ("old", "new"), [("replica:2", "replica:3"), ("replica:3", "replica:2"), ("ec:4+2", "ec:2+1"), ("ec:2+1", "replica:2")]
)
def test_another_class(old: str, new: str) -> None:
    """The object is re-formed and ends settled; a form that is contained in the old one costs nothing."""
    at = placed(old, nodes(8))
    at.row = replace(at.row, stored_class=new)
    at.settle()
    at.assert_settled()
    assert len(at.made) == {"replica:3": 1, "ec:2+1": 3}.get(new, 2 if old == "ec:2+1" else 0)


def test_young_parts_are_not_dropped() -> None:
    """They may belong to a commit that is under way, for another class. Until then the object is not settled."""
    at = placed("replica:2", nodes(4))
    spare = NodeId((set(at.nodes) - at.stores.keys()).pop())
    at.stores[spare] = {Part(4, 2, 1): at.now_ns - DELETE_GRACE_NS}
    assert at.decide().actions == ()
    assert not at.decide().is_settled
    at.now_ns += 1
    assert at.decide().actions == (DropPart(Part(4, 2, 1), spare, at.now_ns - 1 - DELETE_GRACE_NS),)


def test_what_a_silent_node_said_confirms_nothing() -> None:
    """A list that ended early is as none: surplus stays until all nodes that the object belongs on have said what they hold."""
    at = placed("replica:2", nodes(4))
    spare = (set(at.nodes) - at.stores.keys()).pop()
    at.stores[spare] = {COPY: 1}
    assert not at.decide(silent=[at.ring.desired(at.row.object, 2)[0]]).actions
    assert at.decide().actions


def test_two_fragments_on_one_node() -> None:
    """One is moved to the node that has none, and dropped after."""
    at = placed("ec:4+2", nodes(7))
    kept, emptied = list(at.stores)[:2]
    at.stores[kept].update(at.stores.pop(emptied))
    (action,) = at.decide().actions
    assert isinstance(action, MakePart)
    assert (action.node, action.holders) == (emptied, (kept,))
    assert at.decide().endangerment == 1
    at.settle()
    at.assert_settled()


def test_as_many_parts_stay_as_can() -> None:
    """If nodes hold several fragments, each keeps one such that nothing has to be made."""
    at = placed("ec:2+1", nodes(3))
    first, second, third = at.stores
    at.stores = {
        first: dict.fromkeys(parts_of(ErasureClass(2, 1)), 1),
        second: {Part(2, 1, 0): 1},
        third: {Part(2, 1, 0): 1, Part(2, 1, 2): 1},
    }
    at.settle()
    at.assert_settled()
    assert not at.made


@pytest.mark.parametrize("full", [1, 2])
def test_a_full_node_keeps_what_it_has(full: int) -> None:
    """Of two that hold the same fragment, the one that can be given no other keeps it."""
    at = placed("ec:2+1", nodes(3))
    at.stores = {1: {Part(2, 1, 0): 1}, 2: {Part(2, 1, 0): 1}, 3: {Part(2, 1, 1): 1}}
    at.full.add(full)
    at.settle()
    assert at.held_on() == {full: [Part(2, 1, 0)], 3 - full: [Part(2, 1, 2)], 3: [Part(2, 1, 1)]}
    at.stores[3 - full] = {Part(2, 1, 0): 1}
    at.full = {1, 2}
    assert at.decide().actions == ()


@pytest.mark.parametrize("reason", ["full", "maintenance"])
def test_others_stand_in(reason: str) -> None:
    """For a node that can be given nothing just now the next one of another domain gets the part, until it can."""
    at = placed("replica:2", nodes(5))
    first, second = at.ring.desired(at.row.object, 2)
    del at.stores[first]
    if reason == "full":
        at.full.add(first)
    else:
        stand(at, first, STANDING_MAINTENANCE)
    at.settle()
    assert at.held_on().keys() == {second, at.ring.order(at.row.object, 2)[2]}
    at.full.clear()
    stand(at, first, STANDING_IN)
    at.settle()
    at.assert_settled()


def test_a_domain_counts_once() -> None:
    """Two copies in one domain are no safer than one; the second is moved to another domain."""
    at = placed("replica:2", [node(1, "a"), node(2, "a"), node(3, "b")])
    at.stores = {1: {COPY: 1}, 2: {COPY: 1}}
    assert at.decide().endangerment == 0
    at.settle()
    at.assert_settled()


def test_a_ring_without_shares() -> None:
    """Nobody can be given anything: nothing is done, nothing is dropped, no form is changed."""
    at = placed("ec:2+1", nodes(3))
    for number in at.nodes:
        stand(at, number, STANDING_DRAINING)
    assert at.decide().actions == ()
    assert at.decide().endangerment == 1
