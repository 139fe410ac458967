"""Which seeds a simulation runs with: a few in the suite, as many as RINGFS_SEEDS says ("100" or "100-200") in a soak."""

import os


def seeds(count: int) -> range:
    """The first `count` seeds, or what the environment asks for."""
    asked = os.environ.get("RINGFS_SEEDS", "")
    if not asked:
        return range(count)
    first, _, last = asked.rpartition("-")
    return range(int(first or 0), int(last))
