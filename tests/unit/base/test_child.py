"""Work in a forked child: its answer, or that it died; what it does not keep of its parent's."""

import os
import signal
from pathlib import Path

import pytest

from ringfs.base.child import in_child
from ringfs.base.errors import UserError
from ringfs.base.files import RealFiles


def test_the_answer() -> None:
    """Of another process."""
    assert in_child(lambda: b"%d" % os.getppid()) == b"%d" % os.getpid()
    assert in_child(bytes) == b""


def test_death_is_no_answer() -> None:
    """By a signal, by an exception, at once, or after all was done."""

    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGSEGV)
        return b"not reached"

    def fail() -> bytes:
        raise ValueError("for the test")

    assert in_child(die) is None
    assert in_child(fail) is None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_no_lock_outlives_its_holder(tmp_path: Path) -> None:
    """The child has nothing open but its way to answer, so what the parent loses when it is killed is free at once."""
    files = RealFiles()
    lock = files.lock(tmp_path)

    def descriptors() -> bytes:
        return " ".join(sorted(os.path.realpath(f"/proc/self/fd/{each}") for each in range(100) if _is_open(each))).encode()

    found = (in_child(descriptors) or b"").decode().split()
    assert found[:3] == ["/dev/null"] * 3
    assert len(found) == 4
    assert "pipe:" in found[3]
    with pytest.raises(UserError):
        files.lock(tmp_path)
    lock.release()
