"""Work that is done in a forked child: neither its memory nor its time at the interpreter lock is this process's."""

import faulthandler
import gc
import os
from collections.abc import Callable

#: The child's only descriptor besides those of the standard streams, which lead nowhere.
_ANSWER = 3
#: What an answer fits into without anybody reading meanwhile: a pipe.
_ANSWER_BYTES_MAX = 60_000


def in_child(work: Callable[[], bytes]) -> bytes | None:
    """The answer of work that a child did; None if it died of that. Blocks: in a thread where others wait.

    The child has only the calling thread and no open file: the work logs nothing, and waits for nobody. If the parent is killed, it
    holds none of its locks and connections for longer.
    """
    reading, writing = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            _answer(work, writing)
        status = os.waitpid(child, 0)[1]
        # Only now: another child may hold the other end for longer.
        os.set_blocking(reading, False)
        return _read(reading) if status == 0 else None
    finally:
        os.close(writing)
        os.close(reading)


def _read(reading: int) -> bytes:
    try:
        return os.read(reading, _ANSWER_BYTES_MAX)
    except BlockingIOError:
        return b""


def _answer(work: Callable[[], bytes], writing: int) -> None:
    """In the child: nothing of the parent's may be run or flushed, it ends at once whatever happens."""
    status = 1
    try:
        _keep_only(writing)
        # Its death is nobody's news.
        faulthandler.disable()
        # It would touch all that the parent has, and so copy it.
        gc.disable()
        os.write(_ANSWER, work()[:_ANSWER_BYTES_MAX])
        status = 0
    finally:
        os._exit(status)


def _keep_only(writing: int) -> None:
    os.dup2(writing, _ANSWER)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(_ANSWER):
        os.dup2(null, stream)
    os.closerange(_ANSWER + 1, os.sysconf("SC_OPEN_MAX"))
