"""Classes of service, the promise, and forms, how an object is stored just now: as text and as values. Pure.

A class and a form are written alike: replica:N are N whole copies, ec:K+M are K data and M parity fragments. An object of an EC
class is stored as M+1 copies while it is small, or while too few failure domains are up. Which nodes: placement.py; which bytes
a fragment has: parts.py.
"""

import re
from dataclasses import dataclass

from ringfs.base.errors import UserError
from ringfs.base.limits import BLOCK_BYTES

COPIES_MAX = 6
FRAGMENTS_MAX = 18
#: An EC class with one data fragment would be copies by another name.
DATA_FRAGMENTS_MIN = 2
#: Smaller objects of an EC class are stored as copies: they are one block, which cannot be cut.
FRAGMENTED_BYTES_MIN = BLOCK_BYTES
_FORMAT = re.compile(r"replica:([1-9])|ec:([1-9][0-9]?)\+([1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class ReplicaClass:
    """Whole copies on that many failure domains, 1 to COPIES_MAX."""

    copies: int

    def __str__(self) -> str:
        return f"replica:{self.copies}"

    @property
    def width(self) -> int:
        """Distinct failure domains that it needs."""
        return self.copies

    @property
    def tolerance(self) -> int:
        """How many domains may be lost and nothing with them."""
        return self.copies - 1

    @property
    def needed(self) -> int:
        """Of how many of its parts an object can be made."""
        return 1

    @property
    def overhead(self) -> float:
        """Bytes stored for each byte of a large object."""
        return float(self.copies)


@dataclass(frozen=True, slots=True)
class ErasureClass:
    """Any `data` of data + parity fragments make the object. DATA_FRAGMENTS_MIN <= data, 1 <= parity, together <= FRAGMENTS_MAX."""

    data: int
    parity: int

    def __str__(self) -> str:
        return f"ec:{self.data}+{self.parity}"

    @property
    def width(self) -> int:
        """Distinct failure domains that it needs."""
        return self.data + self.parity

    @property
    def tolerance(self) -> int:
        """How many domains may be lost and nothing with them."""
        return self.parity

    @property
    def needed(self) -> int:
        """Of how many of its parts an object can be made."""
        return self.data

    @property
    def overhead(self) -> float:
        """Bytes stored for each byte of a large object."""
        return self.width / self.data


ServiceClass = ReplicaClass | ErasureClass


def parse_class(text: str) -> ServiceClass:
    """The class, or form, that a text names; str() gives the same text back. Raises UserError for anything else."""
    found = _FORMAT.fullmatch(text)
    if found is not None and found[1]:
        copies = int(found[1])
        if copies <= COPIES_MAX:
            return ReplicaClass(copies)
    elif found is not None:
        data, parity = int(found[2]), int(found[3])
        if data >= DATA_FRAGMENTS_MIN and data + parity <= FRAGMENTS_MAX:
            return ErasureClass(data, parity)
    raise UserError(
        f"{text!r} is not a class of service: write replica:N with N from 1 to {COPIES_MAX}, "
        f"or ec:K+M with K from {DATA_FRAGMENTS_MIN}, M from 1 and at most {FRAGMENTS_MAX} together"
    )


def form_for(wanted: ServiceClass, size_bytes: int, domain_count: int) -> ServiceClass:
    """How an object of that class and size is stored where so many failure domains can take it: never with less tolerance than
    the class promises, be it more than there is place for just now."""
    if isinstance(wanted, ReplicaClass):
        return wanted
    if size_bytes < FRAGMENTED_BYTES_MIN or domain_count < wanted.width:
        return ReplicaClass(wanted.parity + 1)
    return wanted
