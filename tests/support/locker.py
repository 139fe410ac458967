"""A process that takes locks when it is told to: for tests between processes and mounts.

with Locker(path) as one, Locker(other_path) as two:
    assert one.ask("lock", WRITE, 0, 10) == "ok"
    two.begin("lock_wait", WRITE, 0, 10)
    assert two.is_waiting()
    one.ask("unlock", 0, 10)
    assert two.answer() == "ok"

The process is this file run as a program: a line of JSON in, a line of JSON out.
"""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: l_type, l_whence, l_start, l_len, l_pid of struct flock on 64 bits.
_FLOCK = struct.Struct("hhqqi4x")
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
READ, WRITE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
#: A waiter that has no answer after so long is taken to wait.
_WAITING_S = 0.4
_ANSWER_S = 300.0


class Locker:
    """See the module."""

    def __init__(self, path: Path | str) -> None:
        command = [sys.executable, __file__, str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        #: Where its answers come.
        self.answers = self._process.stdout
        self.pid = self._process.pid

    def __enter__(self) -> "Locker":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def begin(self, verb: str, *arguments: Any) -> None:
        """Have it do something, without waiting for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([verb, *arguments]).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self, timeout_s: float = _ANSWER_S) -> Any:
        """What came of what was begun: "ok", the name of an errno, or what was asked for."""
        assert select.select([self.answers], [], [], timeout_s)[0], f"no answer within {timeout_s:g} s"
        line = self.answers.readline()
        assert line, "the process has ended"
        return json.loads(line)

    def ask(self, verb: str, *arguments: Any) -> Any:
        """Begin, and the answer."""
        self.begin(verb, *arguments)
        return self.answer()

    def is_waiting(self) -> bool:
        """Whether what was begun has no answer yet, some time later."""
        return not select.select([self.answers], [], [], _WAITING_S)[0]

    def begin_interruptible(self, verb: str, *arguments: Any) -> None:
        """Have it do something that `interrupt` may end. Asked something before: one that is being started dies of signals."""
        self.ask("size")
        self.begin("interruptible", verb, *arguments)

    def interrupt(self) -> Any:
        """What came of that. Signals are sent until there is an answer: one that is there before the call waits is lost."""
        while self.is_waiting():
            os.kill(self.pid, signal.SIGALRM)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self.answers):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def first_to_answer(*lockers: Locker) -> Locker:
    """The one of them whose answer comes first; `answer` tells which it is."""
    pipes = {locker.answers: locker for locker in lockers}
    ready, _, _ = select.select(list(pipes), [], [], _ANSWER_S)
    assert ready, f"none answers within {_ANSWER_S:g} s"
    return pipes[ready[0]]


class _Interrupted(Exception):
    """SIGALRM came."""


class _Worker:
    """In the process: the verbs. `fds` are descriptors of the file by their place in the list; most verbs use the first."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o666)]
        self._is_interruptible = False

    def _fcntl(self, command: int, kind: int, start: int, length: int, fd: int = 0) -> list[int]:
        answer = fcntl.fcntl(self._fds[fd], command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        found_kind, _, found_start, found_length, pid = _FLOCK.unpack(answer)
        return [found_kind, found_start, found_length, pid]

    def lock(self, kind: int, start: int, length: int, fd: int = 0) -> None:
        self._fcntl(fcntl.F_SETLK, kind, start, length, fd)

    def lock_wait(self, kind: int, start: int, length: int, fd: int = 0) -> None:
        self._fcntl(fcntl.F_SETLKW, kind, start, length, fd)

    def unlock(self, start: int, length: int) -> None:
        self._fcntl(fcntl.F_SETLK, NONE, start, length)

    def getlk(self, kind: int, start: int, length: int) -> list[int]:
        return self._fcntl(fcntl.F_GETLK, kind, start, length)

    def ofd_lock(self, kind: int, start: int, length: int, fd: int = 0) -> None:
        self._fcntl(F_OFD_SETLK, kind, start, length, fd)

    def ofd_wait(self, kind: int, start: int, length: int, fd: int = 0) -> None:
        self._fcntl(F_OFD_SETLKW, kind, start, length, fd)

    def ofd_getlk(self, kind: int, start: int, length: int) -> list[int]:
        return self._fcntl(F_OFD_GETLK, kind, start, length)

    def flock(self, operation: int, fd: int = 0) -> None:
        fcntl.flock(self._fds[fd], operation)

    def open(self) -> int:
        self._fds.append(os.open(self._path, os.O_RDWR))
        return len(self._fds) - 1

    def dup(self, fd: int = 0) -> int:
        self._fds.append(os.dup(self._fds[fd]))
        return len(self._fds) - 1

    def close(self, fd: int) -> None:
        os.close(self._fds[fd])

    def read(self, offset: int, size: int) -> str:
        return os.pread(self._fds[0], size, offset).decode("latin-1")

    def write(self, offset: int, text: str) -> None:
        os.pwrite(self._fds[0], text.encode("latin-1"), offset)

    def size(self) -> int:
        return os.fstat(self._fds[0]).st_size

    def count(self, times: int) -> None:
        """Increment the number in the file's first 8 bytes, under a lock each time."""
        for _ in range(times):
            self.lock_wait(WRITE, 0, 8)
            before = int(os.pread(self._fds[0], 8, 0) or b"0")
            os.pwrite(self._fds[0], b"%08d" % (before + 1), 0)
            self.unlock(0, 8)

    def interruptible(self, verb: str, *arguments: Any) -> Any:
        """Do something that SIGALRM interrupts."""
        self._is_interruptible = True
        try:
            return getattr(self, verb)(*arguments)
        finally:
            self._is_interruptible = False

    def on_alarm(self, _number: int, _frame: object) -> None:
        """SIGALRM: once for each call."""
        if self._is_interruptible:
            self._is_interruptible = False
            raise _Interrupted


def _outcome(function: Callable[..., Any], arguments: list[Any]) -> Any:
    try:
        answer = function(*arguments)
    except OSError as error:
        # One number, two names.
        return errno.errorcode[error.errno or 0].replace("EDEADLOCK", "EDEADLK")
    except _Interrupted:
        return "interrupted"
    return "ok" if answer is None else answer


if __name__ == "__main__":
    worker = _Worker(sys.argv[1])
    signal.signal(signal.SIGALRM, worker.on_alarm)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(_outcome(getattr(worker, verb), arguments)), flush=True)
