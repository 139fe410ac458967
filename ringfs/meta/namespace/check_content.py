"""The checker on contents: extents, stored bytes, references, live bytes, verdicts."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from stat import S_IFMT, S_IFREG

from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import CHUNK_BYTES, HASH_BYTES
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.check_inodes import inode_at
from ringfs.meta.namespace.content import CHUNKS_MAX
from ringfs.meta.namespace.doomed import Ranges, ranges_of
from ringfs.meta.namespace.extents import Piece, end_of, length_of
from ringfs.meta.namespace.facts import counters
from ringfs.meta.namespace.finding import Finding
from ringfs.wire.packing import unpack


def check_chunks(view: ReadView) -> Iterator[Finding]:
    """Extents are sound, each file's stored bytes are their sum, and each chunk's references are exact."""
    number = stored_bytes = end = 0
    ranges: Ranges = []
    for key, value in scan_prefix(view, keys.CHUNK):
        owner, index = keys.number_at(key, 1), int.from_bytes(key[9:], "big")
        if owner != number:
            if stored_bytes:
                yield from _check_file(view, number, stored_bytes, end)
            number, stored_bytes, end = owner, 0, 0
            ranges = ranges_of(view, owner)
        pieces: list[Piece] = unpack(value)
        yield from _check_pieces(view, f"chunk {index} of file {owner}", pieces)
        yield from _check_references(view, key[1:], pieces)
        if any(first <= index < stop for first, stop in ranges):
            continue
        stored_bytes += sum(map(length_of, pieces))
        if pieces:
            end = index * CHUNK_BYTES + end_of(pieces[-1])
    if stored_bytes:
        yield from _check_file(view, number, stored_bytes, end)


def check_doomed(view: ReadView) -> Iterator[Finding]:
    """Ranges of doomed chunks are sound; what they count is checked with the others."""
    for key, value in scan_prefix(view, keys.DOOMED):
        ranges: Ranges = unpack(value)
        edges = [edge for pair in ranges for edge in pair]
        if not edges or edges[0] < 0 or edges[-1] > CHUNKS_MAX or any(a >= b for a, b in pairwise(edges)):
            yield Finding("doomed", f"doomed chunks of inode {keys.number_at(key, 1)} are {ranges}")


def _check_file(view: ReadView, number: int, stored_bytes: int, end: int) -> Iterator[Finding]:
    inode = inode_at(view, number)
    if inode is None or S_IFMT(inode.mode) != S_IFREG:
        yield Finding("extents", f"extents of inode {number}, which is no file")
        return
    if inode.stored_bytes != stored_bytes:
        yield Finding("sizes", f"file {number} counts {inode.stored_bytes} stored bytes, its extents have {stored_bytes}")
    if inode.size_bytes < end:
        yield Finding("sizes", f"file {number} has {inode.size_bytes} bytes, its extents reach to {end}")


def _check_pieces(view: ReadView, where: str, pieces: list[Piece]) -> Iterator[Finding]:
    if not pieces:
        yield Finding("extents", f"{where} has a row without extents")
    before = 0
    for piece in pieces:
        if piece[0] < before or length_of(piece) <= 0 or end_of(piece) > CHUNK_BYTES:
            yield Finding("extents", f"{where}: an extent at {piece[0]} overlaps, is empty, or leaves the chunk")
        before = end_of(piece)
        if len(piece) == 4:
            row = view.get(keys.object_row(piece[2]))
            if row is None or piece[3] < 0 or piece[3] + piece[1] > unpack(row)[0]:
                yield Finding("extents", f"{where}: an extent at {piece[0]} points past or to no object {piece[2].hex()}")


def _check_references(view: ReadView, suffix: bytes, pieces: list[Piece]) -> Iterator[Finding]:
    for oid, live_bytes in _pointed_to(pieces).items():
        row = view.get(keys.reference(oid, suffix))
        if row is None or unpack(row) != live_bytes:
            yield Finding("references", f"chunk {suffix.hex()} points to {live_bytes} bytes of {oid.hex()}, the reference differs")


def _pointed_to(pieces: list[Piece]) -> Counter[bytes]:
    totals: Counter[bytes] = Counter()
    for piece in pieces:
        if len(piece) == 4:
            totals[piece[2]] += piece[1]
    return totals


def check_objects(view: ReadView) -> Iterator[Finding]:
    """Each live object's references make its live bytes; every reference comes from a chunk; the byte counters are sums."""
    live_total = dead_total = 0
    for key, value in scan_prefix(view, keys.OBJECT):
        oid = key[1:]
        size_bytes, live_bytes, *_ = unpack(value)
        found = sum(unpack(row) for _, row in scan_prefix(view, keys.REFERENCE + oid))
        if found != live_bytes or live_bytes <= 0:
            yield Finding("references", f"object {oid.hex()} counts {live_bytes} live bytes, references make {found}")
        if view.get(keys.verdict(oid)) is not None:
            yield Finding("verdicts", f"object {oid.hex()} is live and condemned")
        live_total += live_bytes
        dead_total += max(0, size_bytes - live_bytes)
    for key, _ in scan_prefix(view, keys.REFERENCE):
        oid, suffix = key[1 : 1 + HASH_BYTES], key[1 + HASH_BYTES :]
        chunk = view.get(keys.CHUNK + suffix)
        if chunk is None or oid not in _pointed_to(unpack(chunk)):
            yield Finding("references", f"a reference to {oid.hex()} from chunk {suffix.hex()}, which has none")
        if view.get(keys.object_row(oid)) is None:
            yield Finding("references", f"a reference to {oid.hex()}, which is not live")
    dead_total += sum(unpack(value)[2] for _, value in scan_prefix(view, keys.CONDEMNED))
    figures = counters(view)
    if (figures.live_bytes, figures.dead_bytes) != (live_total, dead_total):
        counted = f"live and dead bytes are {figures.live_bytes} and {figures.dead_bytes}"
        yield Finding("counters", f"{counted}, objects make {live_total} and {dead_total}")


def check_verdicts(view: ReadView) -> Iterator[Finding]:
    """Both rows of each verdict lead to each other, and verdicts were numbered."""
    next_condemned = counters(view).next_condemned
    for key, value in scan_prefix(view, keys.CONDEMNED):
        sequence, oid = keys.number_at(key, 1), unpack(value)[0]
        found = view.get(keys.verdict(oid))
        if found is None or unpack(found) != sequence or not 0 < sequence < next_condemned:
            yield Finding("verdicts", f"verdict {sequence} on {oid.hex()} is not the object's own")
    for key, value in scan_prefix(view, keys.VERDICT):
        row = view.get(keys.condemned(unpack(value)))
        if row is None or unpack(row)[0] != key[1:]:
            yield Finding("verdicts", f"object {key[1:].hex()} names a verdict that is not its own")
