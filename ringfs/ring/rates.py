"""How fast failure domains have to be in the race for an object's parts, so that each wins one as often as its weight asks.

If their speeds are as their weights the heavy win too seldom, since nobody wins twice. So they are made faster until the chances
to be among the first `width` are right. Pure, and in integers: all machines have to find the same. docs/formats/placement.md is
normative, golden numbers test it.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

#: Chances, and the times and rates that they come of, are integers: ONE is 1.
_BITS = 40
ONE = 1 << _BITS
#: Chances are right to one part in so many; the tokens of a ring are not as exact.
_EXACTNESS = 4096
_STEPS_MAX = 32
#: A domain whose chance to win later than this is smaller is done.
_REST = ONE >> 17


def contested(weights: Collection[int], width: int) -> tuple[int, int]:
    """How many parts of each object are raced for, and what the domains that race weigh together. The others are too heavy for a
    share by weight, and have one part of every object. A domain races if (these parts) × (its weight) < (what all these weigh)."""
    parts, total = width, sum(weights)
    for weight in sorted(weights, reverse=True):
        if parts * weight < total:
            break
        parts, total = parts - 1, total - weight
    return parts, total


@lru_cache(maxsize=256)
def race_rates(weights: tuple[int, ...], width: int) -> Mapping[int, int]:
    """By weight, the rates of the domains that race. `weights` are those of all domains, ascending."""
    parts, total = contested(weights, width)
    racing = [weight for weight in weights if parts * weight < total]
    wanted = {weight: parts * weight * ONE // total for weight in racing}
    if parts == 1 or len(wanted) <= 1:
        return wanted
    rates = {weight: _without_rivals(chance) for weight, chance in wanted.items()}
    for _ in range(_STEPS_MAX):
        found = _chances(racing, rates, parts)
        if all(abs(found[weight] - chance) * _EXACTNESS <= chance for weight, chance in wanted.items()):
            break
        rates = {weight: _corrected(rates[weight], found[weight], chance) for weight, chance in wanted.items()}
    return rates


def _without_rivals(chance: int) -> int:
    """About the rate at which something comes within a unit of time with this chance: −ln(1 − chance), 16 terms of a series."""
    ratio = chance * ONE // (2 * ONE - chance)
    square, term, found = ratio * ratio >> _BITS, 2 * ratio, 0
    for index in range(16):
        found += term // (2 * index + 1)
        term = term * square >> _BITS
    return found


def _corrected(rate: int, found: int, wanted: int) -> int:
    """A step of Newton's, from the side on which it does not go too far."""
    return max(rate // 2, rate + (wanted - found) * ONE // (ONE - min(found, wanted)))


def _chances(racing: Sequence[int], rates: Mapping[int, int], parts: int) -> dict[int, int]:
    """By weight, the chance of a domain to be among the first `parts`: summed over short times, in each of which it may come while
    fewer others have come. The times grow by octaves: the chance not to have come by twice a time is the square. Summed up, the
    chances have to be `parts`, which makes up for times that are not short."""
    unit = sum(rates[weight] for weight in racing) * 16
    left = {weight: _powers(_exp_minus(rate * ONE // unit)) for weight, rate in rates.items()}
    fewer = _chances_of_fewer(racing, {weight: powers[4] for weight, powers in left.items()}, parts)
    found = {weight: (ONE - powers[8]) * fewer[weight] >> _BITS for weight, powers in left.items()}
    while any(left[weight][8] * chance >> _BITS > _REST for weight, chance in fewer.items()):
        for middle in (9, 11, 13, 15):
            fewer = _chances_of_fewer(racing, {weight: powers[middle] for weight, powers in left.items()}, parts)
            for weight, powers in left.items():
                found[weight] += (powers[middle - 1] - powers[middle + 1]) * fewer[weight] >> _BITS
        left = {weight: [power * power >> _BITS for power in powers] for weight, powers in left.items()}
    whole = sum(found[weight] for weight in racing)
    return {weight: chance * parts * ONE // whole for weight, chance in found.items()}


def _exp_minus(exponent: int) -> int:
    """e to the −exponent, for small ones."""
    term, found, index = ONE, 0, 0
    while term:
        found += term if index % 2 == 0 else -term
        index += 1
        term = (term * exponent >> _BITS) // index
    return found


def _powers(base: int) -> list[int]:
    """Up to the 16th."""
    return list(accumulate([base] * 16, lambda power, factor: power * factor >> _BITS, initial=ONE))


def _chances_of_fewer(racing: Sequence[int], left: Mapping[int, int], parts: int) -> dict[int, int]:
    """By weight, the chance that of the others fewer than `parts` have come. `left`: by weight, the chance not to have come."""
    nobody = [ONE] + [0] * (parts - 1)
    later = [nobody]
    for weight in reversed(racing):
        later.append(_with_one_more(later[-1], left[weight]))
    earlier, found = nobody, dict[int, int]()
    for index, weight in enumerate(racing):
        if weight not in found:
            at_most = list(accumulate(later[len(racing) - 1 - index]))
            found[weight] = sum(chance * rest for chance, rest in zip(earlier, reversed(at_most), strict=True)) >> _BITS
        earlier = _with_one_more(earlier, left[weight])
    return found


def _with_one_more(chances: list[int], left: int) -> list[int]:
    """The chances that 0, 1, … have come, with one domain more."""
    come = ONE - left
    return [(same * left + fewer * come) >> _BITS for same, fewer in zip(chances, [0, *chances], strict=False)]
