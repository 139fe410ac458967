"""What a daemon tells the C library's allocator, Python's collector of cycles, and the kernel of files that it maps. No cache lives
here.

What is read of LMDB's file stays mapped until the kernel needs the room: in the end all of it, though another read of a page that
was let go costs a microsecond as long as the page cache has it.
"""

import ctypes
import gc
import os
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MADV_DONTNEED = 4
_MIB = 1 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.madvise.restype = ctypes.c_int
#: Containers made and not freed until the youngest are looked through, and how many such rounds until the older ones are.
_COLLECT_AFTER = (100_000, 20, 100)


def collect_seldom() -> None:
    """Look for cycles seldom, and never in what is there already: modules and classes, which stay.

    Nearly nothing here is in a cycle, and each thousandth container made costs a walk through the younger ones: with Python's own
    thresholds a tenth of the CPU of a mkdir. Called once, before a daemon begins.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def keep_freed_pages(limit_bytes: int) -> None:
    """Take buffers up to 32 MiB from the heap, and give its top back only beyond limit_bytes (mallopt(3)).

    Each fresh page costs a page fault, which on a virtual machine is dearer than copying the page: a stream of 1 MiB
    buffers spends a sixth of the mount's CPU in them. Elsewhere than on glibc it does nothing.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
    mallopt(_M_TRIM_THRESHOLD, limit_bytes)
    mallopt(_M_TOP_PAD, 4 * _MIB)
    mallopt(_M_ARENA_MAX, 2)


def mapped_bytes() -> int:
    """What this process has in memory of all files that it maps: libraries, and LMDB's. Costs some 10 µs."""
    return int(Path("/proc/self/statm").read_bytes().split()[2]) * _PAGE_BYTES


def let_go(file: Path) -> None:
    """Unmap the pages of a file that is mapped and never written to by that way; they stay in the page cache, and are mapped again
    when they are read. Takes 1 ms for 64 MiB."""
    # Looked up each time: where the file was mapped once there may be something else by now, which would be lost.
    name = os.path.realpath(file)
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, permissions, *_, path = line.split(maxsplit=5)
        if path == name and permissions == "r--s":
            start, end = (int(address, 16) for address in place.split("-"))
            if _libc.madvise(start, end - start, _MADV_DONTNEED) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
