"""Classes of service: how an object survives, as text and as a value. Placement is next door; storing is the client's business."""

from dataclasses import dataclass

from ringfs.base.errors import UserError

COPIES_MAX = 6
_REPLICA = "replica:"


@dataclass(frozen=True, slots=True)
class ReplicaClass:
    """Whole copies on that many nodes, 1 to COPIES_MAX."""

    copies: int

    def __str__(self) -> str:
        return f"{_REPLICA}{self.copies}"


def parse_class(text: str) -> ReplicaClass:
    """The class that "replica:N" names. Raises UserError for anything else; the text that str() gives back is the same."""
    number = text.removeprefix(_REPLICA)
    if text.startswith(_REPLICA) and len(number) == 1 and number in "123456":
        return ReplicaClass(int(number))
    raise UserError(f"{text!r} is not a class of service: write replica:N with N from 1 to {COPIES_MAX}")


assert COPIES_MAX == 6, "parse_class spells the numbers out"
