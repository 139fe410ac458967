"""The structures of the kernel's FUSE protocol (include/uapi/linux/fuse.h, 7.31 to 7.45): one table of layouts; packers of replies.

Only bytes: no file descriptor, nothing of the file system. All integers are in the machine's byte order, as the kernel has them.
tests/unit/fuse/test_kernel_wire.py holds requests that a real kernel sent, byte for byte.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ringfs.fuse.entry import KernelEntry
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.queries import FsFigures

MAJOR = 7
#: The oldest protocol that is spoken: Linux 5.4. The newest whose structures are known here: Linux 6.18.
MINOR_MIN, MINOR_MAX = 31, 45

#: The largest whole number of pages that COPY_FILE_RANGE can answer.
COPIED_BYTES_MAX = 0xFFFF_F000
#: What stat says is good to read at once, and what statfs counts in.
_PREFERRED_BYTES = 1 << 20
_FRAGMENT_BYTES = 4096
#: Inodes that are free, as statfs has it, where no quota limits them.
_FREE_INODES = 1 << 40
_NAME_BYTES_MAX = 255
_STATX_BASIC_AND_BTIME = 0x7FF | 0x800
_NS = 1_000_000_000

# --- requests: name → layout; names are those of fuse.h -----------------------------------------------------------------

#: len, opcode, unique, nodeid, uid, gid, pid, total_extlen (in 8 bytes), padding.
IN_HEADER = struct.Struct("=IIQQIIIHH")
INIT_IN = struct.Struct("=IIIII")  # major, minor, max_readahead, flags, flags2; older kernels send the first four
INIT_IN_OLD_BYTES = 16
FORGET_IN = struct.Struct("=Q")  # nlookup
GETATTR_IN = struct.Struct("=IIQ")  # getattr_flags, dummy, fh
#: valid, padding, fh, size, lock_owner, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, unused4, uid, gid, unused5
SETATTR_IN = struct.Struct("=IIQQQqqqIIIIIIII")
MKNOD_IN = struct.Struct("=IIII")  # mode, rdev, umask, padding
MKDIR_IN = struct.Struct("=II")  # mode, umask
RENAME_IN = struct.Struct("=Q")  # newdir
RENAME2_IN = struct.Struct("=QII")  # newdir, flags, padding
LINK_IN = struct.Struct("=Q")  # oldnodeid
OPEN_IN = struct.Struct("=II")  # flags, open_flags
CREATE_IN = struct.Struct("=IIII")  # flags, mode, umask, open_flags
READ_IN = struct.Struct("=QQIIQII")  # fh, offset, size, read_flags, lock_owner, flags, padding
WRITE_IN = struct.Struct("=QQIIQII")  # fh, offset, size, write_flags, lock_owner, flags, padding
RELEASE_IN = struct.Struct("=QIIQ")  # fh, flags, release_flags, lock_owner
FLUSH_IN = struct.Struct("=QIIQ")  # fh, unused, padding, lock_owner
FSYNC_IN = struct.Struct("=QII")  # fh, fsync_flags, padding
SETXATTR_IN = struct.Struct("=IIII")  # size, flags, setxattr_flags, padding (with SETXATTR_EXT)
GETXATTR_IN = struct.Struct("=II")  # size, padding
LK_IN = struct.Struct("=QQQQIIII")  # fh, owner, start, end, type, pid, lk_flags, padding
ACCESS_IN = struct.Struct("=II")  # mask, padding
INTERRUPT_IN = struct.Struct("=Q")  # unique
IOCTL_IN = struct.Struct("=QIIQII")  # fh, flags, cmd, arg, in_size, out_size
POLL_IN = struct.Struct("=QQII")  # fh, kh, flags, events
FALLOCATE_IN = struct.Struct("=QQQII")  # fh, offset, length, mode, padding
LSEEK_IN = struct.Struct("=QQII")  # fh, offset, whence, padding
COPY_FILE_RANGE_IN = struct.Struct("=QQQQQQQ")  # fh_in, off_in, nodeid_out, fh_out, off_out, len, flags
STATX_IN = struct.Struct("=IIQII")  # getattr_flags, reserved, fh, sx_flags, sx_mask
SYNCFS_IN = struct.Struct("=Q")  # padding

# --- replies ------------------------------------------------------------------------------------------------------------

_HEAD = "=IiQ"  # len, error, unique
_ATTR = "QQQqqqIIIIIIIIII"  # ino, size, blocks, three times, three nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags
_ENTRY = "QQQQII" + _ATTR  # nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec
_OPEN = "QIi"  # fh, open_flags, backing_id

OUT_HEADER = struct.Struct(_HEAD)
ENTRY_OUT = struct.Struct(_HEAD + _ENTRY)
ATTR_OUT = struct.Struct(_HEAD + "QII" + _ATTR)
OPEN_OUT = struct.Struct(_HEAD + _OPEN)
CREATE_OUT = struct.Struct(_HEAD + _ENTRY + _OPEN)
WRITE_OUT = struct.Struct(_HEAD + "II")
STATFS_OUT = struct.Struct(_HEAD + "QQQQQIIII24x")
GETXATTR_OUT = struct.Struct(_HEAD + "II")
LK_OUT = struct.Struct(_HEAD + "QQII")
LSEEK_OUT = struct.Struct(_HEAD + "Q")
IOCTL_OUT = struct.Struct(_HEAD + "iIII")
#: attr_valid, attr_valid_nsec, flags, spare; then fuse_statx: mask, blksize, attributes, nlink, uid, gid, mode, spare, ino, size,
#: blocks, attributes_mask; atime, btime, ctime, mtime (each with nanoseconds and a reserved word); major and minor of rdev and dev.
STATX_OUT = struct.Struct(_HEAD + "QII16x" + "IIQIIIHHQQQQ" + "qIi" * 4 + "IIII112x")
#: major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages, map_alignment, flags2,
#: max_stack_depth, request_timeout
INIT_OUT = struct.Struct(_HEAD + "IIIIHHIIHHIIH22x")
#: Within READDIR: ino, cookie, namelen, type; within READDIRPLUS an entry_out goes before it.
_DIRENT = struct.Struct("=QQII")
_DIRENTPLUS = struct.Struct("=" + _ENTRY + "QQII")
_NO_ENTRY = (0,) * 22
_DOTS = (b".", b"..")
#: The kernel asks for no more than max_pages at once.
_DIRECTORY_BYTES_MAX = 1 << 20

# --- notifications: their `error` is the code, their unique 0 -------------------------------------------------------------

_NOTIFY_INVAL_INODE, _NOTIFY_INVAL_ENTRY, _NOTIFY_STORE, _NOTIFY_DELETE, _NOTIFY_RESEND, _NOTIFY_INC_EPOCH = 2, 3, 4, 6, 7, 8
_INVAL_INODE_OUT = struct.Struct(_HEAD + "Qqq")  # ino, off, len
_INVAL_ENTRY_OUT = struct.Struct(_HEAD + "QII")  # parent, namelen, flags
_STORE_OUT = struct.Struct(_HEAD + "QQII")  # nodeid, offset, size, padding
_DELETE_OUT = struct.Struct(_HEAD + "QQII")  # parent, child, namelen, padding

# --- flags --------------------------------------------------------------------------------------------------------------

INIT_ASYNC_READ = 1 << 0
INIT_POSIX_LOCKS = 1 << 1
INIT_ATOMIC_O_TRUNC = 1 << 3
INIT_EXPORT_SUPPORT = 1 << 4
INIT_BIG_WRITES = 1 << 5
INIT_DONT_MASK = 1 << 6
INIT_FLOCK_LOCKS = 1 << 10
INIT_DO_READDIRPLUS = 1 << 13
INIT_READDIRPLUS_AUTO = 1 << 14
INIT_PARALLEL_DIROPS = 1 << 18
INIT_POSIX_ACL = 1 << 20
INIT_MAX_PAGES = 1 << 22
INIT_CACHE_SYMLINKS = 1 << 23
INIT_EXPLICIT_INVAL_DATA = 1 << 25
INIT_HANDLE_KILLPRIV_V2 = 1 << 28
INIT_SETXATTR_EXT = 1 << 29
INIT_INIT_EXT = 1 << 30
INIT_DIRECT_IO_ALLOW_MMAP = 1 << 36

FOPEN_DIRECT_IO = 1 << 0
FOPEN_KEEP_CACHE = 1 << 1
FOPEN_CACHE_DIR = 1 << 3
FOPEN_NOFLUSH = 1 << 5

SETATTR_MODE, SETATTR_UID, SETATTR_GID, SETATTR_SIZE, SETATTR_ATIME, SETATTR_MTIME = (1 << bit for bit in range(6))
SETATTR_FH = 1 << 6
SETATTR_ATIME_NOW, SETATTR_MTIME_NOW = 1 << 7, 1 << 8
SETATTR_CTIME = 1 << 10
SETATTR_KILL_SUIDGID = 1 << 11

WRITE_CACHE = 1 << 0
WRITE_KILL_SUIDGID = 1 << 2
OPEN_KILL_SUIDGID = 1 << 0
SETXATTR_ACL_KILL_SGID = 1 << 0
RELEASE_FLUSH = 1 << 0
RELEASE_FLOCK_UNLOCK = 1 << 1
LK_FLOCK = 1 << 0
FSYNC_FDATASYNC = 1 << 0


@lru_cache(16)
def _split(timeout_s: float) -> tuple[int, int]:
    """Seconds and nanoseconds."""
    whole = int(timeout_s)
    return whole, int((timeout_s - whole) * _NS)


def _attr(known: Attributes) -> tuple[int, ...]:
    atime_s, atime_ns = divmod(known.atime_ns, _NS)
    mtime_s, mtime_ns = divmod(known.mtime_ns, _NS)
    ctime_s, ctime_ns = divmod(known.ctime_ns, _NS)
    return (
        known.inode,
        known.size_bytes,
        (known.stored_bytes + 511) // 512,
        atime_s,
        mtime_s,
        ctime_s,
        atime_ns,
        mtime_ns,
        ctime_ns,
        known.mode,
        known.links,
        known.uid,
        known.gid,
        known.rdev,
        _PREFERRED_BYTES,
        0,
    )


def _entry(told: KernelEntry) -> tuple[int, ...]:
    """Inode numbers are never used again: their generation is always 0."""
    entry_s, entry_ns = _split(told.entry_timeout_s)
    attr_s, attr_ns = _split(told.attr_timeout_s)
    return (told.attributes.inode, 0, entry_s, attr_s, entry_ns, attr_ns, *_attr(told.attributes))


def pack_error(unique: int, errno: int) -> bytes:
    """A reply that has nothing to say (errno 0), or the refusal."""
    return OUT_HEADER.pack(OUT_HEADER.size, -errno, unique)


def pack_head(unique: int, payload_bytes: int) -> bytes:
    """What goes before a payload: the answers to READ, READLINK, GETXATTR …"""
    return OUT_HEADER.pack(OUT_HEADER.size + payload_bytes, 0, unique)


def pack_entry(unique: int, told: KernelEntry) -> bytes:
    """LOOKUP, MKNOD, MKDIR, SYMLINK, LINK."""
    return ENTRY_OUT.pack(ENTRY_OUT.size, 0, unique, *_entry(told))


def pack_absent(unique: int, timeout_s: float) -> bytes:
    """LOOKUP: there is no such name, and the kernel may believe that for so long."""
    entry_s, entry_ns = _split(timeout_s)
    return ENTRY_OUT.pack(ENTRY_OUT.size, 0, unique, 0, 0, entry_s, 0, entry_ns, 0, *([0] * 16))


def pack_attributes(unique: int, told: KernelEntry) -> bytes:
    """GETATTR, SETATTR."""
    attr_s, attr_ns = _split(told.attr_timeout_s)
    return ATTR_OUT.pack(ATTR_OUT.size, 0, unique, attr_s, attr_ns, 0, *_attr(told.attributes))


def pack_statx(unique: int, told: KernelEntry) -> bytes:
    """STATX: basic attributes and the birth time."""
    known = told.attributes
    attr_s, attr_ns = _split(told.attr_timeout_s)
    times: list[int] = []
    for time_ns in (known.atime_ns, known.btime_ns, known.ctime_ns, known.mtime_ns):
        times += (*divmod(time_ns, _NS), 0)
    owner = (known.links, known.uid, known.gid, known.mode & 0xFFFF, 0)
    sizes = (known.inode, known.size_bytes, (known.stored_bytes + 511) // 512, 0)
    head = (STATX_OUT.size, 0, unique, attr_s, attr_ns, 0, _STATX_BASIC_AND_BTIME, _PREFERRED_BYTES, 0)
    device = ((known.rdev >> 8) & 0xFFF, (known.rdev & 0xFF) | ((known.rdev >> 12) & 0xFFF00))
    return STATX_OUT.pack(*head, *owner, *sizes, *times, *device, 0, 0)


def pack_open(unique: int, handle: int, flags: int) -> bytes:
    """OPEN, OPENDIR. flags: FOPEN_…"""
    return OPEN_OUT.pack(OPEN_OUT.size, 0, unique, handle, flags, 0)


def pack_create(unique: int, told: KernelEntry, handle: int, flags: int) -> bytes:
    """CREATE, TMPFILE."""
    return CREATE_OUT.pack(CREATE_OUT.size, 0, unique, *_entry(told), handle, flags, 0)


def pack_written(unique: int, size_bytes: int) -> bytes:
    """WRITE, COPY_FILE_RANGE."""
    return WRITE_OUT.pack(WRITE_OUT.size, 0, unique, size_bytes, 0)


def pack_statfs(unique: int, figures: FsFigures) -> bytes:
    """STATFS."""
    free = figures.free_bytes // _FRAGMENT_BYTES
    blocks = (figures.total_bytes // _FRAGMENT_BYTES, free, free)
    free_inodes = max(0, figures.inode_max - figures.inode_count) if figures.inode_max else _FREE_INODES
    inodes = (figures.inode_count + free_inodes, free_inodes)
    return STATFS_OUT.pack(STATFS_OUT.size, 0, unique, *blocks, *inodes, _FRAGMENT_BYTES, _NAME_BYTES_MAX, _FRAGMENT_BYTES, 0)


def pack_ioctl(unique: int, payload: bytes) -> bytes:
    """IOCTL that succeeded, and what it tells."""
    return IOCTL_OUT.pack(IOCTL_OUT.size + len(payload), 0, unique, 0, 0, 0, 0) + payload


def pack_xattr_size(unique: int, size_bytes: int) -> bytes:
    """GETXATTR and LISTXATTR that asked for the size only."""
    return GETXATTR_OUT.pack(GETXATTR_OUT.size, 0, unique, size_bytes, 0)


def pack_lock(unique: int, start: int, end: int, kind: int, pid: int) -> bytes:
    """GETLK. end is the last byte; kind is F_RDLCK, F_WRLCK or F_UNLCK."""
    return LK_OUT.pack(LK_OUT.size, 0, unique, start, end, kind, pid)


def pack_offset(unique: int, offset: int) -> bytes:
    """LSEEK, COPY_FILE_RANGE_64."""
    return LSEEK_OUT.pack(LSEEK_OUT.size, 0, unique, offset)


def pack_directory(entries: Iterable[tuple[bytes, KernelEntry, int]], room_bytes: int, *, plus: bool) -> memoryview:
    """READDIR, or READDIRPLUS with the inodes: as many (name, entry, cookie to go on after) as there is room for.

    Each is padded to eight bytes. "." and ".." come without an inode.
    """
    page = bytearray(min(room_bytes, _DIRECTORY_BYTES_MAX))
    layout = _DIRENTPLUS if plus else _DIRENT
    pack_into, head_bytes, page_bytes = layout.pack_into, layout.size, len(page)
    at = 0
    for name, told, cookie in entries:
        name_at, name_bytes = at + head_bytes, len(name)
        stop = name_at + (name_bytes + 7 & ~7)
        if stop > page_bytes:
            break
        known = told.attributes
        if not plus:
            pack_into(page, at, known.inode, cookie, name_bytes, known.mode >> 12)
        elif name in _DOTS:
            pack_into(page, at, *_NO_ENTRY, known.inode, cookie, name_bytes, known.mode >> 12)
        else:
            pack_into(page, at, *_entry(told), known.inode, cookie, name_bytes, known.mode >> 12)
        page[name_at : name_at + name_bytes] = name
        at = stop
    return memoryview(page)[:at]


def pack_init(unique: int, minor: int, max_readahead: int, flags: int, limits: "InitLimits") -> bytes:
    """INIT. flags are 64 bits: those from the 33rd on travel as flags2."""
    background = (limits.max_background, limits.congestion_threshold)
    sizes = (limits.max_write_bytes, limits.time_granularity_ns, limits.max_pages, 0)
    head = (INIT_OUT.size, 0, unique, MAJOR, minor, max_readahead, flags & 0xFFFFFFFF)
    return INIT_OUT.pack(*head, *background, *sizes, flags >> 32, 0, 0)


@dataclass(frozen=True, slots=True)
class InitLimits:
    """What INIT sets besides flags."""

    max_background: int = 64
    congestion_threshold: int = 48
    max_write_bytes: int = 1 << 20
    time_granularity_ns: int = 1
    max_pages: int = 256


def pack_inval_inode(number: int, start: int, length_bytes: int) -> bytes:
    """Forget an inode's attributes, and its pages from start on (length 0: all that follow); a start of -1 keeps the pages."""
    return _INVAL_INODE_OUT.pack(_INVAL_INODE_OUT.size, _NOTIFY_INVAL_INODE, 0, number, start, length_bytes)


