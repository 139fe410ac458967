"""One object on a ring whose nodes come, go, fill up and fail, and what stewards do for it: the truth against which
ring/healing.py is tested. Tolerance is counted here by trying all losses."""

import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import combinations

from ringfs.base.ids import NodeId
from ringfs.base.limits import BLOCK_BYTES, DELETE_GRACE_NS
from ringfs.ring.classes import ServiceClass, form_for, parse_class
from ringfs.ring.healing import Action, ChangeForm, Healing, KnownNodes, MakePart, decide
from ringfs.ring.parts import Part, parts_of
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    NODE_UP,
    STANDING_DRAINING,
    STANDING_IN,
    STANDING_LOST,
    STANDING_MAINTENANCE,
    STANDING_OUT,
    ClusterMap,
    Node,
)
from ringfs.wire.messages.heal import LiveObject

CLASSES = ["replica:1", "replica:2", "replica:3", "ec:2+1", "ec:4+2", "ec:3+3"]
LARGE_BYTES = 20 * BLOCK_BYTES


def node(number: int, domain: str | None = None, weight: int = 100) -> Node:
    """Node of that number, up and in."""
    disk = str(uuid.UUID(int=number, version=4))
    return Node(number, disk, f"data{number}", "", domain or f"d{number}", weight, NODE_UP)


def losses_survived(parts: Iterable[tuple[Part, str]]) -> int:
    """How many domains, whichever, can be lost; -1: it cannot be read as it is."""
    held = set(parts)
    domains = sorted({domain for _, domain in held})
    for lost in range(len(domains) + 1):
        for gone in combinations(domains, lost):
            if not is_readable(part for part, domain in held if domain not in gone):
                return lost - 1
    return len(domains)


def is_readable(parts: Iterable[Part]) -> bool:
    """Whether the object can be made of these."""
    by_form: dict[str, set[Part]] = {}
    for part in parts:
        by_form.setdefault(part.form, set()).add(part)
    return any(len(found) >= max(1, next(iter(found)).data) for found in by_form.values())


@dataclass
class OneObject:
    """See the module. `stores` has what each node really holds, with births, up or down."""

    row: LiveObject
    nodes: dict[int, Node]
    stores: dict[int, dict[Part, int]] = field(default_factory=dict)
    full: set[int] = field(default_factory=set)
    now_ns: int = 10 * DELETE_GRACE_NS
    made: list[MakePart] = field(default_factory=list)

    @property
    def ring(self) -> Ring:
        """As the present map means it."""
        return Ring(self.map)

    @property
    def map(self) -> ClusterMap:
        """The present map."""
        return ClusterMap(1, "cluster", [self.nodes[number] for number in sorted(self.nodes)])

    @property
    def promised(self) -> int:
        """The tolerance that its class promises."""
        return parse_class(self.row.stored_class).tolerance

    def parts(self, *, with_given_up: bool = False) -> list[tuple[Part, str]]:
        """What is really there on nodes that count, with the domains."""
        return [
            (part, self.nodes[number].domain)
            for number, store in self.stores.items()
            for part in store
            if with_given_up or self.nodes[number].standing not in (STANDING_OUT, STANDING_LOST)
        ]

    def tolerance(self) -> int:
        """How many more domains may be lost, for good."""
        return losses_survived(self.parts())

    def decide(self, silent: Iterable[int] = ()) -> Healing:
        """What a steward decides that sees what is up, but for the silent ones."""
        held = {NodeId(number): dict(store) for number, store in self.stores.items() if store and self.is_up(number)}
        return decide(self.row, held, KnownNodes.of(self.map, self.ring, silent, self.full), self.now_ns)

    def apply(self, action: Action) -> None:
        """Carry it out, if it can be; time goes by."""
        self.now_ns += 1
        if isinstance(action, MakePart):
            up = [(part, number) for number in self.stores if self.is_up(number) for part in self.stores[number]]
            assert action.holders or is_readable(part for part, _ in up), "made of nothing"
            assert all((action.part, holder) in up for holder in action.holders)
            target = self.nodes[action.node]
            assert (target.state, target.standing, action.node in self.full) == (NODE_UP, STANDING_IN, False)
            self.stores.setdefault(action.node, {})[action.part] = self.now_ns
            self.made.append(action)
        elif isinstance(action, ChangeForm):
            assert action.old_form == self.row.form
            self._assert_complete(parse_class(action.new_form))
            self.row = replace(self.row, form=action.new_form)
        elif self.stores[action.node].get(action.part) == action.birth_ns:
            del self.stores[action.node][action.part]

    def _assert_complete(self, form: ServiceClass) -> None:
        """All parts of a form are up, in as many domains as there can be."""
        up = {
            (part, self.nodes[number].domain)
            for number in self.ring.shared
            for part in self.stores.get(number, {})
            if self.is_up(number)
        }
        found = {(part, domain) for part, domain in up if part in parts_of(form)}
        assert {part for part, _ in found} == set(parts_of(form))
        assert len({domain for _, domain in found}) >= min(form.width, self.ring.domain_count) > 0

    def is_up(self, number: int) -> bool:
        """Whether the node answers."""
        return self.nodes[number].state == NODE_UP

    def settle(self, steps_max: int = 4) -> None:
        """Do what is to be done until nothing is; each step is old when the next one is decided."""
        for _ in range(steps_max):
            self.now_ns += 2 * DELETE_GRACE_NS
            actions = self.decide().actions
            if not actions:
                return
            for action in actions:
                self.apply(action)
        raise AssertionError(f"still not done after {steps_max} steps: {self.decide()}")

    def held_on(self) -> dict[int, list[Part]]:
        """The parts by node, without births and empty nodes."""
        return {number: sorted(store) for number, store in self.stores.items() if store}

    def assert_settled(self) -> None:
        """The right form, every part once, on the nodes that the object belongs on; all of it known."""
        ring = self.ring
        goal = form_for(parse_class(self.row.stored_class), self.row.size_bytes, ring.domain_count)
        assert self.row.form == str(goal)
        desired = ring.desired(self.row.object, goal.width)
        assert set(desired) == set(self.held_on()), (desired, self.held_on())
        assert sorted(part for parts in self.held_on().values() for part in parts) == parts_of(goal)
        assert self.tolerance() == goal.tolerance >= self.promised
        assert self.decide() == Healing(goal.tolerance, is_settled=True)


