"""mountinfo: what is mounted where, and which mount a path is in."""

from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.cli import mounts
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
    read = mounts.read_mounts
    monkeypatch.setattr(mounts, "read_mounts", lambda: read(file))


def test_escapes_are_undone() -> None:
    """A mount point may have blanks and backslashes."""
    assert mounts.is_ringfs(mounts.mount_at(Path("/mnt/with blank\\back")))


def test_uppermost_mount_counts() -> None:
    """What is mounted over a ringfs hides it."""
    there = mounts.mount_at(Path("/mnt/covered"))
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


def test_in_time() -> None:
    """Answers and errors come through; silence is told."""
    assert mounts.in_time(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        mounts.in_time(lambda: 1 // 0)


def test_silence_is_told() -> None:
    """A question that is not answered does not hold the caller."""
    import threading

    never = threading.Event()
    with pytest.raises(mounts.Unresponsive):
        mounts.in_time(never.wait, timeout_s=0.01)
    never.set()
