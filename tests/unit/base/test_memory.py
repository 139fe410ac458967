"""What a daemon tells Python's collector of cycles."""

import subprocess
import sys


def test_cycles_are_collected_seldom_but_are() -> None:
    """What was there is looked at no more; cycles made later are freed, though not before there are many."""
    program = """
import gc, weakref
from ringfs.base.memory import collect_seldom
class Knot:
    def __init__(self): self.me = self
collect_seldom()
assert gc.get_freeze_count() > 1000
knots = [weakref.ref(Knot()) for _ in range(10_000)]
assert all(knot() for knot in knots)
knots += [weakref.ref(Knot()) for _ in range(200_000)]
assert sum(knot() is not None for knot in knots) <= 100_000
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
