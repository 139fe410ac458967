"""Classes of service are read from text and written back the same; anything else is a person's mistake."""

import pytest

from ringfs.base.errors import UserError
from ringfs.ring.classes import COPIES_MAX, ReplicaClass, parse_class


@pytest.mark.parametrize("copies", range(1, COPIES_MAX + 1))
def test_every_number_of_copies(copies: int) -> None:
    """replica:1 to replica:6 are classes, and say so again."""
    assert parse_class(f"replica:{copies}") == ReplicaClass(copies)
    assert str(ReplicaClass(copies)) == f"replica:{copies}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "replica",
        "replica:",
        "replica:0",
        "replica:7",
        "replica:10",
        "replica: 2",
        "ec:1+2",
        "ec:4+0",
        "ec:16+3",
        "ec:04+2",
        "Replica:2",
        "2",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """The message shows what was written and what may be."""
    with pytest.raises(UserError, match=r"replica:N"):
        parse_class(text)
