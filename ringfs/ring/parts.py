"""What one data node holds of an object: a whole copy, or one fragment; and which blocks a fragment has. Pure.

An object of B blocks under ec:K+M is cut into K runs of R = ceil(B / K) blocks, the last ones shorter or empty. Parity fragments
have R whole blocks each, computed over the runs padded with zeros (erasure.py). So block b is block b % R of fragment b // R, and
every row of blocks (the r-th of each fragment) can be decoded by itself. docs/formats/placement.md is normative.
"""

from typing import NamedTuple

from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES
from ringfs.ring.classes import ErasureClass, ReplicaClass, ServiceClass
from ringfs.wire.messages.data import WHOLE


class Part(NamedTuple):
    """Fragment `number` (data fragments first) of ec:`data`+`parity`; all three 0: a whole copy."""

    data: int
    parity: int
    number: int

    def pack(self) -> bytes:
        """Three bytes, as in messages and rows."""
        return bytes(self)

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole copy."""
        return self.data == 0

    @property
    def is_parity(self) -> bool:
        """Whether it has no bytes of the object itself."""
        return self.number >= self.data > 0

    @property
    def form(self) -> str:
        """ "ec:K+M", or "" for a whole copy: any number of them may be there."""
        return "" if self.is_whole else f"ec:{self.data}+{self.parity}"

    def __str__(self) -> str:
        return "copy" if self.is_whole else f"fragment {self.number} of {self.form}"


COPY = Part(0, 0, 0)
assert COPY.pack() == WHOLE


def unpack_part(packed: bytes) -> Part | None:
    """The part that three bytes name, or None if there is no such one."""
    part = Part(*packed)
    if part == COPY:
        return part
    return part if part.data >= 2 and part.parity >= 1 and part.number < part.data + part.parity <= 18 else None


def parts_of(form: ServiceClass) -> list[Part]:
    """The parts of an object in that form; for copies one for each."""
    if isinstance(form, ReplicaClass):
        return [COPY] * form.copies
    return [Part(form.data, form.parity, number) for number in range(form.width)]


def block_count(size_bytes: int) -> int:
    """Blocks of so many bytes."""
    return -(-size_bytes // BLOCK_BYTES)


def row_count(size_bytes: int, data: int) -> int:
    """Blocks in a whole fragment of an object of that size."""
    return -(-block_count(size_bytes) // data)


def range_of(part: Part, size_bytes: int) -> tuple[int, int]:
    """The object's bytes start … stop-1 that a copy or a data fragment holds; empty if it has none."""
    if part.is_whole:
        return 0, size_bytes
    assert not part.is_parity, "a parity fragment has no bytes of the object"
    run_bytes = row_count(size_bytes, part.data) * BLOCK_BYTES
    return min(part.number * run_bytes, size_bytes), min((part.number + 1) * run_bytes, size_bytes)


def part_bytes(part: Part, size_bytes: int) -> int:
    """How many bytes the part has."""
    if part.is_parity:
        return row_count(size_bytes, part.data) * BLOCK_BYTES
    start, stop = range_of(part, size_bytes)
    return stop - start


def own_table_bytes(part: Part, size_bytes: int) -> int:
    """Length of the block table that a part needs beside the object's: one hash for each block of parity."""
    return row_count(size_bytes, part.data) * HASH_BYTES if part.is_parity else 0


def form_bytes(form: ServiceClass, size_bytes: int) -> int:
    """What all parts of an object in that form have together, heads not counted."""
    if isinstance(form, ReplicaClass):
        return form.copies * size_bytes
    assert isinstance(form, ErasureClass)
    return size_bytes + form.parity * row_count(size_bytes, form.data) * BLOCK_BYTES
