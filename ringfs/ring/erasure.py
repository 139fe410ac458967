"""The erasure code: parity fragments from an object's bytes, and any fragments from any K others. By ISA-L, the only user of it.

Systematic Reed–Solomon over GF(2^8) with ISA-L's Cauchy matrix, which is invertible whatever K rows are left. All functions may be
called from any thread; while bytes are worked on, the GIL is free. Nothing is verified here. Which bytes a fragment has:
parts.py; why not pyeclib: docs/decisions/0008-erasure-code.md.
"""

import ctypes
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from ringfs.base.buffers import buffers
from ringfs.base.errors import UserError
from ringfs.base.limits import BLOCK_BYTES
from ringfs.ring.classes import FRAGMENTS_MAX, ErasureClass
from ringfs.ring.parts import row_count

_LIBRARY = "libisal.so.2"
#: What ISA-L keeps for each number of a matrix.
_TABLE_BYTES = 32
#: Content in more pieces than this is joined first: each piece costs a call, about as long as copying 64 KiB takes.
_PIECES_MAX = 64


class _PyBuffer(ctypes.Structure):
    """CPython's Py_buffer, part of its stable ABI: the only way to the address of read-only memory."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.c_void_p]
_release_buffer.restype = None


def encode(form: ErasureClass, content_parts: Sequence[memoryview], size_bytes: int) -> list[memoryview]:
    """The parity fragments of an object of that size, whose bytes are the parts one after the other. Each has row_count() whole
    blocks, in memory of the pool. Nothing is copied if the parts are few. Raises UserError if ISA-L is not installed."""
    assert sum(map(len, content_parts)) == size_bytes
    if len(content_parts) > _PIECES_MAX:
        content_parts = [_joined(content_parts, size_bytes)]
    run_bytes = row_count(size_bytes, form.data) * BLOCK_BYTES
    parity = [buffers.take(run_bytes) for _ in range(form.parity)]
    starts = list(accumulate(map(len, content_parts[:-1]), initial=0))
    addresses = list(map(_address, content_parts))
    data_rows, parity_rows = tuple(range(form.data)), tuple(range(form.data, form.width))
    # Between two neighbouring cuts every run lies in one part, or has ended: what has ended is zeros, and left out of the sum.
    for start, stop in pairwise(sorted({0, size_bytes % run_bytes, run_bytes, *(start % run_bytes for start in starts)})):
        sources = []
        for position in range(start, size_bytes, run_bytes):
            part = bisect_right(starts, position) - 1
            sources.append(addresses[part] + position - starts[part])
        _combine(_tables(form, data_rows, parity_rows, data_rows[: len(sources)]), sources, parity, start, stop)
    return parity


def decode(
    form: ErasureClass, length_bytes: int, available: Mapping[int, memoryview], wanted: Sequence[int]
) -> dict[int, memoryview]:
    """The wanted fragments, or the same stretch of length_bytes of each, by their number, in memory of the pool.

    `available` are at least K others by theirs. One that is shorter counts as followed by zeros: so data fragments behind the
    object's end are there as b"", and cost nothing. Raises UserError if ISA-L is not installed.
    """
    assert len(available) >= form.data, f"{len(available)} fragments of {form}"
    rows = tuple(sorted(available)[: form.data])
    used = tuple(index for index, row in enumerate(rows) if len(available[row]))
    sources = [_padded(available[rows[index]], length_bytes) for index in used]
    made = {number: buffers.take(length_bytes) for number in wanted}
    tables = _tables(form, rows, tuple(made), used)
    _combine(tables, list(map(_address, sources)), list(made.values()), 0, length_bytes)
    return made


def _combine(tables: ctypes.Array[ctypes.c_ubyte], sources: list[int], targets: list[memoryview], start: int, stop: int) -> None:
    """Write start … stop-1 of the targets, as linear combinations of what lies at the sources' addresses."""
    if not sources:
        for target in targets:
            target[start:stop] = bytes(stop - start)
        return
    _encode_data(stop - start, tables, sources, [_address(target) + start for target in targets])


