"""Weights by size."""

from hypothesis import given
from hypothesis import strategies as st

from ringfs.base.limits import WEIGHT_MAX
from ringfs.ring.weights import WEIGHT_DEFAULT, Weighed, is_misfit, middle_weight, weight_for

TIB = 1 << 40


def grown(sizes: list[int]) -> list[Weighed]:
    """Disks that came one after the other and said nothing of weights."""
    disks: list[Weighed] = []
    for size_bytes in sizes:
        disks.append(Weighed(weight_for(size_bytes, disks), size_bytes))
    return disks


def test_the_first_is_the_measure() -> None:
    """All others weigh what their size says beside it."""
    assert grown([4 * TIB, 4 * TIB, 8 * TIB, TIB, 14 * TIB // 3]) == [
        Weighed(100, 4 * TIB),
        Weighed(100, 4 * TIB),
        Weighed(200, 8 * TIB),
        Weighed(25, TIB),
        Weighed(117, 14 * TIB // 3),
    ]


@given(st.lists(st.integers(1 << 30, 1 << 34), min_size=1, max_size=30), st.integers(1, 1 << 34), st.integers(3, 20))
def test_equal_disks_weigh_the_same(others: list[int], size_bytes: int, count: int) -> None:
    """Those that come one after the other, beside whatever others."""
    assert len(set(grown(others + [size_bytes] * count)[len(others) :])) == 1


@given(st.lists(st.integers(8 * TIB, 64 * TIB), min_size=1, max_size=30))
def test_what_grew_by_size_fits(sizes: list[int]) -> None:
    """Weights are whole numbers; nobody is told that one of them is wrong by more than that."""
    disks = grown(sizes)
    assert not any(is_misfit(disk, disks) for disk in disks)


def test_an_operators_weight_is_no_measure() -> None:
    """Nor are disks whose size is not known, and those without weight; where weights count in thousands, that goes on."""
    usual = [Weighed(100, TIB)] * 3
    assert weight_for(TIB, [*usual, Weighed(10, TIB), Weighed(9000, 0), Weighed(0, TIB)]) == 100
    assert weight_for(2 * TIB, [Weighed(1000, TIB), Weighed(3000, 3 * TIB)]) == 2000


def test_without_a_measure() -> None:
    """Nothing is known of the disk, or of any other."""
    assert weight_for(0, [Weighed(300, TIB)]) == WEIGHT_DEFAULT
    assert weight_for(TIB, []) == weight_for(TIB, [Weighed(300, 0)]) == WEIGHT_DEFAULT
    assert not is_misfit(Weighed(300, 0), [Weighed(100, TIB)])


def test_bounds() -> None:
    """No disk is without weight, none has more than a weight can be."""
    assert weight_for(1, [Weighed(100, TIB)]) == 1
    assert weight_for(1 << 60, [Weighed(100, TIB)]) == WEIGHT_MAX


def test_misfits() -> None:
    """More than a quarter off, either way."""
    disks = [Weighed(100, 4 * TIB)] * 3
    for weight, is_told in ((74, True), (75, False), (125, False), (126, True)):
        assert is_misfit(Weighed(weight, 4 * TIB), disks) == is_told
    assert is_misfit(Weighed(100, 8 * TIB), disks)


def test_the_weight_in_the_middle() -> None:
    """Of nodes whose sizes nobody asked for."""
    assert middle_weight([50, 300, 100]) == 100
    assert middle_weight([]) == WEIGHT_DEFAULT