def pack_inval_entry(parent: int, name: bytes, flags: int = 0) -> bytes:
    """Forget what a name stands for."""
    size = _INVAL_ENTRY_OUT.size + len(name) + 1
    return _INVAL_ENTRY_OUT.pack(size, _NOTIFY_INVAL_ENTRY, 0, parent, len(name), flags) + name + b"\0"


def pack_delete(parent: int, child: int, name: bytes) -> bytes:
    """A name was removed, which inotify tells."""
    size = _DELETE_OUT.size + len(name) + 1
    return _DELETE_OUT.pack(size, _NOTIFY_DELETE, 0, parent, child, len(name), 0) + name + b"\0"


def pack_store(number: int, offset: int, data: bytes) -> bytes:
    """Put bytes into an inode's page cache."""
    return _STORE_OUT.pack(_STORE_OUT.size + len(data), _NOTIFY_STORE, 0, number, offset, len(data), 0) + data


def pack_increase_epoch() -> bytes:
    """Believe no name any more (7.44: Linux 6.16)."""
    return OUT_HEADER.pack(OUT_HEADER.size, _NOTIFY_INC_EPOCH, 0)


def pack_resend() -> bytes:
    """Send every request again that is unanswered (7.40)."""
    return OUT_HEADER.pack(OUT_HEADER.size, _NOTIFY_RESEND, 0)
