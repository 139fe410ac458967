"""Questions that may never be answered: asked in a child, so that the asker always goes on."""

import os
import select
import signal
import threading

import pytest

from ringfs.cli.in_time import Unanswered, Unresponsive, in_time


def test_answer_comes_through() -> None:
    """Any small value, also more than a pipe's page."""
    assert in_time(lambda: ("a", 7, b"x" * 50_000)) == ("a", 7, b"x" * 50_000)


def test_error_comes_through() -> None:
    """With its errno."""
    with pytest.raises(FileNotFoundError) as failed:
        in_time(lambda: os.stat("/does/not/exist").st_ino)
    assert failed.value.errno == 2


def test_death_is_told() -> None:
    """A child that ends without an answer is not taken for one that has not answered yet, and its end is told."""
    with pytest.raises(Unanswered, match=f"-{signal.SIGKILL:d}"):
        in_time(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(Unanswered, match="ended with 1"):
        in_time(lambda: lambda: None)  # not to be pickled


def test_silence_is_told() -> None:
    """A question without an answer does not hold the asker."""
    never = threading.Event()
    with pytest.raises(Unresponsive):
        in_time(never.wait, timeout_s=0.01)


def test_left_behind_child_holds_nothing() -> None:
    """Whoever reads the asker's output sees its end, though the child still waits."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with pytest.raises(Unresponsive):
        in_time(threading.Event().wait, timeout_s=0.2)
    os.close(writer)
    assert select.select([reader], [], [], 10)[0], "the child kept the pipe open"
    assert os.read(reader, 1) == b""
    os.close(reader)
