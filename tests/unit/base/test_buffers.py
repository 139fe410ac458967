"""Pooled memory: aligned, exactly as large as asked for, never two users at once, back when the last view is gone, bounded."""

import ctypes
import gc
import threading

import pytest

from ringfs.base.buffers import BufferPool, buffers, is_aligned
from ringfs.base.limits import KIB, MIB


@pytest.mark.parametrize("size_bytes", [1, 4096, 64 * KIB, 72 * KIB, 72 * KIB + 1, 8 * MIB, 8 * MIB + 4096])
def test_size_and_alignment(size_bytes: int) -> None:
    """A writable view of plain bytes that begins at a page."""
    view = buffers.take(size_bytes)
    assert (len(view), view.format, view.readonly, is_aligned(view)) == (size_bytes, "B", False, True)
    view[:] = b"x" * size_bytes
    assert bytes(view[-1:]) == b"x"


@pytest.mark.parametrize("size_bytes", [2 * MIB, 2 * MIB + 4096, 8 * MIB + 4096])
def test_large_ones_begin_at_a_huge_page(size_bytes: int) -> None:
    """Also when they are used again."""
    pool = BufferPool()
    for _ in range(3):
        views = [pool.take(size_bytes) for _ in range(3)]
        assert all(address(view) % (2 * MIB) == 0 for view in views)
        for view in views:
            view[-1:] = b"x"


def address(view: memoryview) -> int:
    """Where its memory is: found by asking for alignments."""
    return ctypes.addressof(ctypes.c_ubyte.from_buffer(view))


def test_memory_is_used_again_after_the_last_view_only() -> None:
    """A slice of a slice keeps it; afterwards the next one who asks for that much gets the same memory."""
    pool = BufferPool()
    view = pool.take(1000)
    place = address(view)
    part = view[10:20][:5]
    part[:] = b"keep!"
    del view
    other = pool.take(1000)
    other[:] = bytes(1000)
    assert address(other) != place
    assert bytes(part) == b"keep!"
    del part
    gc.collect()
    assert address(pool.take(500)) == place


def test_what_is_kept_is_bounded() -> None:
    """Of what comes back, no more stays than the pool may keep."""
    pool = BufferPool(kept_bytes_max=3 * MIB)
    views = [pool.take(MIB) for _ in range(5)] + [pool.take(64 * KIB) for _ in range(50)]
    views.clear()
    gc.collect()
    kept = {size: len(unused) for size, unused in pool._unused.items()}
    assert kept[MIB] <= 2
    assert sum(size * count for size, count in kept.items()) <= 3 * MIB


def test_a_bound_that_was_raised() -> None:
    """A process that needs more than others says so."""
    pool = BufferPool(kept_bytes_max=0)
    pool.keep(3 * MIB)
    views = [pool.take(MIB) for _ in range(2)]
    views.clear()
    gc.collect()
    assert len(pool._unused[MIB]) == 2


def test_alignment_of_foreign_memory() -> None:
    """Read-only and empty views count as unaligned: nobody may write from them past the page cache."""
    view = buffers.take(8192)
    assert is_aligned(view[512:], 512)
    assert not is_aligned(view[512:])
    assert not is_aligned(view[1:], 512)
    assert not is_aligned(memoryview(b"abc"))
    assert not is_aligned(view[:0])


def test_threads() -> None:
    """Taken and given back in several threads, no memory has two users."""
    pool = BufferPool()
    failures: list[int] = []

    def work(number: int) -> None:
        for _ in range(500):
            view = pool.take(5000)
            view[:] = bytes([number]) * 5000
            if bytes(view) != bytes([number]) * 5000:
                failures.append(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
