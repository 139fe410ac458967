"""Programs that run on a mount while servers are killed under it, each a child that says a line for each thing it has done."""

import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tests.support.crashes import ROOT, Stuck

#: Of what it says beside numbers, the last lines are told if it fails.
LAST_WORDS = 40
#: How long one may take to end.
END_SECONDS_MAX = 300.0


class Application:
    """A process that says a line for each acknowledgement: a number, usually of CLOCK_MONOTONIC, ns. Other lines are a report."""

    def __init__(self, name: str, command: Sequence[str | Path]) -> None:
        self.name = name
        self.lines: list[int] = []
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        self._process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().isdigit():
                self.lines.append(int(line))
            else:
                self._words.append(line.decode(errors="replace").rstrip())

    def finish(self, signal_number: int = 0, good: Sequence[int] = (0,)) -> None:
        """Let it end. Raises Stuck if it met an error, or does not end."""
        assert self._process.stdin is not None
        if signal_number and self._process.poll() is None:
            self._process.send_signal(signal_number)
        self._process.stdin.close()
        try:
            code = self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            raise Stuck(f"{self.name} hangs") from error
        if code not in good:
            raise self._ended(code)
        self._thread.join(END_SECONDS_MAX)

    def check_running(self) -> None:
        """Raises Stuck if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise self._ended(code)

    def _ended(self, code: int) -> Stuck:
        self._thread.join(END_SECONDS_MAX)
        return Stuck("\n".join([f"{self.name} ended with {code}", *self._words]))

    def abandon(self) -> None:
        """Whatever state it is in, it ends."""
        if self._process.poll() is None:
            self._process.kill()


def fsx_command(directory: Path, books: Path, seed: int) -> list[str | Path]:
    """tools/fsx.py on a file of that directory until SIGINT, its list of operations in books.

    A shell that runs this in the background has children ignore SIGINT, and fsx would never be told to end: hence env.
    """
    options = ("-S", str(seed), "-N", "100000000", "-c", "50", "-P", books)
    return ["env", "--default-signal=INT", "nice", sys.executable, "tools/fsx.py", *options, directory / "fsx"]


FSX_ENDS = (0, 128 + signal.SIGINT)
