"""What a change of the map would move, before it is made: by node, with the balance afterwards and the time it takes. Pure.

Counted on evenly spaced points of the ring, so the same question has the same answer. What is moved in truth is less if objects are
where they belong already, and more if healing was under way.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ringfs.base.ids import NodeId
from ringfs.ring.classes import FRAGMENTED_BYTES_MIN, ServiceClass, form_for, parse_class
from ringfs.ring.placement import Ring
from ringfs.ring.shares import has_share
from ringfs.wire.messages.cluster import NODE_UP, ClusterMap, Node

SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node of either map. weight_share: its part of the weight of all nodes that have a share of the new ring; held_share: its
    part of what is stored then, which is less where a failure domain is too heavy to hold so much, and more on the others."""

    node: int
    name: str
    used_bytes: int
    in_bytes: int
    out_bytes: int
    after_bytes: int
    weight_share: float
    held_share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """moved_bytes are copied or made anew, moved_fraction of all that is stored; duration_s at that rate, all stewards at work.

    unmet: the classes in use that the new map has too few failure domains for (EC classes are stored as copies then).
    """

    nodes: tuple[NodePlan, ...]
    moved_bytes: int
    moved_fraction: float
    duration_s: float
    unmet: tuple[str, ...]


class _Tally:
    """Bytes by node."""

    def __init__(self) -> None:
        self.held: dict[int, float] = {}
        self.comes: dict[int, float] = {}
        self.leaves: dict[int, float] = {}


def plan_moves(
    before: ClusterMap,
    after: ClusterMap,
    used_bytes: Mapping[int, int],
    stored_bytes: Mapping[str, int],
    rate_bytes_per_s: int,
    samples: int = SAMPLES,
) -> Plan:
    """The plan for going from one map to another.

    used_bytes: what each node uses; stored_bytes: what objects of each class take on all disks together; rate_bytes_per_s: what
    one node's steward moves.
    """
    old, new = Ring(before), Ring(after)
    tally = _Tally()
    for text, total_bytes in stored_bytes.items():
        _add_class(tally, parse_class(text), total_bytes, old, new, samples)
    moved_bytes, stored = sum(tally.comes.values()), sum(stored_bytes.values())
    workers = sum(has_share(node) and node.state == NODE_UP for node in after.nodes)
    return Plan(
        _node_plans(before, after, used_bytes, tally),
        round(moved_bytes),
        moved_bytes / stored if stored else 0.0,
        moved_bytes / (rate_bytes_per_s * workers) if workers else 0.0,
        tuple(text for text in stored_bytes if parse_class(text).width > new.domain_count),
    )


def _add_class(tally: _Tally, wanted: ServiceClass, total_bytes: int, old: Ring, new: Ring, samples: int) -> None:
    """Large objects of one class, one at each of the points."""
    old_form = form_for(wanted, FRAGMENTED_BYTES_MIN, old.domain_count)
    new_form = form_for(wanted, FRAGMENTED_BYTES_MIN, new.domain_count)
    old_part_bytes = total_bytes / samples / max(1, min(old_form.width, old.domain_count))
    new_part_bytes = old_part_bytes * old_form.needed / new_form.needed
    # Copies stay copies; fragments of another form are others.
    keeps = old_form.needed == new_form.needed
    for index in range(samples):
        oid = ((2 * index + 1) * (1 << 63) // samples).to_bytes(8, "big")
        was, becomes = set(old.desired(oid, old_form.width)), set(new.desired(oid, new_form.width))
        stay = was & becomes if keeps else set[NodeId]()
        for node in becomes:
            tally.held[node] = tally.held.get(node, 0.0) + new_part_bytes
        for node in becomes - stay:
            tally.comes[node] = tally.comes.get(node, 0.0) + new_part_bytes
        for node in was - stay:
            tally.leaves[node] = tally.leaves.get(node, 0.0) + old_part_bytes


def _node_plans(before: ClusterMap, after: ClusterMap, used_bytes: Mapping[int, int], tally: _Tally) -> tuple[NodePlan, ...]:
    nodes: dict[int, Node] = {node.node: node for node in [*before.nodes, *after.nodes]}
    weights = {node.node: node.weight for node in after.nodes if has_share(node)}
    weight, held = sum(weights.values()) or 1, sum(tally.held.values()) or 1
    plans = []
    for number in sorted(nodes):
        used, comes, leaves = used_bytes.get(number, 0), round(tally.comes.get(number, 0)), round(tally.leaves.get(number, 0))
        after_bytes = max(0, used + comes - leaves) if number in weights else 0
        shares = weights.get(number, 0) / weight, tally.held.get(number, 0.0) / held
        plans.append(NodePlan(number, nodes[number].name, used, comes, leaves, after_bytes, *shares))
    return tuple(plans)
