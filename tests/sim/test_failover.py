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
