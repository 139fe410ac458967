"""What must hold of a ring, said over what its disks have, not over what anybody reports: a part counts if its bytes are right."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations

from ringfs.data.stored_part import StoredPart
from ringfs.ring.classes import form_for, parse_class
from ringfs.ring.healing import tolerance_of
from ringfs.ring.parts import COPY, Part, parts_of
from ringfs.ring.placement import Ring
from ringfs.wire.messages.heal import LiveObject
from tests.support.ring_store import Held
from tests.support.ring_world import RingNode, RingWorld

_KEY_BYTES = 20
_NOTHING: Mapping[bytes, int] = {}


def parts_held(world: RingWorld, oid: bytes = b"") -> dict[bytes, list[tuple[RingNode, Held]]]:
    """By object: everything that is on disks (of that one), whether or not their nodes run."""
    found: dict[bytes, list[tuple[RingNode, Held]]] = {}
    for node in world.ring:
        for key, held in node.disk.held.items():
            if key.startswith(oid):
                found.setdefault(key[:_KEY_BYTES], []).append((node, held))
    return found


def tolerance(parts: Iterable[tuple[RingNode, Held]]) -> int:
    """How many failure domains may be lost on top of what is, whichever they are; negative: the object is lost."""
    intact = [(held.stored.part, node.domain) for node, held in parts if not held.is_rotten]
    domains = {domain for _, domain in intact}
    for count in range(len(domains) + 1):
        for lost in combinations(sorted(domains), count):
            if not _is_readable({part for part, domain in intact if domain not in lost}):
                return count - 1
    return len(domains)


def _is_readable(parts: set[Part]) -> bool:
    """Whether an object can be made of these: a copy, or enough fragments of one form."""
    forms = Counter(part.form for part in parts)
    return COPY in parts or any(form and count >= parse_class(form).needed for form, count in forms.items())


def too_few(world: RingWorld, lost: Mapping[bytes, int] = _NOTHING, oid: bytes = b"") -> dict[bytes, str]:
    """The live objects, or that one, that survive fewer losses than their class promises, and what is there of them. lost: by
    object, how many losses of its own are being made good."""
    held = parts_held(world, oid)
    findings = {}
    one = world.live_object(oid) if oid else None
    for row in ([one] if one else []) if oid else world.live_objects():
        # A class that has just grown is a promise for later.
        promised = min(parse_class(row.stored_class).tolerance, parse_class(row.form).tolerance)
        parts = held.get(row.object, [])
        at_least = tolerance_of((part.stored.part, node.domain) for node, part in parts if not part.is_rotten)
        left = at_least if at_least >= promised else tolerance(parts)
        if left < promised - lost.get(row.object, 0):
            where = ", ".join(f"{part.stored.part} on {node.name}{' (rotten)' * part.is_rotten}" for node, part in parts)
            findings[row.object] = (
                f"{row.object.hex()} ({row.stored_class} as {row.form}): {left} left of {promised}, with "
                f"{lost.get(row.object, 0)} losses; held: {where or 'nowhere'}"
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


def rotten(world: RingWorld) -> list[tuple[str, StoredPart]]:
    """Parts on disks whose bytes are wrong, each with its node."""
    return [(node.name, held.stored) for parts in parts_held(world).values() for node, held in parts if held.is_rotten]