def _encode_data(length_bytes: int, tables: ctypes.Array[ctypes.c_ubyte], sources: list[int], targets: list[int]) -> None:
    sources_array = (ctypes.c_void_p * len(sources))(*sources)
    targets_array = (ctypes.c_void_p * len(targets))(*targets)
    _isal().ec_encode_data(length_bytes, len(sources), len(targets), tables, sources_array, targets_array)


@lru_cache(maxsize=512)
def _tables(
    form: ErasureClass, rows: tuple[int, ...], wanted: tuple[int, ...], used: tuple[int, ...]
) -> ctypes.Array[ctypes.c_ubyte]:
    """What ISA-L needs to make the wanted fragments of K others, `rows`, of which those at the indexes `used` are not zeros."""
    count = form.data
    generator = _generator(form)
    inverse = _inverse(b"".join(generator[row] for row in rows), count)
    # The matrix wanted is the product of two: the code applied to the inverse's rows.
    products = (ctypes.c_ubyte * (len(wanted) * count))()
    factors = _expanded(b"".join(generator[row] for row in wanted), count)
    first, product = ctypes.addressof(inverse), ctypes.addressof(products)
    inverse_rows = [first + index * count for index in range(count)]
    _encode_data(count, factors, inverse_rows, [product + index * count for index in range(len(wanted))])
    return _expanded(bytes(products[row * count + column] for row in range(len(wanted)) for column in used), len(used))


def _expanded(matrix: bytes, columns: int) -> ctypes.Array[ctypes.c_ubyte]:
    """A matrix as ec_encode_data takes it."""
    tables = (ctypes.c_ubyte * (_TABLE_BYTES * len(matrix)))()
    if columns:
        _isal().ec_init_tables(columns, len(matrix) // columns, matrix, tables)
    return tables


def _inverse(matrix: bytes, count: int) -> ctypes.Array[ctypes.c_ubyte]:
    scratch = (ctypes.c_ubyte * len(matrix)).from_buffer_copy(matrix)
    inverse = (ctypes.c_ubyte * len(matrix))()
    assert _isal().gf_invert_matrix(scratch, inverse, count) == 0, "a Cauchy matrix was singular"
    return inverse


@lru_cache(maxsize=FRAGMENTS_MAX)
def _generator(form: ErasureClass) -> list[bytes]:
    """For each fragment its factors for the K runs of data."""
    matrix = (ctypes.c_ubyte * (form.width * form.data))()
    _isal().gf_gen_cauchy1_matrix(matrix, form.width, form.data)
    packed = bytes(matrix)
    return [packed[start : start + form.data] for start in range(0, len(packed), form.data)]


def _joined(parts: Sequence[memoryview], size_bytes: int) -> memoryview:
    joined = buffers.take(size_bytes)
    position = 0
    for part in parts:
        joined[position : position + len(part)] = part
        position += len(part)
    return joined


def _padded(view: memoryview, length_bytes: int) -> memoryview:
    """The view, or a copy of it that is filled up with zeros."""
    assert len(view) <= length_bytes
    if len(view) == length_bytes:
        return view
    return _joined([view, memoryview(bytes(length_bytes - len(view)))], length_bytes)


def _address(view: memoryview) -> int:
    """Where a view's memory begins: right as long as the view, or another one on the same memory, lives."""
    described = _PyBuffer()
    _get_buffer(view, ctypes.byref(described), 0)
    address = int(described.buf or 0)
    _release_buffer(ctypes.byref(described))
    return address


@lru_cache(maxsize=1)
def _isal() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise UserError(f"erasure coding needs ISA-L ({error}): apt-get install libisal2") from error
    number, memory = ctypes.c_int, ctypes.c_void_p
    library.ec_encode_data.argtypes = [number, number, number, memory, memory, memory]
    library.ec_init_tables.argtypes = [number, number, memory, memory]
    library.gf_gen_cauchy1_matrix.argtypes = [memory, number, number]
    library.gf_invert_matrix.argtypes = [memory, memory, number]
    for function in (library.ec_encode_data, library.ec_init_tables, library.gf_gen_cauchy1_matrix):
        function.restype = None
    return library
