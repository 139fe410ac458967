"""A ring of 5 to 12 nodes in which all goes wrong that its class promises to survive, from a seed: tests/support/ring_run.py
says what must hold. Many more seeds: tools/simulate.py --world ring."""

import pytest

from tests.support.ring_run import run
from tests.support.seeds import seeds

#: Shorter than by the tool, so that more seeds fit in.
_FAULTS_S = 25.0


@pytest.mark.parametrize("seed", seeds(18))
def test_a_ring_keeps_its_promises(seed: int) -> None:
    """How much its clients get done is the seed's: any change of the code may make it little, but not nothing."""
    report = run(seed, _FAULTS_S)
    assert report.writes > 0
    assert report.reads > 0


def test_a_seed_does_the_same_again() -> None:
    assert run(1000, _FAULTS_S) == run(1000, _FAULTS_S)
