"""The bytes of an object as the parts that nodes hold: hashed, cut into fragments, parity computed; and back. Pure.

Which bytes a fragment has: ring/parts.py; the code: ring/erasure.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ringfs.base.checksums import block_hash, block_table, first_bad_block, object_id
from ringfs.base.limits import BLOCK_BYTES
from ringfs.ring.classes import ErasureClass, ServiceClass
from ringfs.ring.erasure import decode, encode
from ringfs.ring.parts import Part, parts_of, range_of
from ringfs.wire.messages.data import Put


@dataclass(frozen=True, slots=True)
class Whole:
    """An object in memory; each of its pieces but the last one ends at a block."""

    oid: bytes
    size_bytes: int
    table: bytes
    pieces: Sequence[memoryview]


@dataclass(frozen=True, slots=True)
class Job:
    """What one node is to be sent."""

    part: Part
    request: Put
    payload: Sequence[memoryview]

    @property
    def size_bytes(self) -> int:
        """Of the payload."""
        return sum(map(len, self.payload))


def hashed(pieces: Sequence[memoryview]) -> Whole:
    """The object that the pieces make, one after the other; joined into one if their edges are not on block boundaries."""
    if any(len(piece) % BLOCK_BYTES for piece in pieces[:-1]):
        pieces = [memoryview(b"".join(pieces))]
    size_bytes = sum(map(len, pieces))
    table = b"".join(block_hash(block) for piece in pieces for block in _blocks(piece))
    return Whole(object_id(size_bytes, table), size_bytes, table, pieces)


def prepared(pieces: Sequence[memoryview], form: ServiceClass) -> "tuple[Whole, list[Job]]":
    """The object that the pieces make, and what nodes are to be sent: in one go, for a thread."""
    whole = hashed(pieces)
    return whole, jobs_for(whole, form)


def jobs_for(whole: Whole, form: ServiceClass) -> list[Job]:
    """One job for each part of the object in that form. Parity is computed; data is not copied."""
    parity = encode(form, whole.pieces, whole.size_bytes) if isinstance(form, ErasureClass) else []
    jobs = []
    for part in parts_of(form):
        if part.is_parity:
            content = parity[part.number - part.data]
            jobs.append(put_of(whole.oid, whole.size_bytes, whole.table, part, [content], block_table(content)))
        else:
            payload = _cut(whole.pieces, *range_of(part, whole.size_bytes))
            jobs.append(put_of(whole.oid, whole.size_bytes, whole.table, part, payload))
    return jobs


def put_of(oid: bytes, size_bytes: int, table: bytes, part: Part, payload: Sequence[memoryview], own_table: bytes = b"") -> Job:
    """The job that puts these bytes as that part of an object."""
    return Job(part, Put(oid, size_bytes, table, part.pack(), own_table), payload)


def decoded(
    form: ErasureClass,
    wanted: int,
    rows_bytes: int,
    gathered: Mapping[int, memoryview],
    table: bytes,
    first_block: int,
    size_bytes: int,
) -> memoryview | None:
    """The same rows of fragment `wanted`, which are size_bytes of the object from first_block on, made of those of others; None if
    no K of them give what the object's table proves.

    Rows of data fragments must have been proven; those of parity cannot be, so that every choice of them is tried.
    """
    data = sorted(number for number in gathered if number < form.data)
    parity = sorted(number for number in gathered if number >= form.data)
    for chosen in combinations(parity, form.data - len(data)):
        available = {number: gathered[number] for number in (*data, *chosen)}
        content = decode(form, rows_bytes, available, [wanted])[wanted][:size_bytes]
        if first_bad_block(table, first_block, content) is None:
            return content
    return None


def joined(runs: Iterable[memoryview], into: memoryview) -> memoryview:
    """The runs one after the other."""
    at = 0
    for run in runs:
        into[at : at + len(run)] = run
        at += len(run)
    assert at == len(into), "the runs are what was asked for"
    return into


def _cut(pieces: Sequence[memoryview], start: int, stop: int) -> list[memoryview]:
    """Bytes start … stop-1 of the pieces."""
    found = []
    at = 0
    for piece in pieces:
        low, high = max(start - at, 0), min(stop - at, len(piece))
        if low < high:
            found.append(piece[low:high])
        at += len(piece)
    return found


def _blocks(piece: memoryview) -> Iterator[memoryview]:
    return (piece[start : start + BLOCK_BYTES] for start in range(0, len(piece), BLOCK_BYTES))
