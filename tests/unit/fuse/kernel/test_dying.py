"""Who was killed, seen from outside."""

import os
import signal
import subprocess

from ringfs.fuse.kernel.dying import is_dying


def test_living_and_gone() -> None:
    """A process that lives is not dying; one that is gone, or has no number here, waits for nothing."""
    assert not is_dying(os.getpid())
    child = subprocess.Popen(["true"])
    child.wait()
    assert not is_dying(child.pid)
    assert not is_dying(0)


def test_pending_kill() -> None:
    """A traced process that stands still is shown with the signal that will end it."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    assert not is_dying(child)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
