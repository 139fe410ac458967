"""Writes down requests as this machine's kernel sends them, for tests/unit/fuse: one line each, opcode and bytes in hex.

    python -m tools.fuse_capture MNT     as root; MNT is an empty directory

Mounts an empty file system that refuses everything with ENOSYS but what must work for the next request to come, makes a few system
calls on it, and prints the first request of each opcode. Nothing is left mounted.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from ringfs.fuse.entry import KernelEntry
from ringfs.fuse.kernel import channel, negotiation, opcodes, wire
from ringfs.fuse.kernel.requests import Request
from ringfs.wire.messages.common import Attributes

_MNT_DETACH = 2
_DIRECTORY = Attributes(1, 0o040755, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)
_FILE = Attributes(7, 0o100644, 0, 0, 1, 5, 5, 0, 0, 0, 0, 0, 1, 0, 0)


def answer(request: Request) -> bytes | None:
    """Enough for each system call of `provoke` to get to its request."""
    unique, name = request.unique, opcodes.BY_NUMBER[request.opcode].name
    if name == "INIT":
        return negotiation.reply_to(request, negotiation.negotiate(request))
    if name == "LOOKUP":
        return wire.pack_entry(unique, KernelEntry(_FILE, 0, 0)) if request.name() == b"file" else wire.pack_error(unique, 2)
    if name == "GETATTR":
        return wire.pack_attributes(unique, KernelEntry(_DIRECTORY if request.node == 1 else _FILE, 0, 0))
    if name == "SETATTR":
        return wire.pack_attributes(unique, KernelEntry(_FILE, 0, 0))
    if name in ("OPEN", "OPENDIR"):
        return wire.pack_open(unique, 3, wire.FOPEN_DIRECT_IO)
    if name == "CREATE":
        return wire.pack_create(unique, KernelEntry(_FILE, 0, 0), 4, wire.FOPEN_DIRECT_IO)
    if name in ("FORGET", "BATCH_FORGET", "INTERRUPT"):
        return None
    return wire.pack_error(unique, 0 if name in ("FLUSH", "RELEASE", "RELEASEDIR", "FSYNC") else 38)


def serve(opened: channel.Channel) -> None:
    """Print and answer until the mount has gone."""
    seen: set[int] = set()
    os.set_blocking(opened.descriptor, True)
    head, payload = memoryview(bytearray(80)), memoryview(bytearray(1 << 20))
    while (size := opened.read(head, payload)) > 0:
        raw = bytes(head) + bytes(payload[: max(size - 80, 0)])
        _, opcode, unique, node, uid, gid, pid, _, _ = wire.IN_HEADER.unpack_from(raw)
        request = Request(unique, opcode, node, uid, gid, pid, raw[40:size], memoryview(b""))
        if request.opcode not in seen:
            seen.add(request.opcode)
            print(opcodes.BY_NUMBER[request.opcode].name, raw[:size].hex())
        reply = answer(request)
        if reply is not None:
            opened.write(reply)


def provoke(point: str) -> None:
    """System calls, most of which fail."""
    file = os.path.join(point, "file")
    calls: list[Callable[[], object]] = [
        lambda: os.statvfs(point),
        lambda: os.listdir(point),
        lambda: os.mkdir(os.path.join(point, "directory"), 0o750),
        lambda: os.mknod(os.path.join(point, "node"), 0o100640),
        lambda: os.symlink("target", os.path.join(point, "symlink")),
        lambda: os.link(file, os.path.join(point, "link")),
        lambda: os.rename(file, os.path.join(point, "renamed")),
        lambda: os.unlink(file),
        lambda: os.chmod(file, 0o600),
        lambda: os.utime(file, ns=(-1, 1_500_000_001)),
        lambda: os.setxattr(file, "user.name", b"value", os.XATTR_CREATE),
        lambda: os.getxattr(file, "user.name"),
        lambda: os.listxattr(file),
        lambda: os.removexattr(file, "user.name"),
        lambda: _on_file(file),
        lambda: os.close(os.open(os.path.join(point, "created"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)),
    ]
    for call in calls:
        _try(call)


def _try(call: Callable[[], object]) -> None:
    with suppress(OSError):  # what is refused was still asked
        call()


def _on_file(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    for call in (
        lambda: os.pwrite(fd, b"bytes", 3),
        lambda: os.pread(fd, 100, 2),
        lambda: os.lseek(fd, 1, os.SEEK_HOLE),
        lambda: os.posix_fallocate(fd, 10, 20),
        lambda: os.copy_file_range(fd, fd, 1, 0, 3),
        lambda: os.fsync(fd),
    ):
        _try(call)
    os.close(fd)


def main() -> None:
    """See the module."""
    point = sys.argv[1]
    opened = channel.mount(point)
    thread = threading.Thread(target=serve, args=(opened,), daemon=True)
    thread.start()
    try:
        os.umask(0o022)
        provoke(point)
    finally:
        ctypes.CDLL(None).umount2(os.fsencode(point), _MNT_DETACH)
        thread.join(5)


if __name__ == "__main__":
    main()
