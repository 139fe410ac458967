"""How much can be stored where failure domains have so much free: no domain takes two parts of one object. Pure."""

from collections.abc import Iterable

from ringfs.ring.classes import ServiceClass


def room_bytes(form: ServiceClass, free_bytes: Iterable[int]) -> int:
    """Bytes of large objects in that form that there is room for, by what each domain has free."""
    free = sorted(free_bytes, reverse=True)
    # The j largest domains take one part of an object each at the most; the other parts have only the rest. The tightest j decides.
    part_bytes = min(sum(free[largest:]) / (form.width - largest) for largest in range(form.width))
    return int(part_bytes * form.needed)
