"""How much fits: against storing part by part, always on the domains that have the most left."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.ring.classes import parse_class
from ringfs.ring.room import room_bytes

FORMS = ["replica:1", "replica:2", "replica:3", "ec:2+1", "ec:4+2"]


def stored_one_by_one(width: int, free: list[int]) -> int:
    """Objects with parts of one byte each that find room."""
    left, count = list(free), 0
    while True:
        left.sort(reverse=True)
        if len(left) < width or left[width - 1] < 1:
            return count
        for index in range(width):
            left[index] -= 1
        count += 1


@settings(deadline=None)
@given(st.sampled_from(FORMS), st.lists(st.integers(0, 30), max_size=9))
def test_as_much_as_fits(text: str, free: list[int]) -> None:
    """To the last part."""
    form = parse_class(text)
    parts, rest = divmod(room_bytes(form, free), form.needed)
    assert parts == stored_one_by_one(form.width, free)
    assert rest < form.needed


@pytest.mark.parametrize(
    ("text", "free", "room"),
    [
        ("replica:2", [100, 100, 100], 150),
        ("replica:2", [10, 1000], 10),
        ("replica:3", [10, 10, 1000], 10),
        ("replica:3", [10, 1000], 0),
        ("replica:2", [], 0),
        ("ec:4+2", [100] * 6, 400),
        ("ec:2+1", [100, 100, 40], 80),
    ],
)
def test_examples(text: str, free: list[int], room: int) -> None:
    """The smallest domains decide where each is needed."""
    assert room_bytes(parse_class(text), free) == room
