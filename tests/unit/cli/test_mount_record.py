"""What a mount leaves for umount is found again by its mount point."""

from pathlib import Path

import pytest

from ringfs.cli import mount_record
from ringfs.cli.mount_record import MountRecord, read_record, write_record


def test_record_is_found_by_its_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest one, with all its fields; no other point's."""
    monkeypatch.setattr(mount_record, "_folder", lambda: tmp_path / "run")
    assert read_record(Path("/mnt/a")) is None
    write_record(MountRecord("/mnt/a", 17, "/c.toml"))
    write_record(MountRecord("/mnt/b", 18, "/c.toml"))
    write_record(MountRecord("/mnt/a", 17, "/c.toml", 1, "could not flush"))
    assert read_record(Path("/mnt/a")) == MountRecord("/mnt/a", 17, "/c.toml", 1, "could not flush")
    assert read_record(Path("/mnt/b")) == MountRecord("/mnt/b", 18, "/c.toml", None, "")
    assert len(list((tmp_path / "run").iterdir())) == 2
