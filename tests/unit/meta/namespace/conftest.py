"""Fixtures of the namespace's tests."""

import pytest

from tests.support.namespace import TrialNamespace


@pytest.fixture
def trial() -> TrialNamespace:
    """A fresh namespace, checked after every operation."""
    return TrialNamespace()
