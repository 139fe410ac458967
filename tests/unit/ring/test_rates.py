"""Rates of the race for parts give the chances that weights ask for. Those are found otherwise here: by all ways a race can end."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.ring.rates import ONE, contested, race_rates


def chances(rates: list[int], parts: int) -> list[float]:
    """Of each to be among the first: the next one is any of those left, by its rate."""
    found = [0.0] * len(rates)

    def go_on(left: frozenset[int], chance: float, places: int) -> None:
        whole = sum(rates[runner] for runner in left)
        for runner in left:
            here = chance * rates[runner] / whole
            found[runner] += here
            if places > 1:
                go_on(left - {runner}, here, places - 1)

    go_on(frozenset(range(len(rates))), 1.0, parts)
    return found


@given(st.lists(st.integers(1, 10_000) | st.sampled_from([100, 200]), min_size=2, max_size=7), st.integers(1, 5))
@settings(deadline=None)
def test_chances_are_what_weights_ask_for(drawn: list[int], width: int) -> None:
    """Within 0.5 %, for all that race; the others have a part of every object."""
    weights = tuple(sorted(drawn))
    width = min(width, len(weights))
    parts, total = contested(weights, width)
    rates = race_rates(weights, width)
    racing = [weight for weight in weights if weight in rates]
    assert len(weights) - len(racing) == width - parts
    assert all(parts * weight >= total for weight in weights if weight not in rates)
    if racing:
        found = chances([rates[weight] for weight in racing], parts)
        assert found == pytest.approx([parts * weight / total for weight in racing], rel=0.005)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=40), st.integers(1, 18))
@settings(deadline=None)
def test_more_weight_is_faster(drawn: list[int], width: int) -> None:
    """More than in proportion, if more than one part is raced for."""
    weights = tuple(sorted(drawn))
    rates = sorted(race_rates(weights, min(width, len(weights))).items())
    for (light, slower), (heavy, faster) in pairwise(rates):
        assert faster * light >= slower * heavy * 0.999


def test_equal_weights_need_no_correction() -> None:
    """Nor does one part."""
    assert race_rates((100,) * 12, 3) == {100: 3 * 100 * ONE // 1200}
    assert race_rates((100, 200, 300), 1) == {weight: weight * ONE // 600 for weight in (100, 200, 300)}


def test_too_heavy() -> None:
    """One that is, and what is left for the others; all, if there are as many as parts."""
    assert contested([100, 300, 150], 2) == (1, 250)
    assert contested([50, 100, 200, 400], 3) == (1, 150)
    assert contested([1, 10_000], 2) == (0, 0)
    assert race_rates((1, 10_000), 2) == {}


def test_golden_rates() -> None:
    """docs/formats/placement.md, as numbers: every machine finds these."""
    assert race_rates((80, 100, 120, 160), 2) == GOLDEN_RATES


GOLDEN_RATES = {80: 495966349554, 100: 639007537069, 120: 797127474806, 160: 1250481802233}
