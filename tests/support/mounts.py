"""Where tests that need a mounted ringfs run, and the proof that they did.

`make test` gives --require-mounts: such a run fails unless tests under tests/mount passed on a real FUSE mount, so a
machine without FUSE can not pass by skipping.
"""

import os
from pathlib import Path

import pytest

TEST_DIRECTORY_VARIABLE = "RINGFS_TEST_DIRECTORY"


def substitute_directory() -> Path | None:
    """The directory that stands in for a mount, if the environment names one: the same tests on a file system one trusts."""
    name = os.environ.get(TEST_DIRECTORY_VARIABLE)
    return Path(name) if name else None


class MountRequirement:
    """Counts the tests that passed on a mount, and fails a run that required some and had none."""

    def __init__(self) -> None:
        self.passed_count = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One more, if it was on a mount."""
        is_mount_test = report.nodeid.startswith("tests/mount/") and substitute_directory() is None
        if report.passed and report.when == "call" and is_mount_test:
            self.passed_count += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turns success into failure where nothing was mounted."""
        if session.exitstatus == pytest.ExitCode.OK and not self.passed_count:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says why such a run failed."""
        if not self.passed_count:
            cause = f"{TEST_DIRECTORY_VARIABLE} is set" if substitute_directory() else "see the errors above; is /dev/fuse there?"
            terminalreporter.write_line(f"--require-mounts: no test passed on a real FUSE mount: {cause}", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that `make test` gives."""
    parser.addoption("--require-mounts", action="store_true", help="fail unless tests on a real FUSE mount ran and passed")


def pytest_configure(config: pytest.Config) -> None:
    """Starts counting where mounts are required."""
    if config.getoption("--require-mounts"):
        config.pluginmanager.register(MountRequirement())
