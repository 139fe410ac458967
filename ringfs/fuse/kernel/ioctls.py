"""IOCTL: the four by which chattr, lsattr and xfs_io get and set flags (linux/fs.h). The kernel sends them with a handle that it
opened for it, after it has checked owner and capability (fs/fuse/ioctl.c, fuse_fileattr_set). All others are ENOTTY."""

import struct

from ringfs.base.errors import Code, Refused
from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.requests import Request
from ringfs.fuse.operations import Operations
from ringfs.wire.messages.files import FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOATIME, FLAG_NODUMP

GETFLAGS, SETFLAGS, FSGETXATTR, FSSETXATTR = 0x80086601, 0x40086602, 0x801C581F, 0x401C5820
_FLAGS = struct.Struct("=I")
#: struct fsxattr: xflags, extsize, nextents, projid, cowextsize, padding.
_FSXATTR = struct.Struct("=IIIII8x")
#: FS_XFLAG_… for FS_…_FL.
_XFLAGS = ((0x8, FLAG_IMMUTABLE), (0x10, FLAG_APPEND), (0x40, FLAG_NOATIME), (0x80, FLAG_NODUMP))


async def answer(operations: Operations, request: Request) -> bytes:
    """The reply. Refused NO_IOCTL, and what set_flags is refused."""
    _, _, command, _, in_size, _ = request.fields(wire.IOCTL_IN)
    given = request.body[wire.IOCTL_IN.size :]
    if len(given) != in_size:
        raise Refused(Code.BAD_REQUEST, "the data is not as long as the request says")
    if command == GETFLAGS:
        return wire.pack_ioctl(request.unique, _FLAGS.pack(await operations.get_flags(request.node)))
    if command == FSGETXATTR:
        flags = await operations.get_flags(request.node)
        xflags = sum(xflag for xflag, flag in _XFLAGS if flags & flag)
        return wire.pack_ioctl(request.unique, _FSXATTR.pack(xflags, 0, 0, 0, 0))
    if command == SETFLAGS:
        wanted = _first(given, _FLAGS)
    elif command == FSSETXATTR:
        wanted = _flags_of(given)
    else:
        raise Refused(Code.NO_IOCTL, f"{command:#x}")
    await operations.set_flags(request.node, wanted, request.caller())
    return wire.pack_ioctl(request.unique, b"")


def _flags_of(given: bytes) -> int:
    """The flags that a struct fsxattr asks for. Refused NOT_SUPPORTED if it asks for more."""
    xflags, *others = _unpacked(given, _FSXATTR)
    if any(others) or xflags & ~sum(xflag for xflag, _ in _XFLAGS):
        raise Refused(Code.NOT_SUPPORTED, "extent sizes, projects and other flags")
    return sum(flag for xflag, flag in _XFLAGS if xflags & xflag)


def _first(given: bytes, layout: struct.Struct) -> int:
    value: int = _unpacked(given, layout)[0]
    return value


def _unpacked(given: bytes, layout: struct.Struct) -> tuple[int, ...]:
    if len(given) < layout.size:
        raise Refused(Code.BAD_REQUEST, "the data is too short")
    return layout.unpack_from(given)
