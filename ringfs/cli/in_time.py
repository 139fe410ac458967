"""Asking what may never answer: a file system whose server hangs.

The kernel does not let go of a process whose FUSE request has been taken and is not answered, not even to end it. So the
question is asked by another program, which is left behind if it does not come back. It is a new one, not a fork of ours: what
libraries with threads leave in a fork may abort it.
"""

import os
import pickle
import select
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

#: A file system that takes longer for a simple question is not answering.
ASK_TIMEOUT_S = 10.0
_PROGRAM = """\
import pickle, sys
ask, arguments = pickle.loads(bytes.fromhex(sys.argv[1]))
try:
    outcome = ask(*arguments)
except Exception as error:
    outcome = error
sys.stdout.buffer.write(pickle.dumps(outcome))
"""
#: The last ones that did not answer: they end when the kernel lets them, and init takes those that outlive us.
_left_behind: list["subprocess.Popen[bytes]"] = []

T = TypeVar("T")


class Unresponsive(Exception):
    """There was no answer in time."""


class Unanswered(Exception):
    """The program ended without an answer; the message says how."""


def in_time(ask: Callable[..., T], *arguments: str | int, timeout_s: float = ASK_TIMEOUT_S) -> T:
    """What ask(*arguments) returns or raises; ask is a function of the standard library, such as os.statvfs. Raises Unresponsive,
    Unanswered."""
    question = pickle.dumps((ask, arguments)).hex()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, question],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process.stdout as answer:
        if not select.select([answer], [], [], timeout_s)[0]:
            process.kill()
            _left_behind[:] = [each for each in (*_left_behind, process) if each.poll() is None]
            raise Unresponsive
        told = answer.read()
    code = process.wait()
    if not told:
        raise Unanswered(f"the program that asked ended with {code}, and without an answer")
    outcome = pickle.loads(told)
    if isinstance(outcome, BaseException):
        raise outcome
    value: T = outcome
    return value


def statvfs_in_time(point: str | os.PathLike[str], timeout_s: float = ASK_TIMEOUT_S) -> None:
    """Nothing, if a file system answers statfs. Raises OSError, Unresponsive, Unanswered."""
    in_time(os.statvfs, os.fspath(point), timeout_s=timeout_s)
