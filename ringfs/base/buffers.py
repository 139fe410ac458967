"""Page-aligned memory for bulk bytes, used again and again: O_DIRECT wants the alignment, and fresh pages cost more than the copy
into them (2 to 9 ms for 8 MiB on the machine this was measured on, 0.8 ms into pages that were touched before)."""

import ctypes
import mmap
import weakref
from collections import deque

from ringfs.base.limits import KIB, MIB

#: What every buffer's address is a multiple of.
PAGE_BYTES = 4 * KIB
#: Buffers of at least one huge page begin at one: where 2 MiB are 1 page and not 512, a direct write is 1 request to the disk and
#: not 3, and finding its pages costs nothing.
_HUGE_PAGE_BYTES = 2 * MIB
#: Buffers are made in powers of two from here, and each is this much larger, so that a record's head fits in front of whole blocks.
_CLASS_BYTES_MIN = 64 * KIB
_SLACK_BYTES = 2 * PAGE_BYTES
#: Unused buffers that are kept, over all classes; one class keeps at most two thirds of it.
_KEPT_BYTES_MAX = 48 * MIB


class BufferPool:
    """Gives out memory; takes it back by itself when the last view of it is gone. Usable from any thread."""

    def __init__(self, kept_bytes_max: int = _KEPT_BYTES_MAX) -> None:
        self._kept_bytes_max = kept_bytes_max
        #: Unused memory by class. Appending and popping are atomic; the bound may be missed by as many as there are threads.
        self._unused: dict[int, deque[mmap.mmap]] = {}

    def keep(self, kept_bytes_max: int) -> None:
        """Keep up to so much of unused memory from now on."""
        self._kept_bytes_max = kept_bytes_max

    def take(self, size_bytes: int) -> memoryview:
        """A writable view of exactly size_bytes that begins at a page; what is in it is left over from its last user."""
        class_bytes = max(_CLASS_BYTES_MIN, 1 << (max(1, size_bytes - _SLACK_BYTES) - 1).bit_length())
        unused = self._unused.setdefault(class_bytes, deque())
        try:
            memory = unused.pop()
        except IndexError:
            memory = _fresh(class_bytes + _SLACK_BYTES)
        owner = (ctypes.c_ubyte * size_bytes).from_buffer(memory, _start_of(memory))
        weakref.finalize(owner, self._take_back, unused, class_bytes, memory).atexit = False
        return memoryview(owner).cast("B")

    def _take_back(self, unused: deque[mmap.mmap], class_bytes: int, memory: mmap.mmap) -> None:
        kept = sum(len(others) * size for size, others in list(self._unused.items()))
        if kept + class_bytes <= self._kept_bytes_max and (len(unused) + 1) * class_bytes * 3 <= self._kept_bytes_max * 2:
            unused.append(memory)


#: The process's pool.
buffers = BufferPool()


def is_aligned(view: memoryview, alignment_bytes: int = PAGE_BYTES) -> bool:
    """Whether a view's memory begins at a multiple of alignment_bytes. Read-only views count as unaligned."""
    if view.readonly or not view.contiguous or not len(view):
        return False
    return ctypes.addressof(ctypes.c_ubyte.from_buffer(view)) % alignment_bytes == 0


def _fresh(size_bytes: int) -> mmap.mmap:
    is_huge = size_bytes >= _HUGE_PAGE_BYTES
    # What is in front of the first huge page is never touched, so that it is no memory.
    length_bytes = size_bytes + _HUGE_PAGE_BYTES - PAGE_BYTES if is_huge else size_bytes
    memory = mmap.mmap(-1, length_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if is_huge:
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _start_of(memory: mmap.mmap) -> int:
    """Where in it a buffer begins."""
    if len(memory) < _HUGE_PAGE_BYTES:
        return 0
    return -ctypes.addressof(ctypes.c_ubyte.from_buffer(memory)) % _HUGE_PAGE_BYTES
