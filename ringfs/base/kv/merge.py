"""Merging ordered pairs lazily: changes over what they change. Pure."""

from collections.abc import Iterator

#: Keys in order; None stands for a deleted one.
Pairs = Iterator[tuple[bytes, bytes | None]]


def merged(upper: Pairs, lower: Pairs) -> Pairs:
    """Both in order; where both have a key, upper's pair. Deletions stay in, for the next merge to see."""
    above, below = next(upper, None), next(lower, None)
    while above is not None and below is not None:
        if below[0] < above[0]:
            yield below
            below = next(lower, None)
            continue
        if below[0] == above[0]:
            below = next(lower, None)
        yield above
        above = next(upper, None)
    if above is not None:
        yield above
        yield from upper
    elif below is not None:
        yield below
        yield from lower


def without_deletions(pairs: Pairs) -> Iterator[tuple[bytes, bytes]]:
    """The pairs that have a value."""
    return ((key, value) for key, value in pairs if value is not None)
