"""What waiting processes have called, seen from outside."""

import os
from pathlib import Path

import pytest

from ringfs.fuse.kernel.callers import waits_for_file_lock
from tests.support.locker import WRITE, Locker


@pytest.mark.parametrize(("verb", "expected"), [("ofd_wait", True), ("lock_wait", False)])
async def test_who_waits_for_a_lock(tmp_path: Path, verb: str, expected: bool) -> None:
    """fcntl's two ways to wait are told apart."""
    with Locker(tmp_path / "file") as one, Locker(tmp_path / "file") as two:
        assert one.ask("lock", WRITE, 0, 0) == "ok"
        two.begin(verb, WRITE, 0, 0)
        assert two.is_waiting()
        assert await waits_for_file_lock(two.pid) == expected


async def test_who_cannot_be_seen() -> None:
    """One that is gone or has no number here, one that waits for something else, and one that runs: this one."""
    with Locker("/dev/null") as idle:
        assert idle.is_waiting()
        assert not await waits_for_file_lock(idle.pid)
    assert not await waits_for_file_lock(idle.pid)
    assert not await waits_for_file_lock(0)
    assert not await waits_for_file_lock(os.getpid())
