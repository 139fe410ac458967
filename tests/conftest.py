"""What holds for every test: cheap kinds run first; shared fixtures come from tests/support."""

import os

import pytest
from hypothesis import HealthCheck, settings

from ringfs.cli.dev import ports

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


def ports_of(worker: int, count: int) -> str:
    """What one of so many processes has, and no other: a server that is killed leaves its port to whoever looks for one."""
    lowest, highest = ports.bounds()
    size = (highest - lowest + 1) // count
    return f"{lowest + worker * size}-{lowest + (worker + 1) * size - 1}"


def kind_order(nodeid: str) -> int:
    """Where the test's directory under tests/ stands in the run."""
    kind = nodeid.removeprefix("tests/").partition("/")[0]
    if kind in FIRST:
        return FIRST.index(kind)
    return len(FIRST) + 1 + LAST.index(kind) if kind in LAST else len(FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by kind and keeps the order within one."""
    items.sort(key=lambda item: kind_order(item.nodeid))


def pytest_configure() -> None:
    """Side by side with others: its own ports."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if worker:
        os.environ[ports.VARIABLE] = ports_of(int(worker), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
