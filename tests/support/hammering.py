"""Hammers (directory_hammer.py) on the mounts of a cluster, and the check of their histories. For tests/process and tools/.

Like crashes.py, it touches no mount in its own process.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.crashes import PAUSE_SECONDS_MAX, ROOT, Stuck
from tests.support.directory_history import Call, explain, find_violations, read_history

_HAMMER = (sys.executable, "-m", "tests.support.directory_hammer")


@dataclass(slots=True)
class _Running:
    """A hammer, and how many calls of it have returned."""

    process: "subprocess.Popen[bytes]"
    call_count: int = 0


class Hammering:
    """Processes that hammer one new directory through several mounts."""

    def __init__(self, mounts: Sequence[Path], books: Path, seed: int) -> None:
        self.seed = seed
        self._directories = [mount / f"hammered{seed}" for mount in mounts]
        self._books = books
        self._running: list[_Running] = []
        self._histories: list[Path] = []

    def start(self, per_mount: int = 2) -> None:
        """They go on until `finish`."""
        subprocess.run(["mkdir", self._directories[0]], check=True, timeout=PAUSE_SECONDS_MAX)
        for index, directory in enumerate(self._directories * per_mount):
            process = f"hammer{index}"
            history = self._books / process
            command = ["nice", *_HAMMER, "hammer", str(directory), str(history), process, str(self.seed * 1000 + index)]
            started = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._running.append(_Running(started))
            self._histories.append(history)

    def wait_calls(self, count: int) -> None:
        """Return when each has had so many more answers. Raises Stuck."""
        goals = [hammer.call_count + count for hammer in self._running]
        deadline_s = time.monotonic() + PAUSE_SECONDS_MAX
        while any(hammer.call_count < goal for hammer, goal in zip(self._running, goals, strict=True)):
            if not self._hear(deadline_s - time.monotonic()):
                raise Stuck(f"seed {self.seed}: not {count} answers to each hammer in {PAUSE_SECONDS_MAX} s")

    def _hear(self, seconds: float) -> bool:
        by_pipe = {hammer.process.stdout.fileno(): hammer for hammer in self._running if hammer.process.stdout is not None}
        ready = select.select(list(by_pipe), [], [], max(0.0, seconds))[0]
        for pipe in ready:
            said = os.read(pipe, 65536)
            by_pipe[pipe].call_count += len(said)
            if not said:
                raise Stuck(f"seed {self.seed}: a hammer ended with {by_pipe[pipe].process.wait()}")
        return bool(ready)

    def finish(self) -> list[Call]:
        """Let them end, and look at every name through each mount: all calls. Raises Stuck."""
        for hammer in self._running:
            try:
                hammer.process.communicate(timeout=PAUSE_SECONDS_MAX)
            except subprocess.TimeoutExpired as error:
                raise Stuck(f"seed {self.seed}: a hammer hangs") from error
            if hammer.process.returncode:
                raise Stuck(f"seed {self.seed}: a hammer ended with {hammer.process.returncode}")
        self._running = []
        for index, directory in enumerate(self._directories):
            look = self._books / f"look{index}"
            subprocess.run([*_HAMMER, "look", directory, look, look.name, "0"], cwd=ROOT, check=True, timeout=PAUSE_SECONDS_MAX)
            self._histories.append(look)
        return read_history(self._histories)

    def abandon(self) -> None:
        """Whatever state they are in, they end."""
        for hammer in self._running:
            hammer.process.kill()


def findings(calls: Sequence[Call]) -> list[str]:
    """What no order explains, and calls whose outcome is not known: there should be none while only servers are killed."""
    unknown = [f"no outcome: {call}" for call in calls if call.outcome is None]
    return [*unknown, *map(explain, find_violations(calls))]
