"""What is to be done for one object so that it is stored as it should be: the decision, from what is known of its parts. Pure.

Each decision is one step: parts to make; or, if none is missing, the change of form; or, if the form is right, parts to drop. It is
asked again after the step, with what is held then. Fragments on nodes that the object belongs on stay, whatever their numbers.
Nothing is dropped before every part was seen where it belongs. Carrying it out is the stewards' (data/steward/).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ringfs.base.ids import NodeId
from ringfs.base.limits import DELETE_GRACE_NS
from ringfs.ring.classes import ReplicaClass, ServiceClass, form_for, parse_class
from ringfs.ring.parts import COPY, Part, parts_of
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_UP, STANDING_IN, STANDING_LOST, STANDING_OUT, ClusterMap
from ringfs.wire.messages.heal import LiveObject

#: What each node holds of one object: the parts, with their births. Nodes that hold none may be left out.
HeldParts = Mapping[NodeId, Mapping[Part, int]]


@dataclass(frozen=True, slots=True)
class MakePart:
    """Have this part on that node: copied from one of `holders`, or made of other parts if there are none."""

    part: Part
    node: NodeId
    holders: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class ChangeForm:
    """All parts of the new form are where they belong: tell the leader. Then, and only if it agrees, the old ones are surplus."""

    old_form: str
    new_form: str


@dataclass(frozen=True, slots=True)
class DropPart:
    """This part is not needed on that node, unless it was put again after birth_ns."""

    part: Part
    node: NodeId
    birth_ns: int


Action = MakePart | ChangeForm | DropPart


@dataclass(frozen=True, slots=True)
class Healing:
    """The next step for an object.

    endangerment: how many more failure domains may be lost (of those that answer), negative: it cannot be read just now.
    is_move: what is to be made serves the place only; the object is as safe as promised already. is_settled: nothing is left to do,
    now or later; without actions and not settled it waits (for nodes that are down or full, for a commit under way).
    """

    endangerment: int
    actions: tuple[Action, ...] = ()
    is_move: bool = False
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class KnownNodes:
    """What is known of the nodes during one pass."""

    ring: Ring
    #: What they hold was listed.
    listed: frozenset[NodeId]
    #: Not listed, but not given up: a part that belongs there and is nowhere else is taken to be there.
    absent: frozenset[NodeId]
    #: What they hold can be read, if they are listed, but counts for nothing: OUT and LOST.
    discounted: frozenset[NodeId]
    #: They can be given parts.
    targets: frozenset[NodeId]

    @staticmethod
    def of(cluster_map: ClusterMap, ring: Ring, silent: Iterable[int] = (), full: Iterable[int] = ()) -> "KnownNodes":
        """All that are up, but for those that were asked and did not say what they hold, or that take nothing just now."""
        up = {NodeId(node.node) for node in cluster_map.nodes if node.state == NODE_UP}
        listed = up.difference(silent)
        given_up = {NodeId(node.node) for node in cluster_map.nodes if node.standing in (STANDING_OUT, STANDING_LOST)}
        working = {NodeId(node.node) for node in cluster_map.nodes if node.standing == STANDING_IN}
        absent = ring.domain_of.keys() - listed - given_up
        targets = (listed & working & ring.shared).difference(full)
        return KnownNodes(ring, frozenset(listed), frozenset(absent), frozenset(given_up), frozenset(targets))


def decide(row: LiveObject, held: HeldParts, nodes: KnownNodes, now_ns: int) -> Healing:
    """The next step for an object of which the listed nodes hold these parts. now_ns: wall clock, as births are."""
    form = _parsed(row.form)
    goal = form_for(_parsed(row.stored_class), row.size_bytes, nodes.ring.domain_count)
    if form == goal and _is_in_place(row.object, form, held, nodes):
        return Healing(form.tolerance, is_settled=True)
    return _Case(row, form, goal, held, nodes).decided(now_ns)


def tolerance_of(parts: Iterable[tuple[Part, str]]) -> int:
    """How many failure domains may be lost of those that the parts are in, and the object can be read; negative: it cannot be. At
    least so many: parts of different forms are not added up."""
    by_form: dict[str, dict[Part, set[str]]] = {}
    for part, domain in parts:
        by_form.setdefault(part.form, {}).setdefault(part, set()).add(domain)
    return max((_form_tolerance(domains_of) for domains_of in by_form.values()), default=-1)


class _Case:
    """One object that may not be as it should be."""

    def __init__(self, row: LiveObject, form: ServiceClass, goal: ServiceClass, held: HeldParts, nodes: KnownNodes) -> None:
        self._row = row
        self._form = form
        self._goal = goal
        self._held = {number: parts for number, parts in held.items() if number in nodes.listed}
        self._nodes = nodes
        self._ring = nodes.ring

    def decided(self, now_ns: int) -> Healing:
        """See decide()."""
        readable = self._tolerance(self._held.keys())
        counted = self._tolerance(self._held.keys() - self._nodes.discounted)
        endangerment = max(counted, min(readable, 0))
        form = self._goal if self._can_have(self._goal) else self._form
        places = self._places(form)
        kept = self._kept(form, places)
        makes = self._missing(form, places, kept, is_readable=readable >= 0)
        if makes:
            is_move = form == self._form and self._form_tolerance(form) >= form.tolerance
            return Healing(endangerment, tuple(makes), is_move)
        if form != self._form:
            return Healing(endangerment, (ChangeForm(str(self._form), str(form)),))
        if form != self._goal or len(kept) < form.width:
            return Healing(endangerment)
        surplus = self._surplus(kept)
        old = [drop for drop in surplus if drop.birth_ns + DELETE_GRACE_NS < now_ns]
        return Healing(endangerment, tuple(old), is_settled=not surplus)

    def _tolerance(self, numbers: Iterable[NodeId]) -> int:
        return tolerance_of((part, self._ring.domain_of[number]) for number in numbers for part in self._held[number])

    def _form_tolerance(self, form: ServiceClass) -> int:
        """What there is of the parts of one form, on nodes that count."""
        wanted = set(parts_of(form))
        counted = self._held.keys() - self._nodes.discounted
        domain_of = self._ring.domain_of
        return tolerance_of((part, domain_of[number]) for number in counted for part in self._held[number] if part in wanted)

    def _can_have(self, form: ServiceClass) -> bool:
        """Whether all parts of a form can be where they belong at once, seen there and not only believed to be."""
        if form == self._form:
            return True
        places = self._places(form)
        enough = form.width if not isinstance(form, ReplicaClass) else min(form.width, self._ring.domain_count)
        return 0 < enough <= len(places) and self._nodes.absent.isdisjoint(places) and self._is_readable()

    def _is_readable(self) -> bool:
        return self._tolerance(self._held.keys()) >= 0

    def _places(self, form: ServiceClass) -> list[NodeId]:
        """Where the parts belong: the first nodes of distinct domains that have a share and could be given a part or have one.
        So the next ones stand in for nodes that are full or in maintenance."""
        desired = self._ring.desired(self._row.object, form.width)
        wanted = set(parts_of(form))
        if all(self._can_be_place(node, wanted) for node in desired):
            return desired
        places: dict[str, NodeId] = {}
        for node in self._ring.order(self._row.object, form.width):
            if len(places) < form.width and node in self._ring.shared and self._can_be_place(node, wanted):
                places.setdefault(self._ring.domain_of[node], node)
        return list(places.values())

    def _can_be_place(self, node: NodeId, wanted: set[Part]) -> bool:
        known = self._nodes
        return node in known.targets or node in known.absent or not wanted.isdisjoint(self._held.get(node, {}))

    def _kept(self, form: ServiceClass, places: list[NodeId]) -> dict[NodeId, Part]:
        """For as many places as possible a part that is there already, and is no other's."""
        wanted = set(parts_of(form))
        options = {node: sorted(wanted.intersection(self._held.get(node, {}))) for node in places}
        if isinstance(form, ReplicaClass):
            return {node: COPY for node, parts in options.items() if parts}
        taken: dict[Part, NodeId] = {}
        # Those first that can be given no other part instead.
        for node in sorted(places, key=self._nodes.targets.__contains__):
            _match(node, options, taken, set())
        return {node: part for part, node in taken.items()}

    def _missing(self, form: ServiceClass, places: list[NodeId], kept: dict[NodeId, Part], *, is_readable: bool) -> list[MakePart]:
        """What can be made and must be, lost parts before those that are only misplaced."""
        free = [node for node in places if node not in kept and node in self._nodes.targets]
        if isinstance(form, ReplicaClass):
            parts = [COPY] * len(free) if is_readable else []
        else:
            unplaced = [part for part in parts_of(form) if part not in kept.values()]
            misplaced = [part for part in unplaced if self._holders(part)]
            unseen = [part for part in unplaced if part not in misplaced]
            lost = _without_assumed(unseen, places, self._nodes.absent) if is_readable else []
            parts = lost + misplaced
        return [MakePart(part, node, self._holders(part)) for part, node in zip(parts, free, strict=False)]

    def _holders(self, part: Part) -> tuple[NodeId, ...]:
        return tuple(node for node, parts in self._held.items() if part in parts)

    def _surplus(self, kept: dict[NodeId, Part]) -> list[DropPart]:
        return [
            DropPart(part, node, birth_ns)
            for node, parts in self._held.items()
            for part, birth_ns in parts.items()
            if kept.get(node) != part
        ]


