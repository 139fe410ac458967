"""Asking what may never answer: a file system whose server hangs.

The kernel does not let go of a process whose FUSE request has been taken and is not answered, not even to end it. So the
question is asked in a child, which is left behind if it does not come back.
"""

import os
import pickle
import select
import signal
from collections.abc import Callable
from typing import NoReturn, TypeVar

#: A file system that takes longer for a simple question is not answering.
ASK_TIMEOUT_S = 10.0

T = TypeVar("T")


class Unresponsive(Exception):
    """There was no answer in time."""


class Unanswered(Exception):
    """The child ended without an answer; the message says how."""


def in_time(ask: Callable[[], T], timeout_s: float = ASK_TIMEOUT_S) -> T:
    """What ask() returns or raises, both picklable and small. Raises Unresponsive, Unanswered."""
    answer, question = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(ask, question)
    os.close(question)
    try:
        if not select.select([answer], [], [], timeout_s)[0]:
            os.kill(child, signal.SIGKILL)  # it ends when the kernel lets it; init takes it after us
            raise Unresponsive
        told = _read_all(answer)
    finally:
        os.close(answer)
    _, status = os.waitpid(child, 0)
    if not told:
        raise Unanswered(f"the process that asked ended with {os.waitstatus_to_exitcode(status)}, and without an answer")
    outcome = pickle.loads(told)
    if isinstance(outcome, BaseException):
        raise outcome
    value: T = outcome
    return value


def _answer(ask: Callable[[], object], question: int) -> NoReturn:
    """The child: it must keep nothing open that somebody waits for the end of, and run nothing of the parent's at its exit."""
    status = 1
    try:
        os.closerange(0, question)
        os.closerange(question + 1, 1 << 16)
        try:
            outcome: object = ask()
        except BaseException as error:
            outcome = error
        os.write(question, pickle.dumps(outcome))
        status = 0
    finally:
        os._exit(status)


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)
