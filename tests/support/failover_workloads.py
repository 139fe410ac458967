"""What clients do in the simulation of failover, and what they must find afterwards. No call may fail: an outage is a pause.

files     every client in a directory of its own: files are made, written, synced, renamed, removed, and read after that; at the
          end a new mount must find exactly that, byte for byte (failover_files.py)
names     all clients in one directory, about few names: the history must be linearizable (failover_names.py)
log       all clients append to one file: every record is there once, whole, each client's in its order (failover_log.py)
counter   all clients add one to the number in a file, each under a lock: nobody's is lost, and no two have the lock
          (failover_counter.py)

A client may crash. What it had synced must be there, what it had not may be, and it may have left nothing that stops others.
"""

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from ringfs.client.file_system import FileSystem
from tests.support.failover_counter import Counter
from tests.support.failover_files import Files
from tests.support.failover_log import Log
from tests.support.failover_names import Names


class Workload(Protocol):
    """What one does and checks."""

    async def prepare(self, fs: FileSystem) -> None:
        """Before anything goes wrong."""
        ...

    async def step(self, index: int, fs: FileSystem) -> None:
        """One thing that client does. Raises Refused, which is a finding."""
        ...

    def crashed(self, index: int) -> None:
        """That client is gone, perhaps in the middle of a step; the next step of this index is another client's."""
        ...

    async def verify(self, fs: FileSystem) -> list[str]:
        """What is wrong, in the eyes of a new mount, after all clients have synced."""
        ...


KINDS = ("files", "names", "log", "counter")


def workloads(kinds: Sequence[str], draw: random.Random, client_count: int) -> dict[str, Workload]:
    """Those of these KINDS."""
    makers: dict[str, Callable[[], Workload]] = {
        "files": lambda: Files(draw, client_count),
        "names": lambda: Names(draw, client_count),
        "log": lambda: Log(draw, client_count),
        "counter": lambda: Counter(),
    }
    return {kind: makers[kind]() for kind in kinds}
