"""The audit log of a disk: what was found damaged on it, and what became of that. Append-only JSON lines, durable when add returns.

DISK/audit.log; at AUDIT_BYTES_MAX it becomes audit.log.1, that audit.log.2, and so on; KEPT_MAX old ones are kept.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import trio

from ringfs.base.clock import Clock
from ringfs.base.files import Files
from ringfs.base.limits import MIB

NAME = "audit.log"
AUDIT_BYTES_MAX = 4 * MIB
KEPT_MAX = 8


class Audit(Protocol):
    """Where a steward writes down what it found; simulations have one in memory."""

    async def add(self, event: str, **facts: str | int) -> None:
        """One line. Raises OSError."""
        ...


class AuditLog:
    """See the module. Used from one event loop."""

    def __init__(self, files: Files, directory: Path, clock: Clock) -> None:
        self._files = files
        self._directory = directory
        self._clock = clock
        self._turn = trio.Lock()

    async def add(self, event: str, **facts: str | int) -> None:
        """See Audit."""
        time = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **facts}).encode() + b"\n"
        async with self._turn:
            await trio.to_thread.run_sync(self._append, line)

    def _append(self, line: bytes) -> None:
        names = set(self._files.list(self._directory))
        if NAME in names and self._is_full(len(line)):
            self._rotate(names)
            names.remove(NAME)
        file = self._files.open(self._directory / NAME, create=NAME not in names)
        try:
            end = file.size_bytes()
            # A crash may have left a part of a line.
            is_torn = end > 0 and file.pread(1, end - 1) != b"\n"
            file.pwrite(b"\n" + line if is_torn else line, end)
            file.fdatasync()
        finally:
            file.close()
        if NAME not in names:
            self._files.sync_directory(self._directory)

    def _is_full(self, line_bytes: int) -> bool:
        file = self._files.open(self._directory / NAME)
        try:
            return file.size_bytes() + line_bytes > AUDIT_BYTES_MAX
        finally:
            file.close()

    def _rotate(self, names: set[str]) -> None:
        for number in range(KEPT_MAX, 0, -1):
            older = f"{NAME}.{number - 1}" if number > 1 else NAME
            if older in names:
                self._files.rename(self._directory / older, self._directory / f"{NAME}.{number}")
        self._files.sync_directory(self._directory)
