"""What holds for every test: cheap kinds run first; shared fixtures come from tests/support."""

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.mounts"]

#: The order of the kinds: the first red test is the cheapest one that shows the fault. Kinds not named come between.
FIRST = ("tidy", "unit")
LAST = ("mount", "process")

#: Examples are the same in every run, so that a change fails for what is in it, and take as long as they take. New ones:
#: `pytest --hypothesis-profile=default tests/…`.
settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("suite")


def kind_order(nodeid: str) -> int:
    """Where the test's directory under tests/ stands in the run."""
    kind = nodeid.removeprefix("tests/").partition("/")[0]
    if kind in FIRST:
        return FIRST.index(kind)
    return len(FIRST) + 1 + LAST.index(kind) if kind in LAST else len(FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by kind and keeps the order within one."""
    items.sort(key=lambda item: kind_order(item.nodeid))
