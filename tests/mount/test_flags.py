"""chattr(1) and lsattr(1): immutable and append-only files and directories, and who may make them so."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.posix import ALICE, as_user, outcome

FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820
FSXATTR = struct.Struct("=IIIII8x")


def chattr(change: str, path: Path) -> None:
    subprocess.run(["chattr", change, path], check=True)


def flags(path: Path) -> set[str]:
    """The letters of lsattr, but e, which ext4 has for itself."""
    told = subprocess.run(["lsattr", "-d", path], check=True, capture_output=True, text=True).stdout
    return set(told.split()[0]) - {"-", "e"}


@pytest.fixture(autouse=True)
def not_on_pyfuse3(driver: str) -> None:
    """It has no handler for ioctl: test_declined.py."""
    if driver == "pyfuse3":
        pytest.skip("pyfuse3 has no ioctl")


@pytest.fixture
def kept(place: Path) -> Iterator[Path]:
    """A directory; flags that are left in it are taken back at the end."""
    directory = place / "kept"
    directory.mkdir()
    (directory / "file").write_bytes(b"content")
    yield directory
    for path in (directory, *directory.iterdir()):
        if not path.is_symlink():
            chattr("-ia", path)


def test_lsattr_shows_what_chattr_sets(kept: Path) -> None:
    """Of files and directories."""
    for path in (kept / "file", kept):
        assert flags(path) == set()
        chattr("+aAd", path)
        assert flags(path) == set("aAd")
        chattr("=i", path)
        assert flags(path) == set("i")
        chattr("-i", path)
        assert flags(path) == set()


def test_fsxattr(kept: Path) -> None:
    """The other pair of ioctls, which newer programs use."""
    chattr("+d", kept / "file")
    descriptor = os.open(kept / "file", os.O_RDONLY)
    try:
        found = FSXATTR.unpack(fcntl.ioctl(descriptor, FS_IOC_FSGETXATTR, bytes(FSXATTR.size)))
        assert found[0] & 0x80
        fcntl.ioctl(descriptor, FS_IOC_FSSETXATTR, FSXATTR.pack(0x40, 0, 0, 0, 0))
    finally:
        os.close(descriptor)
    assert flags(kept / "file") == set("A")


def test_only_root(kept: Path) -> None:
    """The owner cannot, nor anybody else; nodump the owner can."""
    os.chown(kept / "file", ALICE, ALICE)

    def try_it(change: str) -> int:
        return subprocess.run(["chattr", change, kept / "file"], capture_output=True, check=False).returncode

    assert as_user(ALICE, lambda: try_it("+i")) != 0
    assert as_user(ALICE, lambda: try_it("+d")) == 0
    assert flags(kept / "file") == set("d")


def test_immutable_file(kept: Path) -> None:
    """Nobody changes anything of it; it can be read."""
    file = kept / "file"
    writer = os.open(file, os.O_WRONLY)
    chattr("+i", file)
    assert outcome(os.write, writer, b"x") == "EPERM"
    os.close(writer)
    assert outcome(os.open, file, os.O_WRONLY) == "EPERM"
    assert outcome(os.open, file, os.O_RDONLY | os.O_TRUNC) == "EPERM"
    assert outcome(os.truncate, file, 0) == "EPERM"
    assert outcome(os.chmod, file, 0o600) == "EPERM"
    assert outcome(os.chown, file, 1, 1) == "EPERM"
    assert outcome(os.utime, file) == "EPERM"
    assert outcome(os.utime, file, (1, 1)) == "EPERM"
    assert outcome(os.setxattr, file, "user.a", b"1") == "EPERM"
    assert outcome(os.unlink, file) == "EPERM"
    assert outcome(os.rename, file, kept / "other") == "EPERM"
    assert outcome(os.link, file, kept / "other") == "EPERM"
    assert file.read_bytes() == b"content"


def test_append_only_file(kept: Path) -> None:
    """It can be appended to, and touched."""
    file = kept / "file"
    chattr("+a", file)
    assert outcome(os.open, file, os.O_WRONLY) == "EPERM"
    assert outcome(os.open, file, os.O_WRONLY | os.O_APPEND | os.O_TRUNC) == "EPERM"
    assert outcome(os.truncate, file, 100) == "EPERM"
    assert outcome(os.utime, file, (1, 1)) == "EPERM"
    assert outcome(os.unlink, file) == "EPERM"
    os.utime(file)
    with open(file, "ab") as opened:
        opened.write(b" and more")
    assert file.read_bytes() == b"content and more"


def test_immutable_directory(kept: Path) -> None:
    """No name comes or goes; the files in it are as free as ever."""
    chattr("+i", kept)
    assert outcome(os.mkdir, kept / "new") == "EPERM"
    assert outcome(os.open, kept / "new", os.O_CREAT | os.O_WRONLY) == "EPERM"
    assert outcome(os.unlink, kept / "file") == "EPERM"
    assert outcome(os.rename, kept / "file", kept / "new") == "EPERM"
    (kept / "file").write_bytes(b"changed")


def test_append_only_directory(kept: Path) -> None:
    """Names come and stay."""
    chattr("+a", kept)
    (kept / "new").touch()
    assert outcome(os.unlink, kept / "new") == "EPERM"
    assert outcome(os.rename, kept / "new", kept / "newer") == "EPERM"


def test_what_is_made_takes_over(kept: Path) -> None:
    """nodump and noatime go down to what is made in a directory, immutable and append-only do not."""
    chattr("+aAd", kept)
    (kept / "new").touch()
    (kept / "sub").mkdir()
    (kept / "sub" / "deep").touch()
    for name in ("new", "sub", "sub/deep"):
        assert flags(kept / name) == set("Ad")
    assert flags(kept / "file") == set()


def test_unknown_ioctl(kept: Path) -> None:
    """ENOTTY."""
    with open(kept / "file", "rb") as opened:
        assert outcome(fcntl.ioctl, opened, 0x8004FE01, bytes(4)) == "ENOTTY"
