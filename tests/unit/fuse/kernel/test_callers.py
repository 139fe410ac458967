"""What waiting processes have called, seen from outside."""

import os
from pathlib import Path

import pytest
import trio

from ringfs.fuse.kernel import callers
from ringfs.fuse.kernel.callers import F_OFD_SETLKW, waits_for_file_lock
from tests.support.locker import WRITE, Locker
from tests.support.waiting import until

#: fcntl(2) on x86-64, in /proc/PID/syscall.
FCNTL = 72


@pytest.mark.parametrize(("verb", "expected"), [("ofd_wait", True), ("lock_wait", False)])
async def test_who_waits_for_a_lock(tmp_path: Path, verb: str, expected: bool) -> None:
    """fcntl's two ways to wait are told apart."""
    with Locker(tmp_path / "file") as one, Locker(tmp_path / "file") as two:
        assert one.ask("lock", WRITE, 0, 0) == "ok"
        two.begin(verb, WRITE, 0, 0)
        with trio.fail_after(60):
            await until(lambda: Path(f"/proc/{two.pid}/syscall").read_text().startswith(f"{FCNTL} "))
        assert two.is_waiting()
        assert await waits_for_file_lock(two.pid) == expected


async def test_who_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone or has no number here, one that waits for something else, and one that runs: this one."""
    monkeypatch.setattr(callers, "_LOOKS", 20)
    with Locker("/dev/null") as idle:
        assert idle.is_waiting()
        assert not await waits_for_file_lock(idle.pid)
    assert not await waits_for_file_lock(idle.pid)
    assert not await waits_for_file_lock(0)
    assert not await waits_for_file_lock(os.getpid())


async def test_one_that_waits_for_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at until it waits, which on a busy machine is not soon."""
    seen = [["running"]] * 200 + [["72", "0x3", f"{F_OFD_SETLKW:#x}"]]
    monkeypatch.setattr(callers, "_call_of", lambda _thread: seen.pop(0))
    assert await waits_for_file_lock(1)
    assert seen == []
