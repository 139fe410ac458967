"""mknod of every type, fifos, sockets and devices that work on the mount."""

import os
import socket
import stat
from pathlib import Path

import pytest

from tests.support.posix import ALICE, as_user, outcome

TYPES = {"file": stat.S_IFREG, "fifo": stat.S_IFIFO, "character": stat.S_IFCHR, "block": stat.S_IFBLK, "socket": stat.S_IFSOCK}


@pytest.mark.parametrize("kind", TYPES)
def test_mknod(place: Path, kind: str) -> None:
    """Each type is made, stated, chmodded, linked, renamed, unlinked; devices keep their numbers."""
    path, kind_bits = place / "node", TYPES[kind]
    device = os.makedev(0xFFF, 0xABCDE) if kind in ("character", "block") else 0
    os.mknod(path, kind_bits | 0o640, device)
    status = path.lstat()
    assert (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)) == (kind_bits, 0o640)
    assert (status.st_rdev, status.st_nlink, status.st_size) == (device, 1, 0)
    path.chmod(0o600)
    os.chown(path, ALICE, ALICE)
    os.link(path, place / "second")
    (place / "second").rename(place / "third")
    status = (place / "third").lstat()
    assert (stat.S_IFMT(status.st_mode), status.st_uid, status.st_nlink, status.st_rdev) == (kind_bits, ALICE, 2, device)
    path.unlink()
    assert (place / "third").lstat().st_nlink == 1


def test_mknod_errors(place: Path) -> None:
    """An existing name, a type that mknod cannot make, a user without the right to make devices."""
    (place / "file").touch()
    assert outcome(os.mknod, place / "file", stat.S_IFREG | 0o600) == "EEXIST"
    assert outcome(os.mknod, place / "dir", stat.S_IFDIR | 0o700) == "EPERM"
    assert outcome(os.mknod, place / "absent/x", stat.S_IFREG | 0o600) == "ENOENT"

    def by_user() -> list[str]:
        return [outcome(os.mknod, place / f"by user {kind}", bits | 0o600, os.makedev(1, 3)) for kind, bits in TYPES.items()]

    assert as_user(ALICE, by_user) == ["ok", "ok", "EPERM", "EPERM", "ok"]


def test_fifo_carries_bytes(place: Path) -> None:
    """What goes in comes out, and the file stays empty."""
    os.mkfifo(place / "fifo")
    reader = os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(place / "fifo", os.O_WRONLY)
    os.write(writer, b"through the fifo")
    assert os.read(reader, 100) == b"through the fifo"
    os.close(writer)
    assert os.read(reader, 100) == b""
    os.close(reader)
    assert (place / "fifo").stat().st_size == 0


def test_unix_socket(place: Path) -> None:
    """A server binds on the mount, a client finds it; after unlink nobody does."""
    directory = os.open(place, os.O_RDONLY)
    address = f"/proc/self/fd/{directory}/socket"  # a socket's address is shorter than a test's path may be
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(address)
        server.listen()
        assert stat.S_ISSOCK((place / "socket").stat().st_mode)
        client.connect(address)
        with server.accept()[0] as accepted:
            client.sendall(b"hello")
            assert accepted.recv(10) == b"hello"
        with socket.socket(socket.AF_UNIX) as second:
            assert outcome(second.bind, address) == "EADDRINUSE"
            (place / "socket").unlink()
            assert outcome(second.connect, address) == "ENOENT"
    os.close(directory)


def test_devices_do_not_open_on_a_mount_without_dev(place: Path, is_ringfs: bool) -> None:
    """ringfs is mounted nodev: a device node is an inode, not a way to the device."""
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert outcome(lambda: os.close(os.open(place / "null", os.O_RDWR))) == ("EACCES" if is_ringfs else "ok")
