"""Failover of metadata servers under everything that failover_faults.py names: no application sees an error, and all laws hold.

tools/simulate.py runs thousands of seeds, and any of them again.
"""

import pytest

from tests.support.failover_run import run
from tests.support.seeds import seeds


@pytest.mark.parametrize("seed", seeds(60))
def test_names_and_files(seed: int) -> None:
    """Files are what their clients left; names are linearizable."""
    assert run(seed, ("files", "names")).transactions


@pytest.mark.parametrize("seed", [8, 29, 59, 165, *seeds(12)])
def test_log(seed: int) -> None:
    """What several clients append to one file is there once, whole and in order; the first seeds found what was wrong with that."""
    assert run(seed, ("log",)).transactions
