"""Exit codes, and how whatever ends a verb becomes one line and a code.

A bug (any other exception) is left alone: Python shows its traceback and exits with 1.
"""

import os
import sys
from collections.abc import Callable

import click

from ringfs.base.errors import ConnectionLost, Refused, UserError

#: It worked, and what was looked at is in order.
OK = 0
#: Not clean, not verified, or not everything could be done.
NOT_CLEAN = 1
#: A mistake of the caller's: usage, configuration, a place that does not fit.
USAGE = 2
#: The cluster, or the part of it that is needed, cannot be reached.
NOT_REACHABLE = 3
#: As the shell reports a program that SIGINT ended.
INTERRUPTED = 130


class NotReachable(Exception):
    """What is needed does not answer: one line with the address and what to do. Exit code 3."""


class NotClean(Exception):
    """Something is not in order or could not be finished: one line. Exit code 1."""


def run(cli: Callable[..., object]) -> int:
    """Run a click command with the arguments of the process; the exit code. What went wrong is one line on stderr."""
    try:
        result = cli(prog_name="ringfs", standalone_mode=False)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has left; nothing is flushed to it
        return NOT_CLEAN
    except BaseException as error:
        explained = explain(error)
        if explained is None:
            raise
        print(f"ringfs: {explained[1]}", file=sys.stderr)
        return explained[0]
    return result if isinstance(result, int) else OK


def explain(error: BaseException) -> tuple[int, str] | None:
    """Exit code and line of an expected failure; None for a bug."""
    match error:
        case click.UsageError():
            path = error.ctx.command_path if error.ctx is not None else "ringfs"
            return USAGE, _line(f"{error.format_message().rstrip('.')}; try '{path} --help'")
        case click.ClickException():
            return USAGE, _line(error.format_message())
        case click.Abort() | KeyboardInterrupt():
            return INTERRUPTED, "interrupted"
        case UserError():
            return USAGE, _line(str(error))
        case Refused() | NotClean():
            return NOT_CLEAN, _line(str(error))
        case NotReachable():
            return NOT_REACHABLE, _line(str(error))
        case ConnectionLost():
            return NOT_REACHABLE, _line(f"the connection was lost ({error}): see whether the cluster is up, with 'ringfs status'")
        case BaseExceptionGroup():
            leaves = [explain(inner) for inner in error.exceptions]
            return None if None in leaves else leaves[0]
        case _:
            return None


def _line(text: str) -> str:
    return " ".join(text.split())
