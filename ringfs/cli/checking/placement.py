"""Whether what nodes hold of an object is what its form asks for: every part, on failure domains of their own. Pure.

Parts on nodes that are out or lost count for nothing. More than the form asks for is no fault: it is being moved or re-formed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ringfs.ring.classes import ReplicaClass, ServiceClass
from ringfs.ring.parts import Part, parts_of
from ringfs.wire.messages.cluster import STANDING_LOST, STANDING_OUT, Node

_UNCOUNTED = (STANDING_OUT, STANDING_LOST)


@dataclass(frozen=True, slots=True)
class Holding:
    """A part on a node."""

    node: Node
    part: Part

    def __str__(self) -> str:
        if self.part.is_whole:
            return self.node.name
        return f"{self.part.number} on {self.node.name}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What there is of a form. `missing`: parts that no node holds; `spread`: how many parts can be had from distinct domains;
    `to_move`: nodes that a part belongs on and that have none yet, of an object of which nothing is missing."""

    form: ServiceClass
    missing: tuple[Part, ...]
    spread: int
    to_move: int

    @property
    def is_kept(self) -> bool:
        """Whether the object survives the loss of as many domains as its form promises."""
        return self.spread >= self.form.width


def judge(form: ServiceClass, held: Sequence[Holding], desired: Collection[int] = ()) -> Verdict:
    """Against the nodes (numbers) that its parts belong on, as the ring has it."""
    counted = [each for each in held if each.node.standing not in _UNCOUNTED]
    domains: dict[Part, set[str]] = {part: set() for part in parts_of(form)}
    for each in counted:
        if each.part in domains:
            domains[each.part].add(each.node.domain)
    if isinstance(form, ReplicaClass):
        (copy,) = domains
        nodes = {each.node.node for each in counted if each.part == copy}
        missing = (copy,) * max(0, form.copies - len(nodes))
        spread = min(form.copies, len(domains[copy]))
    else:
        missing = tuple(part for part, where in domains.items() if not where)
        spread = _matched(list(domains.values()))
    holders = {each.node.node for each in counted if each.part in domains}
    to_move = 0 if spread < form.width else sum(number not in holders for number in desired)
    return Verdict(form, missing, spread, to_move)


def _matched(wanted: Sequence[Collection[str]]) -> int:
    """How many parts can have a domain of their own, each one of its domains (a maximum matching)."""
    taken: dict[str, int] = {}

    def place(part: int, tried: set[str]) -> bool:
        for domain in wanted[part]:
            if domain not in tried:
                tried.add(domain)
                if domain not in taken or place(taken[domain], tried):
                    taken[domain] = part
                    return True
        return False

    return sum(place(part, set()) for part in range(len(wanted)))


def fault_text(verdict: Verdict, stored_class: str, held: Sequence[Holding]) -> str:
    """What is wrong with an object that is not kept."""
    form, width = verdict.form, verdict.form.width
    shown = ", ".join(sorted(str(each) for each in held)) or "no node that answers"
    if not verdict.missing:
        domains = ", ".join(sorted({each.node.domain for each in held}))
        return f"its {width} parts ({_promise(form, stored_class)}) are in too few failure domains ({domains}): {shown}"
    if isinstance(form, ReplicaClass):
        return f"{width - len(verdict.missing)} of {width} copies ({stored_class}), held by {shown}"
    numbers = ", ".join(str(part.number) for part in verdict.missing)
    return f"{len(verdict.missing)} of {width} fragments missing ({_promise(form, stored_class)}): {numbers}; held: {shown}"


def _promise(form: ServiceClass, stored_class: str) -> str:
    return stored_class if str(form) == stored_class else f"{stored_class} as {form}"
