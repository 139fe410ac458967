"""tools/fio.py: every job is listed and runs, and a failing one is told."""

import json
from pathlib import Path

import pytest

from tools import fio


def test_every_job_file_is_in_the_order() -> None:
    """No job is forgotten, none is named that does not exist."""
    assert sorted(fio.JOBS) == sorted(path.stem for path in fio.JOBS_DIRECTORY.glob("*.fio"))
    assert set(fio.COLD) <= set(fio.JOBS)


def test_clean_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every job runs clean on a file system one trusts, with a rate each, and leaves nothing."""
    assert fio.main([str(tmp_path), "--size", "16", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["job"] for row in rows] == list(fio.JOBS)
    assert all(row["read_mb_s"] + row["write_mb_s"] > 0 for row in rows)
    assert not list(tmp_path.iterdir())


def test_wrong_bytes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that finds a wrong checksum makes the run fail, and its row says so."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    bad = tmp_path / "bad.dat"
    bad.write_bytes(bytes(65536))
    (jobs / "verify-seq.fio").write_text(f"[verify-seq]\nfilename={bad}\nrw=read\nbs=4k\nsize=64k\nverify=crc32c\nverify_fatal=1\n")
    monkeypatch.setattr(fio, "JOBS_DIRECTORY", jobs)
    assert fio.main([str(tmp_path), "--only", "verify-seq"]) == 1
    assert "error" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["/nonexistent"], ["/tmp", "--only", "nothing"], ["/tmp", "--size", "1"]])
def test_usage(arguments: list[str]) -> None:
    """Wrong calls end with 2."""
    with pytest.raises(SystemExit) as ended:
        fio.main(arguments)
    assert ended.value.code == 2
