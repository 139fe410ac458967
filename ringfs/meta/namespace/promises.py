"""Classes and forms of objects as rows have them, as text: what a form keeps of what a class promises."""

from functools import lru_cache

from ringfs.base.errors import Code, Refused, UserError
from ringfs.ring.classes import parse_class


@lru_cache(maxsize=1024)
def tolerance_of(text: str) -> int:
    """How many domains may be lost; -1 for a text that is neither class nor form."""
    try:
        return parse_class(text).tolerance
    except UserError:
        return -1


def keeps(form: str, stored_class: str) -> bool:
    """Whether these are a form and a class, and an object in that form survives all that the class promises."""
    return tolerance_of(form) >= tolerance_of(stored_class) >= 0


def firmest(one: str, other: str) -> str:
    """Which of two classes, or forms, has more tolerance; the first if both have as much."""
    return other if one != other and tolerance_of(other) > tolerance_of(one) else one


def check_form(text: str) -> None:
    """Refused INVALID unless it is a form (or class)."""
    if tolerance_of(text) < 0:
        raise Refused(Code.INVALID, f"{text!r} is no form of an object")