def placed(stored_class: str, nodes: Iterable[Node], size_bytes: int = LARGE_BYTES, seed: int = 1) -> OneObject:
    """An object as it was put on a healthy ring."""
    oid = random.Random(seed).randbytes(20)
    found = OneObject(LiveObject(oid, size_bytes, size_bytes, stored_class, stored_class), {each.node: each for each in nodes})
    ring = found.ring
    form = form_for(parse_class(stored_class), size_bytes, ring.domain_count)
    found.row = replace(found.row, form=str(form))
    for number, part in zip(ring.desired(oid, form.width), parts_of(form), strict=False):
        found.stores[number] = {part: 1}
    return found


def strewn(draw: random.Random) -> OneObject:
    """An object with parts of its form, and of others, anywhere; readable."""
    domains = draw.randint(1, 8)
    nodes = [
        node(number, f"d{draw.randrange(domains)}", draw.choice([60, 100, 100, 0])) for number in range(1, draw.randint(2, 11))
    ]
    stored_class, form, other = (draw.choice(CLASSES) for _ in range(3))
    found = placed(stored_class, nodes, draw.choice([100, LARGE_BYTES]), draw.getrandbits(30))
    found.row, found.stores = replace(found.row, form=form), {}
    while not is_readable(part for part, _ in found.parts()):
        choice = parse_class(draw.choice([form, form, other]))
        for part in draw.choices(parts_of(choice), k=choice.width):
            found.stores.setdefault(draw.choice(nodes).node, {})[part] = draw.randrange(found.now_ns)
    return found


def change(at: OneObject, draw: random.Random) -> None:
    """Something happens to a node, or to the class. What is promised may be lost only if nodes are given up that held too much."""
    each = at.nodes[draw.choice(sorted(at.nodes))]
    number = each.node
    happens = draw.choice(["down", "down", "up", "up", "standing", "weight", "full", "new", "class", "disk"])
    if happens in ("down", "up"):
        at.nodes[number] = replace(each, state=NODE_DOWN if happens == "down" else NODE_UP)
    elif happens == "standing":
        standings = [STANDING_IN, STANDING_IN, STANDING_DRAINING, STANDING_MAINTENANCE, STANDING_OUT, STANDING_LOST]
        at.nodes[number] = replace(each, standing=draw.choice(standings))
    elif happens == "weight":
        at.nodes[number] = replace(each, weight=draw.choice([0, 50, 100, 200]))
    elif happens == "full":
        at.full ^= {number}
    elif happens == "new":
        new = max(at.nodes) + 1
        at.nodes[new] = node(new, draw.choice([None, each.domain]))
    elif happens == "class":
        at.row = replace(at.row, stored_class=draw.choice(CLASSES))
    elif is_readable(part for other, store in at.stores.items() if other != number for part in store):
        at.stores.pop(number, None)  # its disk is replaced by an empty one
