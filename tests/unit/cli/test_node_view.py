"""What tables of nodes say beside the rows: weights that do not fit the disks."""

from dataclasses import replace

from ringfs.cli.node_view import misfits_text
from ringfs.wire.messages.cluster import STANDING_DRAINING, Status
from tests.support.heal_reports import node, status

TIB = 1 << 40


def sized(told: Status, *sizes: int) -> Status:
    """The same, and how large the disks are, in TiB."""
    rows = [replace(row, size_bytes=size * TIB) for row, size in zip(told.nodes, sizes, strict=True)]
    return replace(told, nodes=rows)


def test_weights_that_fit() -> None:
    """In proportion, whatever they count in; about what is not known nothing is said."""
    assert misfits_text(sized(status(node(1), node(2, weight=200), node(3, weight=50)), 4, 8, 2)) == ""
    assert misfits_text(sized(status(node(1), node(2, weight=700)), 4, 0)) == ""


def test_a_weight_that_does_not() -> None:
    """With what it should be; a node that has no share is none of it."""
    told = status(node(1), node(2), node(3), node(4, weight=900, standing=STANDING_DRAINING))
    assert misfits_text(sized(told, 4, 4, 8, 4)) == (
        "weights do not fit the disks, so some get full before others: "
        "data3 (8 TiB) weighs 100, by its size 200 ('ringfs node weight')"
    )


def test_many_weights_that_do_not() -> None:
    """A line stays a line."""
    told = status(*(node(number, weight=100 if number < 9 else 500) for number in range(1, 16)))
    shown = misfits_text(sized(told, *[1] * 15))
    assert shown.count("by its size 100") == 5
    assert shown.endswith(", and 2 others ('ringfs node weight')")
