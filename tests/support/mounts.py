"""Real clusters and mounts for tests, and the proof that tests ran on one.

`make test` gives --require-mounts: such a run fails unless tests under tests/mount passed on a real FUSE mount, so a
machine without FUSE can not pass by skipping. RINGFS_TEST_DIRECTORY=DIR runs tests/mount in any directory instead: on
a file system that one trusts, that shows whether a test is right. RINGFS_TEST_DRIVER=pyfuse3 mounts through that driver.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ringfs.fuse import DRIVERS
from tests.support.waiting import wait_for

TEST_DIRECTORY_VARIABLE = "RINGFS_TEST_DIRECTORY"
DRIVER_VARIABLE = "RINGFS_TEST_DRIVER"
#: The longest that a command on a cluster may take before its test fails.
COMMAND_SECONDS_MAX = 300
#: And how long killed processes may take to be gone.
KILL_SECONDS_MAX = 60
RINGFS = Path(sys.executable).with_name("ringfs")


def substitute_directory() -> Path | None:
    """The directory that stands in for a mount, if the environment names one."""
    name = os.environ.get(TEST_DIRECTORY_VARIABLE)
    return Path(name).resolve() if name else None


def driver_under_test() -> str:
    """The driver that the tests run on: the default, or what the environment names."""
    return os.environ.get(DRIVER_VARIABLE, DRIVERS[0])


class DevCluster:
    """A cluster of real processes, driven through `ringfs dev`."""

    def __init__(self, root: Path) -> None:
        #: Everything is under it: cluster/ with a directory for each process, and mount points.
        self.root = root
        self.directory = root / "cluster"
        self.mount = root / "mnt"

    def ringfs(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a ringfs command; with check, one that fails fails the test with all it said and the ends of all logs."""
        command = [str(RINGFS), *map(str, arguments)]
        # Files, not pipes: a daemon that inherited a pipe would keep this waiting for its end.
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS_MAX, check=False
            ).returncode
            output.seek(0)
            said = output.read()
        if check and code:
            pytest.fail(f"{' '.join(command)}: exit code {code}\n{said}\n{self.logs()}")
        return subprocess.CompletedProcess(command, code, said, "")

    def dev(self, verb: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`ringfs dev VERB DIR ARGUMENTS`."""
        return self.ringfs("dev", verb, self.directory, *arguments, check=check)

    def rows(self) -> dict[str, dict[str, Any]]:
        """What `dev status` says, by name."""
        said = self.dev("status", "--json", check=False).stdout
        return {row["name"]: row for row in json.loads(said)}

    def rows_without_notes(self) -> dict[str, dict[str, Any]]:
        """The same, once nothing is noted: who stood still for seconds, with the whole machine, is noted as not answering."""
        return wait_for(self.rows, lambda rows: not any(row["note"] for row in rows.values()))

    def up(self, *options: str) -> None:
        """Starts it, or what of it does not run; mounted when it returns."""
        self.mount.mkdir(exist_ok=True)
        self.dev("up", "--mount", self.mount, "--driver", driver_under_test(), *options)

    def another_mount(self, name: str, driver: str | None = None) -> Path:
        """One more mount point, mounted, by the tested driver if no other is named."""
        point = self.root / name
        point.mkdir()
        self.dev("mount", point, "--driver", driver or driver_under_test())
        return point

    def new_books(self) -> Path:
        """A local directory for what programs on the mount note down; it is kept or goes with the cluster's files."""
        books = self.root / "books"
        books.mkdir()
        return books

    def logs(self) -> str:
        """The ends of all logs."""
        ends = (f"--- {log.parent.name}\n{log.read_text(errors='replace')[-2000:]}" for log in sorted(self.directory.glob("*/log")))
        return "\n".join(ends)

    def pids(self) -> list[int]:
        """Of all processes whose command line names the cluster's directory: its daemons, also those that have no pid file yet."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):  # ended meanwhile
                    if os.fsencode(self.directory) in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    def destroy(self) -> None:
        """Ends everything whatever state it is in, and removes it: down, then SIGKILL by pid, then lazy unmounts."""
        try:
            self.dev("down", check=False)
        finally:
            self._kill_all()
            for point in self.mounted():
                subprocess.run(["umount", "--lazy", str(point)], check=False)
            shutil.rmtree(self.root)

    def _kill_all(self) -> None:
        """SIGKILL until none is left: one that was being started may start another."""
        deadline = time.monotonic() + KILL_SECONDS_MAX
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.sched_yield()

    def mounted(self) -> list[Path]:
        """Mount points under root that are still mounted."""
        points = (Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines())
        return [point for point in points if point.is_relative_to(self.root)]


@contextmanager
def dev_cluster(*options: str) -> Iterator[DevCluster]:
    """A cluster that is up and mounted, with those options of `ringfs dev up`; nothing of it is left afterwards."""
    # Not pytest's tmp_path: other users must be able to reach the mount.
    root = Path(tempfile.mkdtemp(prefix="ringfs-test."))
    root.chmod(0o755)
    cluster = DevCluster(root)
    try:
        cluster.up(*options)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevCluster]:
    """The cluster that all mount tests share: three data nodes, ec:2+1. Tests that kill something make their own."""
    if not Path("/dev/fuse").exists():
        pytest.fail("there is no /dev/fuse on this machine: tests on a mount cannot run", pytrace=False)
    with dev_cluster("--data", "3") as shared:
        yield shared


@pytest.fixture(scope="session")
def mount_point(request: pytest.FixtureRequest) -> Path:
    """A mounted ringfs, or the directory that stands in for it."""
    substitute = substitute_directory()
    if substitute is not None:
        return substitute
    shared: DevCluster = request.getfixturevalue("cluster")
    return shared.mount


@pytest.fixture(scope="session")
def second_mount_point(request: pytest.FixtureRequest, mount_point: Path) -> Path:
    """Another mount of the same file system; the substitute directory itself where there is one."""
    if substitute_directory() is not None:
        return mount_point
    shared: DevCluster = request.getfixturevalue("cluster")
    return shared.another_mount("mnt2")


@pytest.fixture(scope="session")
def is_ringfs() -> bool:
    """Whether the tests run on ringfs: what it declines works on a local file system."""
    return substitute_directory() is None


@pytest.fixture(scope="session")
def driver(is_ringfs: bool) -> str:
    """The driver that the tests run on; "" where the substitute directory is tested."""
    return driver_under_test() if is_ringfs else ""


@contextmanager
def open_directory(mount_point: Path) -> Iterator[Path]:
    """An empty directory that every user may write in."""
    directory = Path(tempfile.mkdtemp(prefix="t.", dir=mount_point))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def place(mount_point: Path) -> Iterator[Path]:
    """An empty directory on the mount, open to every user; it can be removed with all that a test left in it."""
    with open_directory(mount_point) as directory:
        yield directory


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
    """Starts counting where mounts are required: in the process that hears of all tests, which xdist's workers do not."""
    if config.getoption("--require-mounts") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(MountRequirement())
