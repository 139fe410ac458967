"""What happens to the ring of a dev cluster under applications, and the wait until it has healed by itself.

Every fault stays within what ec:4+2 promises: two domains at one time. For tools/ring_faults.py and its short version in
tests/process.
"""

import itertools
import json
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringfs.cli.dev import supervise
from ringfs.cli.dev.layout import open_layout
from tests.support.applications import Application
from tests.support.crashes import CrashRun, Stuck
from tests.support.mounts import DevCluster
from tests.support.waiting import wait_for

KINDS = ("lose-disk", "lose-two", "rolling", "slow", "flip-bits", "flip-index", "truncate", "fill", "grow-shrink")
#: The longest that healing may take, and a fault be noticed.
HEALED_SECONDS_MAX = 600.0
_STOPPED_S = 8.0
#: What a disk may hold while it is "full".
_SMALL_BYTES = 64 << 20
_FLIPS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One event: the longest that the reader waited, and what healing it took."""

    kind: str
    pause_s: float
    healed_s: float
    moved_bytes: int

    @property
    def rate_mb_s(self) -> float:
        """Of healing, waits for decisions included."""
        return self.moved_bytes / 1e6 / max(self.healed_s, 1e-3)

    def __str__(self) -> str:
        return (
            f"{self.kind:12} pause {self.pause_s:6.2f} s   healed after {self.healed_s:6.1f} s   {self.moved_bytes / 1e6:8.1f} MB"
        )


def moved_since(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """What was moved between two looks, by stewards of these names; one that is new, or began anew, counts from 0."""
    return sum(count - begun if (begun := before.get(name, 0)) <= count else count for name, count in after.items())


class RingEvents:
    """Events one after the other on one cluster; the first application is the reader."""

    def __init__(self, cluster: DevCluster, applications: Sequence[Application], writers: CrashRun, seed: int) -> None:
        self.rows: list[Row] = []
        self.findings: list[str] = []
        self._cluster = cluster
        self._applications = applications
        self._writers = writers
        self._draw = random.Random(seed)

    def happen(self, kind: str) -> Row:
        """One of KINDS, until the ring is healthy again. Raises Stuck."""
        act: dict[str, Callable[[], None]] = {
            "lose-disk": lambda: self._lose(1),
            "lose-two": lambda: self._lose(2),
            "rolling": self._roll,
            "slow": self._stop_one,
            "flip-bits": self._flip_in_segments,
            "flip-index": self._flip_in_index,
            "truncate": self._truncate,
            "fill": self._fill,
            "grow-shrink": self._grow_and_shrink,
        }
        begun_ns = time.monotonic_ns()
        moved_before = self._moved_bytes()
        act[kind]()
        acted_ns = time.monotonic_ns()
        self._wait_healed()
        healed_s = (time.monotonic_ns() - acted_ns) / 1e9
        for application in self._applications:
            application.check_running()
        self._writers.wait_acknowledged(1)
        self._check(kind)
        row = Row(kind, self._pause_s(begun_ns), healed_s, moved_since(moved_before, self._moved_bytes()))
        self.rows.append(row)
        return row

    # --- what is asked ----------------------------------------------------------------------------------------------------

    def _ask(self, *arguments: str) -> Any:
        """What a verb says with --json, once it gets an answer."""
        words: list[str | Path] = [*arguments, "--cluster", self._cluster.directory, "--json"]
        said = wait_for(lambda: self._cluster.ringfs(*words, check=False).stdout, lambda said: "{" in said)
        return json.loads(said[said.index("{") :])

    def _nodes(self) -> list[str]:
        layout = open_layout(str(self._cluster.directory))
        return [server.name for server in layout.servers() if server.verb == "data"]

    def _moved_bytes(self) -> dict[str, int]:
        """By node, what its steward has rebuilt and moved since it began."""
        reports = self._ask("heal", "status")["nodes"]
        return {report["name"]: report["healed_bytes"] + report["moved_bytes"] for report in reports}

    def _wait_healed(self) -> None:
        """Every node is up, and every steward has found nothing to do in the newest map. Raises Stuck."""
        deadline_s = time.monotonic() + HEALED_SECONDS_MAX
        heal: Any = None
        while time.monotonic() < deadline_s:
            heal = self._ask("heal", "status")
            if (
                heal["healed"]
                and not heal["endangered"]
                and all(node["state"] == "up" for node in self._ask("node", "list")["nodes"])
            ):
                return
            for application in self._applications:
                application.check_running()
            time.sleep(0.5)
        raise Stuck(f"not healed after {HEALED_SECONDS_MAX:g} s: {heal}\n{self._cluster.logs()}")

    def _scrub(self, names: Sequence[str]) -> None:
        """Return when these nodes have verified all that they hold. Raises Stuck."""
        begun_ns = time.time_ns()
        self._cluster.ringfs("scrub", "start", *names, "--rate", "500M", "--cluster", self._cluster.directory)
        deadline_s = time.monotonic() + HEALED_SECONDS_MAX
        while time.monotonic() < deadline_s:
            reports = [report for report in self._ask("scrub", "status")["nodes"] if report["name"] in names]
            if len(reports) == len(names) and all(report["scrub_done_ns"] > begun_ns for report in reports):
                return
            time.sleep(0.5)
        raise Stuck(f"{', '.join(names)}: not scrubbed after {HEALED_SECONDS_MAX:g} s\n{self._cluster.logs()}")

    def _check(self, kind: str) -> None:
        checked = self._cluster.ringfs("check", "--deep", "--cluster", self._cluster.directory, check=False)
        if checked.returncode:
            self.findings.append(f"after {kind}: ringfs check: {checked.stdout}")

    def _pause_s(self, since_ns: int) -> float:
        lines = [at_ns for at_ns in list(self._applications[0].lines) if at_ns > since_ns - 10**9]
        return max((after - before for before, after in itertools.pairwise(lines)), default=0) / 1e9

    # --- what happens -----------------------------------------------------------------------------------------------------

    def _pick(self, count: int) -> list[str]:
        return self._draw.sample(self._nodes(), count)

    def _disk(self, name: str) -> Path:
        return Path(self._cluster.directory) / name / "disk"

    def _lose(self, count: int) -> None:
        """SIGKILL, and all that their disks held is gone; an operator puts in empty ones."""
        names = self._pick(count)
        self._writers.kill(*names)
        for name in names:
            shutil.rmtree(self._disk(name))
        time.sleep(8.0)
        for name in names:
            self._disk(name).mkdir()
            self._cluster.ringfs("node", "replace", name, "--cluster", self._cluster.directory)
            self._cluster.dev("start", name)

    def _roll(self) -> None:
        for name in self._nodes():
            self._writers.kill(name)
            time.sleep(1.0)
            self._cluster.dev("start", name)
            self._writers.wait_acknowledged(1)

    def _stop_one(self) -> None:
        (name,) = self._pick(1)
        process = supervise.running(open_layout(str(self._cluster.directory)).server(name))
        assert process is not None, f"{name} does not run"
        with process:
            process.signal(signal.SIGSTOP)
            try:
                time.sleep(_STOPPED_S)
            finally:
                process.signal(signal.SIGCONT)

    def _flip_in_segments(self) -> None:
        """Bytes rot on two disks while their nodes run."""
        names = self._pick(2)
        for name in names:
            for _ in range(_FLIPS):
                self._flip(self._draw.choice(sorted(self._disk(name).glob("segments/*.segment"))))
        self._scrub(names)

    def _flip_in_index(self) -> None:
        """The same in the index and in headers of segments, between two starts: an index in use is mapped memory."""
        (name,) = self._pick(1)
        self._writers.kill(name)
        for path in [*self._disk(name).glob("index/data.mdb"), *self._disk(name).glob("segments/*.segment")]:
            for _ in range(_FLIPS):
                self._flip(path, stop=1 << 20)
        self._start_damaged(name)
        self._scrub([name])

    def _flip(self, path: Path, stop: int = 0) -> None:
        """One bit of a part of the file that is not a hole, or of its first bytes."""
        with open(path, "r+b") as file:
            size = min(path.stat().st_size, stop or 1 << 62)
            offset = self._draw.randrange(size)
            if not stop:
                # Segments are preallocated: what was written is at their beginning.
                offset = self._draw.randrange(min(size, max(1, path.stat().st_blocks * 512 // 4)))
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1 << self._draw.randrange(8)]))

    def _truncate(self) -> None:
        (name,) = self._pick(1)
        self._writers.kill(name)
        segments = sorted(self._disk(name).glob("segments/*.segment"))
        with open(segments[0], "r+b") as file:
            file.truncate(1 << 20)
        self._start_damaged(name)

    def _start_damaged(self, name: str) -> None:
        """Start a node that has lost something: the command says so, and its exit code is 1."""
        self._cluster.dev("start", name, check=False)

    def _fill(self) -> None:
        """A node may hold no more than it has; later it may."""
        (name,) = self._pick(1)
        config = Path(self._cluster.directory) / "cluster.toml"
        before = config.read_text()
        line = f'name = "{name}"\n'
        assert line in before
        config.write_text(before.replace(line, f"{line}capacity_bytes = {_SMALL_BYTES}\n"))
        self._restart(name)
        self._writers.wait_acknowledged(20)
        config.write_text(before)
        self._restart(name)

    def _restart(self, name: str) -> None:
        self._cluster.dev("stop", name)
        self._cluster.dev("start", name)

    def _grow_and_shrink(self) -> None:
        """Two nodes come while one is drained and removed."""
        (leaving,) = self._pick(1)
        self._cluster.dev("add", "2")
        self._cluster.dev("remove", leaving)
