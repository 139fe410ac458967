"""The file descriptor of a FUSE connection: mounting with it, reading requests, writing replies, unmounting."""

import array
import ctypes
import errno
import os
import socket
import subprocess

from ringfs.base.errors import UserError

_libc = ctypes.CDLL(None, use_errno=True)
_DEVICE = "/dev/fuse"
_MS_NOSUID, _MS_NODEV = 2, 4
_MNT_DETACH = 2
_KIND, _SOURCE = "fuse.ringfs", "ringfs"
_HELPER = "fusermount3"
#: Through which fusermount3 hands over the descriptor.
_HELPER_SOCKET = "_FUSE_COMMFD"
#: The kernel's answers to a reply whose request has ended meanwhile: it was interrupted, or the mount has gone.
_REQUEST_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.EBADF)


class Channel:
    """A mounted connection. The descriptor does not block."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        os.set_blocking(descriptor, False)

    def read(self, head: memoryview, payload: memoryview) -> int:
        """One request into two buffers one after the other: its length; -1: none is there; 0: the mount has gone."""
        while True:
            try:
                return os.readv(self.descriptor, (head, payload))
            except BlockingIOError:
                return -1
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue  # a signal; or the request was taken back
                if error.errno in (errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN, errno.EBADF):
                    return 0
                raise

    def write(self, reply: bytes) -> None:
        """Send a reply that is one piece. Never blocks. One whose request has ended is dropped."""
        try:
            os.write(self.descriptor, reply)
        except OSError as error:
            if error.errno not in _REQUEST_GONE:
                raise

    def write_parts(self, head: bytes, payload: bytes | bytearray | memoryview) -> None:
        """Send a reply of a head and a payload, which is not copied here."""
        try:
            os.writev(self.descriptor, (head, payload))
        except OSError as error:
            if error.errno not in _REQUEST_GONE:
                raise

    def close(self) -> None:
        """Whoever still uses the mount gets ENOTCONN from now on."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


def mount(point: str) -> Channel:
    """Mount on a directory: as root by mount(2), else with fusermount3. Raises UserError."""
    return Channel(_mount_as_root(point) if os.geteuid() == 0 else _mount_with_helper(point))


def detach(point: str) -> None:
    """Take a mount away that nobody serves any more, also if it is in use. If that fails, it is found dead at the next mount."""
    if os.geteuid() == 0:
        _libc.umount2(os.fsencode(point), _MNT_DETACH)
    else:
        subprocess.run([_HELPER, "-u", "-z", "--", point], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _mount_as_root(point: str) -> int:
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"cannot open {_DEVICE} ({error.strerror}): load the kernel's fuse module") from None
    rootmode = os.stat(point).st_mode & 0o170000
    options = f"fd={descriptor},rootmode={rootmode:o},user_id=0,group_id=0,default_permissions,allow_other"
    flags = _MS_NOSUID | _MS_NODEV
    if _libc.mount(_SOURCE.encode(), os.fsencode(point), _KIND.encode(), flags, options.encode()) == 0:
        return descriptor
    code = ctypes.get_errno()
    os.close(descriptor)
    raise UserError(f"cannot mount at {point}: {os.strerror(code)}")


def _mount_with_helper(point: str) -> int:
    """fusermount3 is setuid root: it mounts, and sends the descriptor through a socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    options = f"fsname={_SOURCE},subtype=ringfs,nosuid,nodev,default_permissions,allow_other"
    with ours:
        with theirs:
            environment = {**os.environ, _HELPER_SOCKET: str(theirs.fileno())}
            try:
                helper = subprocess.run(
                    [_HELPER, "-o", options, "--", point],
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                )
            except FileNotFoundError:
                raise UserError(f"{_HELPER} is not installed: install fuse3, or mount as root") from None
        if helper.returncode:
            said = helper.stderr.decode(errors="replace").strip()
            raise UserError(f"cannot mount at {point}: {said or _HELPER + ' failed'}")
        return _receive_descriptor(ours)


def _receive_descriptor(ours: socket.socket) -> int:
    descriptors = array.array("i")
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(descriptors.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: descriptors.itemsize])
            os.set_inheritable(descriptors[0], False)
            return descriptors[0]
    raise UserError(f"{_HELPER} sent no descriptor: it is too old, or another program")
