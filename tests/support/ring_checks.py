"""What must hold of a ring, said over what its disks have, not over what anybody reports: a part counts if its bytes are right."""

from collections.abc import Iterable

from ringfs.ring.classes import form_for, parse_class
from ringfs.ring.healing import tolerance_of
from ringfs.ring.parts import Part, parts_of
from ringfs.ring.placement import Ring
from ringfs.wire.messages.heal import LiveObject
from tests.support.ring_store import Held
from tests.support.ring_world import RingNode, RingWorld

_KEY_BYTES = 20


def parts_held(world: RingWorld) -> dict[bytes, list[tuple[RingNode, Held]]]:
    """By object: everything that is on disks, whether or not their nodes run."""
    found: dict[bytes, list[tuple[RingNode, Held]]] = {}
    for node in world.ring:
        for key, held in node.disk.held.items():
            found.setdefault(key[:_KEY_BYTES], []).append((node, held))
    return found


def tolerance(parts: Iterable[tuple[RingNode, Held]]) -> int:
    """How many failure domains may be lost on top of what is; negative: the object is lost."""
    return tolerance_of((held.stored.part, node.domain) for node, held in parts if held.first_bad_block() is None)


def too_few(world: RingWorld, lost_count: int) -> list[str]:
    """The live objects that survive fewer losses than their class promises, less so many losses that are being made good."""
    held = parts_held(world)
    findings = []
    for row in world.live_objects():
        promised = parse_class(row.stored_class).tolerance
        left = tolerance(held.get(row.object, []))
        if left < promised - lost_count:
            where = ", ".join(f"{part.stored.part} on {node.name}" for node, part in held.get(row.object, []))
            findings.append(
                f"{row.object.hex()} ({row.stored_class} as {row.form}): {left} left of {promised}; held: {where or 'nowhere'}"
            )
    return findings


def misplaced(world: RingWorld) -> list[str]:
    """What is not exactly where the map says: live objects in the form of their class, one intact part on each node, no others."""
    cluster_map = world.handler.live.nodes.map
    ring = Ring(cluster_map)
    number_of = {node.name: node.node for node in cluster_map.nodes}
    held = parts_held(world)
    findings = []
    for row in world.live_objects():
        there = sorted((number_of[node.name], part.stored.part) for node, part in held.pop(row.object, []))
        fault = _fault(row, ring, there)
        if fault:
            findings.append(f"{row.object.hex()} ({row.stored_class} as {row.form}): {fault}; held: {there}")
    findings += [f"{oid.hex()} is live no more, and on {len(parts)} nodes" for oid, parts in held.items()]
    return findings


def _fault(row: LiveObject, ring: Ring, there: list[tuple[int, Part]]) -> str:
    goal = form_for(parse_class(row.stored_class), row.size_bytes, ring.domain_count)
    if row.form != str(goal):
        return f"not stored as {goal}"
    if sorted(part for _, part in there) != sorted(parts_of(goal)):
        return "not one of each part"
    if sorted(number for number, _ in there) != sorted(ring.desired(row.object, goal.width)):
        return f"belongs on {sorted(ring.desired(row.object, goal.width))}"
    return ""


def rotten(world: RingWorld) -> list[str]:
    """Parts on disks whose bytes are wrong."""
    return [
        f"{held.stored} on {node.name}"
        for parts in parts_held(world).values()
        for node, held in parts
        if held.first_bad_block() is not None
    ]
