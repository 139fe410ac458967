"""Chunks that are no file's any more, and whose extents are still to be let go of: a few at a time, by the leader.

Removing or emptying a huge file must not keep everybody waiting. What one transaction may not release is *doomed*: in that
transaction it leaves the file, by a row that names ranges of chunks, and ops/release_doomed.py takes it from there. Until then the
rows of doomed chunks, and their references, are there; nobody sees them. A chunk that is needed again is released first.
"""

from collections.abc import Iterator

from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.extents import Piece
from ringfs.meta.namespace.work import Work
from ringfs.wire.packing import pack, unpack

#: [first, stop] pairs of chunk numbers: ascending, not empty, apart.
Ranges = list[list[int]]


def ranges_of(view: ReadView, number: int) -> Ranges:
    """What is doomed of an inode's chunks."""
    value = view.get(keys.doomed(number))
    if value is None:
        return []
    found: Ranges = unpack(value)
    return found


def outside(ranges: Ranges, first: int, stop: int) -> Iterator[tuple[int, int]]:
    """The parts (first, stop) of first … stop-1 that are not doomed."""
    for begin, end in ranges:
        if begin >= stop:
            break
        if end > first:
            if first < begin:
                yield first, begin
            first = end
    if first < stop:
        yield first, stop


def visible_chunks(view: ReadView, number: int, first: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """(chunk, its row) of the chunks first … stop-1 that a file has."""
    for begin, end in outside(ranges_of(view, number), first, stop):
        for key, value in view.scan(keys.chunk(number, begin), keys.chunk(number, end)):
            yield int.from_bytes(key[9:], "big"), value


def doom(work: Work, number: int, first: int, stop: int) -> None:
    """The chunks first … stop-1 are not the file's any more."""
    kept: Ranges = []
    for begin, end in ranges_of(work.rows, number):
        if end < first or begin > stop:
            kept.append([begin, end])
        else:
            first, stop = min(first, begin), max(stop, end)
    kept.append([first, stop])
    _put(work, number, sorted(kept))


def reclaim(work: Work, number: int, index: int) -> None:
    """A chunk is about to be used: if it is doomed, let go of what it has now."""
    ranges = ranges_of(work.rows, number)
    for place, (begin, end) in enumerate(ranges):
        if begin <= index < end:
            key = keys.chunk(number, index)
            value = work.rows.get(key)
            if value is not None:
                let_go(work, key, unpack(value))
            ranges[place : place + 1] = [part for part in ([begin, index], [index + 1, end]) if part[0] < part[1]]
            _put(work, number, ranges)
            return


def release_some(work: Work, extents_max: int) -> bool:
    """Let go of about so many extents of doomed chunks. True if there are more."""
    while True:
        row = next(scan_prefix(work.rows, keys.DOOMED), None)
        if row is None or extents_max <= 0:
            return row is not None
        extents_max -= _release_first(work, keys.number_at(row[0], 1), unpack(row[1]), extents_max)


def _release_first(work: Work, number: int, ranges: Ranges, extents_max: int) -> int:
    """Chunks of an inode's first range; how much work that was."""
    begin, end = ranges[0]
    done = 1
    rows: list[tuple[bytes, list[Piece]]] = []
    for key, value in work.rows.scan(keys.chunk(number, begin), keys.chunk(number, end)):
        if done > extents_max:
            ranges[0][0] = int.from_bytes(key[9:], "big")
            break
        pieces = unpack(value)
        rows.append((key, pieces))
        done += len(pieces)
    else:
        del ranges[0]
    for key, pieces in rows:
        let_go(work, key, pieces)
    _put(work, number, ranges)
    return done


def let_go(work: Work, key: bytes, pieces: list[Piece]) -> None:
    """Remove a chunk's row, and its references. Stored bytes are the caller's business."""
    work.rows.delete(key)
    for piece in pieces:
        if len(piece) == 4:
            work.references.point(piece[2], key[1:], -piece[1])


def _put(work: Work, number: int, ranges: Ranges) -> None:
    if ranges:
        work.rows.put(keys.doomed(number), pack(ranges))
    else:
        work.rows.delete(keys.doomed(number))
