"""Work that is done in a forked child: neither its memory nor its time at the interpreter lock is this process's."""

import faulthandler
import gc
import os
from collections.abc import Callable

#: What an answer fits into without anybody reading meanwhile: a pipe.
_ANSWER_BYTES_MAX = 60_000


def in_child(work: Callable[[], bytes]) -> bytes | None:
    """The answer of work that a child did; None if it died of that. Blocks: in a thread where others wait.

    The child has only the calling thread: the work logs nothing, and waits for nobody.
    """
    reading, writing = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            _answer(work, writing)
        status = os.waitpid(child, 0)[1]
        # Only now: another child may hold the other end for longer.
        os.set_blocking(reading, False)
        return os.read(reading, _ANSWER_BYTES_MAX) if status == 0 else None
    finally:
        os.close(writing)
        os.close(reading)


def _answer(work: Callable[[], bytes], writing: int) -> None:
    """In the child: nothing of the parent's may be run or flushed, it ends at once whatever happens."""
    status = 1
    try:
        # Its death is nobody's news.
        faulthandler.disable()
        # It would touch all that the parent has, and so copy it.
        gc.disable()
        os.write(writing, work()[:_ANSWER_BYTES_MAX])
        status = 0
    finally:
        os._exit(status)
