"""Failover of metadata servers under everything that failover_faults.py names: no application sees an error, and all laws hold.

tools/simulate.py runs thousands of seeds, and any of them again.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.failover_run import run
from tests.support.seeds import seeds

_TOOL = Path(__file__).resolve().parents[2] / "tools" / "simulate.py"


@pytest.mark.parametrize("seed", seeds(140))
def test_names_and_files(seed: int) -> None:
    """Files are what their clients left; names are linearizable."""
    assert run(seed, ("files", "names")).transactions


@pytest.mark.parametrize("seed", seeds(40))
def test_log_and_counter(seed: int) -> None:
    """What several clients append to one file is there once, whole and in order; what they count under a lock is right."""
    assert run(seed, ("log", "counter")).transactions


def test_a_seed_does_the_same_again() -> None:
    """Here, and in another process: else a failure could not be looked into."""
    digest = run(4).digest
    assert run(4).digest == digest
    told = subprocess.run([sys.executable, _TOOL, "--seeds", "4"], capture_output=True, text=True, check=True, timeout=600)
    assert f"digest {digest}" in told.stdout
