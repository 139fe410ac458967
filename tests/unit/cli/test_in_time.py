"""Questions that may never be answered: asked by another program, so that the asker always goes on."""

import os
import select
import signal
import time
from pathlib import Path

import pytest

from ringfs.cli.in_time import Unanswered, Unresponsive, in_time, statvfs_in_time


def test_answer_comes_through(tmp_path: Path) -> None:
    """Any small value, also more than a pipe's page; of names in any bytes."""
    assert in_time(os.path.join, "a", "b") == "a/b"
    assert in_time(os.path.basename, "/" + "x" * 50_000) == "x" * 50_000
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(odd).touch()
    assert in_time(os.path.realpath, odd) == odd
    assert in_time(os.lstat, odd).st_ino == os.lstat(odd).st_ino
    statvfs_in_time(tmp_path)


def test_error_comes_through() -> None:
    """With its errno."""
    with pytest.raises(FileNotFoundError) as failed:
        in_time(os.stat, "/does/not/exist")
    assert failed.value.errno == 2


def test_death_is_told() -> None:
    """A program that ends without an answer is not taken for one that has not answered yet, and its end is told."""
    with pytest.raises(Unanswered, match=f"-{signal.SIGABRT:d}"):
        in_time(os.abort)


def test_silence_is_told() -> None:
    """A question without an answer does not hold the asker."""
    with pytest.raises(Unresponsive):
        in_time(time.sleep, 1000, timeout_s=0.01)


def test_left_behind_program_holds_nothing() -> None:
    """Whoever reads the asker's output sees its end, though the program still waits."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with pytest.raises(Unresponsive):
        in_time(time.sleep, 1000, timeout_s=0.2)
    os.close(writer)
    assert select.select([reader], [], [], 60)[0], "the program kept the pipe open"
    assert os.read(reader, 1) == b""
    os.close(reader)
