"""An Overlay reads as if its changes had been made, and leaves its base alone until they are applied."""

import random

from ringfs.base.kv.memory import MemoryView
from ringfs.base.kv.overlay import Overlay


def test_changes_are_seen_and_the_base_is_not_touched() -> None:
    """Puts and deletes show in get, scan and changes(); the base keeps what it had."""
    base = MemoryView({b"a": b"1", b"b": b"2"})
    overlay = Overlay(base)
    overlay.put(b"c", b"3")
    overlay.delete(b"a")
    assert (overlay.get(b"a"), overlay.get(b"b"), overlay.get(b"c")) == (None, b"2", b"3")
    assert list(overlay.scan(b"", b"z")) == [(b"b", b"2"), (b"c", b"3")]
    assert overlay.changes() == {b"c": b"3", b"a": None}
    assert base.pairs() == {b"a": b"1", b"b": b"2"}


def test_drop_forgets_and_apply_writes() -> None:
    """After drop the base shows through; apply_to writes the changes and leaves an empty overlay."""
    base = MemoryView({b"a": b"1"})
    overlay = Overlay(base)
    overlay.put(b"a", b"9")
    overlay.drop()
    assert overlay.get(b"a") == b"1"
    overlay.delete(b"a")
    overlay.put(b"b", b"2")
    overlay.apply_to(base)
    assert base.pairs() == {b"b": b"2"}
    assert overlay.changes() == {}


def test_against_a_dictionary() -> None:
    """Random puts, deletes and ranges agree with a dictionary that was simply changed."""
    for seed in range(200):
        draw = random.Random(seed)
        keys = [bytes(draw.choices(b"ab\xff", k=draw.randint(0, 3))) for _ in range(12)]
        model = dict.fromkeys(draw.sample(keys, 6), b"base")
        overlay = Overlay(MemoryView(model))
        for _ in range(draw.randint(0, 12)):
            key = draw.choice(keys)
            if draw.random() < 0.5:
                overlay.put(key, b"new")
                model[key] = b"new"
            else:
                overlay.delete(key)
                model.pop(key, None)
        start, stop = draw.choice(keys), draw.choice(keys)
        expected = sorted((key, value) for key, value in model.items() if start <= key < stop)
        assert list(overlay.scan(start, stop)) == expected, f"seed {seed}"
        assert all(overlay.get(key) == model.get(key) for key in keys), f"seed {seed}"
