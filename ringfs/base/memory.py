"""How the C library's allocator treats large buffers. Not a cache: it only keeps freed pages for the next buffer."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MIB = 1 << 20


def keep_freed_pages(limit_bytes: int) -> None:
    """Take buffers up to 32 MiB from the heap, and give its top back only beyond limit_bytes (mallopt(3)).

    Each fresh page costs a page fault, which on a virtual machine is dearer than copying the page: a stream of 1 MiB
    buffers spends a sixth of the mount's CPU in them. Elsewhere than on glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
    mallopt(_M_TRIM_THRESHOLD, limit_bytes)
    mallopt(_M_TOP_PAD, 4 * _MIB)
    mallopt(_M_ARENA_MAX, 2)
