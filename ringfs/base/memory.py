"""What a daemon tells the C library's allocator and Python's collector of cycles. No cache lives here."""

import ctypes
import gc

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MIB = 1 << 20
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
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
    mallopt(_M_TRIM_THRESHOLD, limit_bytes)
    mallopt(_M_TOP_PAD, 4 * _MIB)
    mallopt(_M_ARENA_MAX, 2)