def _is_in_place(oid: bytes, form: ServiceClass, held: HeldParts, nodes: KnownNodes) -> bool:
    """Whether every part is where it belongs, and nothing else anywhere: so it is for nearly all objects."""
    desired = nodes.ring.desired(oid, form.width)
    found = [part for parts in held.values() for part in parts]
    return (
        len(found) == len(desired) == form.width
        and all(held.get(node) for node in desired)
        and (found.count(COPY) == len(found) if isinstance(form, ReplicaClass) else sorted(found) == parts_of(form))
    )


def _match(node: NodeId, options: Mapping[NodeId, list[Part]], taken: dict[Part, NodeId], tried: set[Part]) -> bool:
    """Give the node one of its parts, if need be by giving others another one of theirs."""
    for part in options[node]:
        if part not in tried:
            tried.add(part)
            if part not in taken or _match(taken[part], options, taken, tried):
                taken[part] = node
                return True
    return False


def _without_assumed(unseen: list[Part], places: list[NodeId], absent: frozenset[NodeId]) -> list[Part]:
    """The parts that nobody has, without those that absent places are taken to have: one each, if it can be the one that was put
    there at first, when fragment i went to the i-th node."""
    left = list(unseen)
    away = [index for index, node in enumerate(places) if node in absent]
    likely = [part for part in left if part.number in away]
    for part in likely + [part for part in unseen if part not in likely][: len(away) - len(likely)]:
        left.remove(part)
    return left


def _form_tolerance(domains_of: Mapping[Part, set[str]]) -> int:
    """Of parts of one form, the domains that each is in."""
    needed = max(1, next(iter(domains_of)).data)
    if needed == 1:
        return len(domains_of[COPY]) - 1
    load: dict[str, int] = {}
    for domains in sorted(domains_of.values(), key=len):
        least = min(domains, key=lambda domain: (load.get(domain, 0), domain))
        load[least] = load.get(least, 0) + 1
    left, losses = len(domains_of), -1
    for lost in sorted(load.values(), reverse=True):
        if left < needed:
            break
        losses += 1
        left -= lost
    return losses


_parsed = lru_cache(maxsize=256)(parse_class)
