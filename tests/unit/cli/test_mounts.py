"""mountinfo: what is mounted where, and which mount a path is in."""

import errno
import os
from pathlib import Path

import pytest

from ringfs.base import mountinfo
from ringfs.base.errors import UserError
from ringfs.cli import mounts
from ringfs.cli.in_time import Unresponsive
from ringfs.cli.mount_record import MountRecord
from ringfs.fuse import operations

MOUNTINFO = """\
22 1 0:21 / / rw,relatime - ext4 /dev/root rw
40 22 0:45 / /mnt/ringfs rw,nosuid - fuse.ringfs ringfs rw,user_id=0
41 40 0:46 / /mnt/ringfs/inner rw - tmpfs tmpfs rw
42 22 0:47 / /mnt/with\\040blank\\134back rw shared:5 - fuse.ringfs ringfs rw
43 22 0:48 / /mnt/covered rw - fuse.ringfs ringfs rw
44 22 0:49 / /mnt/covered rw - tmpfs tmpfs rw
"""


@pytest.fixture(autouse=True)
def _mountinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with these mounts."""
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTINFO)
    read = mountinfo.read_mounts
    monkeypatch.setattr(mountinfo, "read_mounts", lambda: read(file))


def test_escapes_are_undone() -> None:
    """A mount point may have blanks and backslashes."""
    assert mounts.is_ringfs(mountinfo.mount_at(Path("/mnt/with blank\\back")))


def test_uppermost_mount_counts() -> None:
    """What is mounted over a ringfs hides it."""
    there = mountinfo.mount_at(Path("/mnt/covered"))
    assert there is not None
    assert there.kind == "tmpfs"
    assert mounts.ringfs_mount_of(Path("/mnt/covered/file")) is None


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/mnt/ringfs", "/mnt/ringfs"),
        ("/mnt/ringfs/a/b", "/mnt/ringfs"),
        ("/mnt/ringfs/inner/a", None),
        ("/mnt/ringfs2", None),
        ("/", None),
    ],
)
def test_mount_of_a_path(path: str, root: str | None) -> None:
    """The innermost mount decides."""
    assert mounts.ringfs_mount_of(Path(path)) == (Path(root) if root else None)


def test_config_of_what_is_no_ringfs(tmp_path: Path) -> None:
    """A root without the attribute is a user's mistake, not a crash."""
    with pytest.raises(UserError, match="does not name its cluster"):
        mounts.config_of(tmp_path)


def test_attribute_is_the_one_that_the_mount_serves() -> None:
    """Both sides spell it the same."""
    assert mounts.CONFIG_XATTR.encode() == operations.CONFIG_XATTR


def test_config_is_known_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that does not answer has told where its configuration is when it was started; one that ended has not."""
    record = MountRecord("/mnt/ringfs", os.getpid(), "/etc/ringfs/cluster.toml")
    monkeypatch.setattr(mounts, "read_record", lambda _point: record)
    assert mounts.config_of(Path("/mnt/ringfs")) == Path("/etc/ringfs/cluster.toml")
    record.code = 0
    with pytest.raises(UserError, match="does not name its cluster"):
        mounts.config_of(Path("/does/not/exist"))


@pytest.mark.parametrize(("pid", "is_dead"), [(1 << 22, True), (os.getpid(), False)], ids=["gone", "there"])
def test_silent_mount_is_dead_if_its_process_is(monkeypatch: pytest.MonkeyPatch, pid: int, is_dead: bool) -> None:
    """A mount that does not answer is given up only if nobody is there who could."""

    def silence(*_: object) -> None:
        raise Unresponsive

    monkeypatch.setattr(mounts, "statvfs_in_time", silence)
    monkeypatch.setattr(mounts, "read_record", lambda _point: MountRecord("/mnt/ringfs", pid, "/etc/ringfs/cluster.toml"))
    assert mounts.is_dead(Path("/mnt/ringfs")) is is_dead
    monkeypatch.setattr(mounts, "read_record", lambda _point: None)
    assert not mounts.is_dead(Path("/mnt/ringfs"))


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ECONNABORTED, errno.EACCES, 0])
def test_what_a_dead_mount_says(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Only the errors of a lost connection are those of a dead mount."""

    def say(*_: object) -> None:
        if number:
            raise OSError(number, "said")

    monkeypatch.setattr(mounts, "statvfs_in_time", say)
    assert mounts.is_dead(Path("/mnt/ringfs")) is (number in (errno.ENOTCONN, errno.ECONNABORTED))


def test_mount_is_known_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is in a mount by its name is not looked up there."""

    def look(path: Path) -> Path:
        raise AssertionError(path)

    monkeypatch.setattr(mounts, "real_path", look)
    assert mounts.ringfs_mount_around(Path("/mnt/ringfs/a/../b")) == Path("/mnt/ringfs")


def test_mount_behind_a_link_is_found(tmp_path: Path) -> None:
    """A symlink that leads into a mount is followed."""
    (tmp_path / "link").symlink_to("/mnt/ringfs/deep")
    assert mounts.ringfs_mount_around(tmp_path / "link" / "file") == Path("/mnt/ringfs")
    assert mounts.ringfs_mount_around(tmp_path) is None
