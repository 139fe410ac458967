"""Weights by size: what a disk is to weigh of which nothing was said, and which weights fit the sizes of their disks badly. Pure.

Weights have no unit, they are relative (docs/formats/placement.md), and operators change them. So the disks that the cluster has
are the measure: a new one weighs for each byte what the one in the middle does. The first one of all weighs WEIGHT_DEFAULT.
"""

from collections.abc import Iterable
from fractions import Fraction
from statistics import median_low
from typing import NamedTuple

from ringfs.base.limits import WEIGHT_MAX

WEIGHT_DEFAULT = 100
#: A weight that is further from what the size says is told to people.
_MISFIT = Fraction(1, 4)


class Weighed(NamedTuple):
    """A disk: its weight, and how much it can hold; 0: nobody knows."""

    weight: int
    size_bytes: int


def weight_for(size_bytes: int, disks: Iterable[Weighed]) -> int:
    """The weight of one of that size beside these disks."""
    measures = [Fraction(*disk) for disk in disks if disk.weight and disk.size_bytes]
    if not size_bytes or not measures:
        return WEIGHT_DEFAULT
    return min(max(1, round(median_low(measures) * size_bytes)), WEIGHT_MAX)


def middle_weight(weights: Iterable[int]) -> int:
    """Of nodes: what one weighs whose disk is as large as theirs are, as far as weights say."""
    known = list(weights)
    return median_low(known) if known else WEIGHT_DEFAULT


def is_misfit(disk: Weighed, disks: Iterable[Weighed]) -> bool:
    """Whether its weight is far from what its size says beside these disks."""
    if not disk.size_bytes:
        return False
    fitting = weight_for(disk.size_bytes, disks)
    return abs(disk.weight - fitting) > fitting * _MISFIT
