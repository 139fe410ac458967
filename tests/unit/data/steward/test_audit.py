"""The audit log: durable, appended to, rotated; whole lines also after a crash."""

import json
from pathlib import Path

import pytest

from ringfs.base.clock import SystemClock
from ringfs.base.files import RealFiles
from ringfs.data.steward import audit
from ringfs.data.steward.audit import KEPT_MAX, NAME, AuditLog
from tests.support.crashing_files import CrashingFiles, nothing_survives


def events(path: Path) -> list[str]:
    """The events of a file."""
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


async def test_lines_are_appended_over_restarts(tmp_path: Path) -> None:
    for number in range(3):
        log = AuditLog(RealFiles(), tmp_path, SystemClock())
        await log.add(f"event {number}", object="00ff", blocks=number)
    assert events(tmp_path / NAME) == ["event 0", "event 1", "event 2"]
    last = json.loads((tmp_path / NAME).read_text().splitlines()[-1])
    assert (last["object"], last["blocks"]) == ("00ff", 2)
    assert last["time"].endswith("+00:00")


async def test_a_full_file_is_rotated_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AUDIT_BYTES_MAX", 100)
    log = AuditLog(RealFiles(), tmp_path, SystemClock())
    for number in range(KEPT_MAX + 4):
        await log.add(f"event {number}")
    names = [NAME, *(f"{NAME}.{number}" for number in range(1, KEPT_MAX + 1))]
    assert RealFiles().list(tmp_path) == sorted(names)
    assert [events(tmp_path / name) for name in names] == [[f"event {KEPT_MAX + 3 - age}"] for age in range(KEPT_MAX + 1)]


async def test_what_add_returned_for_survives_a_crash() -> None:
    files, disk = CrashingFiles(), Path("/disk")
    files.make_directory(disk)
    files.sync_directory(Path("/"))
    await AuditLog(files, disk, SystemClock()).add("kept")
    files = files.after_crash(nothing_survives)
    file = files.open(disk / NAME)
    assert json.loads(file.pread(file.size_bytes(), 0))["event"] == "kept"


async def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"event": "to')
    await AuditLog(RealFiles(), tmp_path, SystemClock()).add("whole")
    torn, whole = (tmp_path / NAME).read_text().splitlines()
    assert (torn, json.loads(whole)["event"]) == ('{"event": "to', "whole")
