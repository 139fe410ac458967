"""A process that hammers few names of one directory, with others on other mounts, and writes its history (directory_history.py).

    python -m tests.support.directory_hammer hammer DIRECTORY HISTORY PROCESS SEED      until standard input ends
    python -m tests.support.directory_hammer look DIRECTORY HISTORY PROCESS SEED        one stat of each name

A character on standard output for each call that returned. Names are in groups (GROUPS), and a call is about names of one group,
so that histories come apart into parts. EIO leaves it open what a call did; an error that the model does not know ends the process.
"""

import errno
import os
import random
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.directory_history import KINDS, Call, Outcome, write_call

#: Names of a group have to do with each other.
GROUPS = tuple(tuple(f"{group}{number}" for number in range(3)) for group in "abc")
WEIGHTS = {"create": 5, "rename": 4, "unlink": 3, "link": 3, "stat": 5}
assert tuple(WEIGHTS) == KINDS
_KNOWN = (errno.EEXIST, errno.ENOENT)


class Hammer:
    """See the module."""

    def __init__(self, directory: Path, history: Path, process: str, seed: int) -> None:
        self._directory = directory
        self._history = history.open("x", buffering=1)
        self._process = process
        self._draw = random.Random(seed)

    def run(self) -> None:
        """Until standard input ends."""
        while not select.select([sys.stdin], [], [], 0)[0]:
            names = self._draw.sample(self._draw.choice(GROUPS), 2)
            (kind,) = self._draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
            self.call(kind, names[0], names[1] if kind in ("rename", "link") else "")
            os.write(1, b".")

    def look(self) -> None:
        """A stat of every name: of what all calls have left."""
        for name in sorted(name for group in GROUPS for name in group):
            self.call("stat", name, "")

    def call(self, kind: str, name: str, other: str) -> None:
        """One call, and its lines in the history. Raises OSError of a kind that there should not be."""
        start_ns = time.monotonic_ns()
        self._history.write(write_call(Call(self._process, kind, name, other, start_ns, None, None)))
        try:
            outcome = self._do(kind, self._directory / name, self._directory / other)
        except OSError as error:
            # What is to be linked was removed by others meanwhile, and so was what had its name when the kernel looked once more.
            is_stale_twice = kind == "link" and error.errno == errno.ESTALE
            if error.errno == errno.EIO or is_stale_twice:
                return
            if error.errno not in _KNOWN:
                raise
            outcome = Outcome(errno.errorcode[error.errno])
        call = Call(self._process, kind, name, other, start_ns, time.monotonic_ns(), outcome)
        self._history.write(write_call(call))

    def _do(self, kind: str, path: Path, other: Path) -> Outcome:
        match kind:
            case "create":
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                try:
                    return Outcome(inode=os.fstat(descriptor).st_ino)
                finally:
                    os.close(descriptor)
            case "rename":
                path.rename(other)
            case "unlink":
                path.unlink()
            case "link":
                other.hardlink_to(path)
            case "stat":
                found = path.lstat()
                return Outcome(inode=found.st_ino, links=found.st_nlink)
        return Outcome()


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    verb, directory, history, process, seed = arguments
    hammer = Hammer(Path(directory), Path(history), process, int(seed))
    if verb == "hammer":
        hammer.run()
    else:
        hammer.look()


if __name__ == "__main__":
    main(sys.argv[1:])
