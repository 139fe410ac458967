"""Writers with manifests (manifest.py) on the mount of a dev cluster, whose processes are killed under them.

For tests/process and tools/soak.py. Nothing here touches the mount in its own process: one that hangs costs a child.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ringfs.cli.dev import supervise
from ringfs.cli.dev.layout import open_layout
from tests.support.manifest import FAILED, Entry, Verdict, read_manifest
from tests.support.mounts import DevCluster

ROOT = Path(__file__).resolve().parents[2]
WRITERS = 3
#: The longest that a writer may be without an acknowledgement while everything runs, and that checking a directory may take.
PAUSE_SECONDS_MAX = 180
#: What calls return that were cut off by the death of their mount, and those after it.
DEAD_MOUNT_ERRORS = {"ENOTCONN", "ECONNABORTED", "EIO"}


class Stuck(Exception):
    """A writer made no progress, or ended with what it should not have."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Names of processes killed, and the moment (CLOCK_MONOTONIC, ns)."""

    names: tuple[str, ...]
    at_ns: int


@dataclass(slots=True)
class Writer:
    """A process, where it writes and where it keeps its manifest. pending: it said that an fsync began, and not that it ended."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    manifest: Path
    acknowledged_count: int = 0
    pending: bool = False

    @property
    def failure(self) -> str:
        """The errno that its last call failed with, or ""."""
        entries = read_manifest(self.manifest)
        return entries[-1].failed if entries else ""

    def hear(self) -> None:
        """Take in what it has said. Raises Stuck if it has ended."""
        assert self.process.stdout is not None
        said = os.read(self.process.stdout.fileno(), 65536)
        if not said:
            raise Stuck(f"the writer of {self.manifest} ended with {self.process.wait()} {self.failure}")
        self.acknowledged_count += said.count(b")") + said.count(b".")
        if said.strip(b"."):
            self.pending = said.strip(b".").endswith(b"(")


@dataclass(slots=True)
class Totals:
    """What a run has checked."""

    kills: list[Kill] = field(default_factory=list)
    #: Kills in the middle of a call of some writer.
    under_way_count: int = 0
    acknowledged_count: int = 0
    file_count: int = 0
    exact_count: int = 0
    byte_count: int = 0

    def add(self, verdict: Verdict) -> None:
        """One more directory was checked."""
        self.acknowledged_count += verdict.acknowledged_count
        self.file_count += verdict.file_count
        self.exact_count += verdict.exact_count
        self.byte_count += verdict.byte_count


class CrashRun:
    """Writers and kills on one cluster, and what they came to. Each start of writers has new directories."""

    def __init__(self, cluster: DevCluster, books: Path, seed: int) -> None:
        self.cluster = cluster
        self.seed = seed
        self.totals = Totals()
        self._books = books
        self._started_count = 0
        #: Running, and ended but not checked yet.
        self._writers: list[Writer] = []
        self._ended: list[Writer] = []

    # --- writers ------------------------------------------------------------------------------------------------------

    def start_writers(self, count: int = WRITERS) -> None:
        """Start writers; they go on until finish_writers, or until their mount dies."""
        assert not self._writers
        for _ in range(count):
            self._started_count += 1
            name = f"writer{self._started_count}"
            directory, manifest = self.cluster.mount / name, self._books / name
            # Nice: what is started again beside them needs the processors more.
            command = ["nice", *_program("write"), directory, manifest, str(self.seed * 1000 + self._started_count)]
            subprocess.run(["mkdir", directory], check=True, timeout=PAUSE_SECONDS_MAX)
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._writers.append(Writer(process, directory, manifest))

    def wait_acknowledged(self, count: int) -> None:
        """Return when each writer has so many more acknowledgements. Raises Stuck."""
        while any(self._hear(0)):
            pass
        goals = {id(writer): writer.acknowledged_count + count for writer in self._writers}
        deadline_s = time.monotonic() + PAUSE_SECONDS_MAX
        while any(writer.acknowledged_count < goals[id(writer)] for writer in self._writers):
            if not self._hear(deadline_s - time.monotonic()):
                raise Stuck(f"seed {self.seed}: not {count} acknowledgements in {PAUSE_SECONDS_MAX} s")

    def _wait_pending(self) -> None:
        """Return when some writer is in an fsync."""
        while True:
            while self._hear(0):
                pass
            if any(writer.pending for writer in self._writers):
                return
            if not self._hear(PAUSE_SECONDS_MAX):
                raise Stuck(f"seed {self.seed}: no fsync in {PAUSE_SECONDS_MAX} s")

    def _hear(self, seconds: float) -> list[int]:
        """Wait for something to be said, and take it in; empty if nothing was."""
        by_pipe = {writer.process.stdout.fileno(): writer for writer in self._writers if writer.process.stdout is not None}
        ready = select.select(list(by_pipe), [], [], max(0, seconds))[0]
        for pipe in ready:
            by_pipe[pipe].hear()
        return ready

    def finish_writers(self) -> None:
        """Let them sync everything and end. Raises Stuck if one met any error."""
        for writer in self._writers:
            assert writer.process.stdin is not None
            writer.process.stdin.close()
        self._end_writers(expected=0)

    def join_failed_writers(self) -> None:
        """After their mount was killed: each ended because a call failed. Raises Stuck."""
        self._end_writers(expected=FAILED)
        for writer in self._ended:
            if writer.failure and writer.failure not in DEAD_MOUNT_ERRORS:
                raise Stuck(f"seed {self.seed}: {writer.manifest} ended with {writer.failure}")

    def _end_writers(self, *, expected: int) -> None:
        for writer in self._writers:
            assert writer.process.stdout is not None
            # Until its end, so that it never waits for a reader.
            self._drain(writer)
            code = writer.process.wait(PAUSE_SECONDS_MAX)
            if code != expected:
                raise Stuck(f"seed {self.seed}: the writer of {writer.manifest} ended with {code} {writer.failure}")
            self._ended.append(writer)
            self._writers = [other for other in self._writers if other is not writer]

    def _drain(self, writer: Writer) -> None:
        assert writer.process.stdout is not None
        pipe = writer.process.stdout
        while select.select([pipe], [], [], PAUSE_SECONDS_MAX)[0]:
            if not os.read(pipe.fileno(), 65536):
                pipe.close()
                return
        raise Stuck(f"seed {self.seed}: the writer of {writer.manifest} hangs")

    def abandon(self) -> None:
        """Whatever state they are in, the writers end."""
        for writer in self._writers:
            writer.process.kill()

    # --- kills --------------------------------------------------------------------------------------------------------

    def kill(self, *names: str) -> None:
        """SIGKILL processes of the cluster, all at once, while a writer is in an fsync."""
        layout = open_layout(str(self.cluster.directory))
        with ExitStack() as stack:
            victims = []
            for name in names:
                victim = supervise.running(layout.server(name))
                assert victim is not None, f"{name} does not run"
                victims.append(stack.enter_context(victim))
            if self._writers:
                self._wait_pending()
            self.totals.kills.append(Kill(names, time.monotonic_ns()))
            for victim in victims:
                victim.signal(signal.SIGKILL)
            for victim in victims:
                supervise.kill_process(victim)

    def kill_everything(self) -> None:
        """The machine crashed, as far as processes go."""
        layout = open_layout(str(self.cluster.directory))
        self.kill(*(server.name for server in layout.servers() if supervise.is_running(server)))

    # --- the check ----------------------------------------------------------------------------------------------------

    def verify(self) -> list[str]:
        """Check all directories of writers that have ended, and the cluster; what is wrong. Cold if the mount is a new one."""
        findings = []
        for writer in self._ended:
            entries = read_manifest(writer.manifest)
            self.totals.under_way_count += _under_way_count(self.totals.kills, entries)
            command = [*_program("verify"), writer.directory, writer.manifest]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=2 * PAUSE_SECONDS_MAX, check=True)
            verdict = Verdict(**json.loads(done.stdout))
            self.totals.add(verdict)
            findings += [f"seed {self.seed}: {finding}" for finding in verdict.findings]
        self._ended = []
        checked = self.cluster.ringfs("check", "--cluster", self.cluster.directory, check=False)
        if checked.returncode:
            findings.append(f"seed {self.seed}: ringfs check: {checked.stdout}")
        return findings


def _program(verb: str) -> list[str | Path]:
    return [sys.executable, "-m", "tests.support.manifest", verb]


def _under_way_count(kills: Sequence[Kill], entries: Sequence[Entry]) -> int:
    return sum(any(entry.was_under_way(kill.at_ns) for entry in entries) for kill in kills)
