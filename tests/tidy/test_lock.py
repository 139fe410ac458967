"""requirements.lock: plain, complete, what is installed, and what pyproject.toml allows."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "requirements.lock").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [
    *PROJECT["build-system"]["requires"],
    *PROJECT["project"]["dependencies"],
    *(text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra),
]


def locked() -> dict[str, str]:
    """Version by canonical name."""
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LINES}


def test_lines_are_plain() -> None:
    """Every line is name==version, once: no host, no option, no marker."""
    for line in LINES:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line), line
    assert len(locked()) == len(LINES)


@pytest.mark.parametrize("wanted", WANTED)
def test_lock_satisfies_pyproject(wanted: str) -> None:
    """Each requirement of the project has a locked version that it allows."""
    requirement = Requirement(wanted)
    version = locked().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in requirements.lock: run `make lock`"
    assert requirement.specifier.contains(version), f"{requirement.name} {version} is not {requirement.specifier}: run `make lock`"


def needed() -> dict[str, str]:
    """Version of every distribution in this environment that the project needs, directly or not."""
    found: dict[str, str] = {}
    waiting = [Requirement(text) for text in WANTED]
    while waiting:
        requirement = waiting.pop()
        package = canonicalize_name(requirement.name)
        if package in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            installed = distribution(requirement.name)
        except PackageNotFoundError:
            continue  # a build requirement: not in the environment
        found[package] = installed.version
        waiting += [Requirement(text) for text in installed.requires or ()]
    return found


def test_what_is_needed_is_locked() -> None:
    """Everything that the project needs is here at its locked version, so the lock is complete."""
    versions, installed = locked(), needed()
    assert len(installed) > 20
    for package, version in installed.items():
        if package != "setuptools":  # comes with the virtual environment
            assert versions.get(package) == version, f"{package} {version} is installed: run `make setup` or `make lock`"
