"""The queue of objects that something is due for, against a list that is sorted anew each time."""

import random

from ringfs.data.steward.heap import Due, DueObjects


def due(number: int, tolerance: int, size_bytes: int = 10) -> Due:
    """Something due for object `number`."""
    return Due(tolerance, number.to_bytes(20, "big"), size_bytes)


def test_it_is_what_a_sorted_list_is() -> None:
    draw = random.Random(5)
    queue, plain = DueObjects(), {}
    for step in range(5000):
        number = draw.randrange(40)
        match draw.randrange(3):
            case 0:
                each = due(number, draw.randrange(-1, 4), draw.randrange(100))
                queue.add(each)
                plain[each.oid] = each
            case 1:
                queue.discard(due(number, 0).oid)
                plain.pop(due(number, 0).oid, None)
            case _:
                expected = min(plain.values(), default=None)
                assert queue.pop() == expected, step
                if expected is not None:
                    del plain[expected.oid]
        assert len(queue) == len(plain)
        assert queue.size_bytes == sum(each.size_bytes for each in plain.values())
        assert queue.endangered() == sum(each.tolerance <= 0 for each in plain.values())


def test_too_many_leave_out_the_least_endangered() -> None:
    queue = DueObjects(entries_max=80)
    for number in range(81):
        queue.add(due(number, number % 3))
    assert len(queue) == 71
    assert [queue.pop().tolerance for _ in range(71)] == [0] * 27 + [1] * 27 + [2] * 17  # type: ignore[union-attr]
    assert queue.pop() is None


def test_what_is_said_again_and_again_takes_no_memory() -> None:
    queue = DueObjects()
    for _ in range(10_000):
        queue.add(due(1, 1))
    assert len(queue._heap) < 100
    queue.clear()
    assert queue.pop() is None
