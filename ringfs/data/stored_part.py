"""What a data node holds of an object, and what proves its bytes. Pure; which bytes a part has is ring/parts.py's business."""

from collections.abc import Sequence
from typing import NamedTuple

from ringfs.base.checksums import Buffer, first_bad_block, is_table_of
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, HASH_BYTES
from ringfs.ring.parts import COPY, Part, own_table_bytes, part_bytes, range_of, row_count
from ringfs.wire.messages.data import WHOLE


class Tables(NamedTuple):
    """The object's block table, which the id proves, and the hashes of a parity fragment's own blocks (others have none)."""

    table: bytes
    own: bytes = b""


class StoredPart(NamedTuple):
    """A part of an object; size_bytes is the whole object's."""

    object: bytes
    size_bytes: int
    part: Part = COPY

    @property
    def key(self) -> bytes:
        """What it has in the index."""
        return self.object + self.part.pack()

    @property
    def length_bytes(self) -> int:
        """How many bytes it has; 0 for a data fragment behind the object's end."""
        return part_bytes(self.part, self.size_bytes)

    @property
    def first_block(self) -> int:
        """The object's block that a copy or data fragment begins with."""
        return self.part.number * row_count(self.size_bytes, self.part.data) if self.part.data else 0

    def has_range(self, start: int, stop: int) -> bool:
        """Whether it has the object's bytes start … stop-1."""
        if self.part.is_parity:
            return False
        first, end = range_of(self.part, self.size_bytes)
        return first <= start and stop <= end

    def proves(self, tables: Tables) -> bool:
        """Whether the object's id proves the table, and the part's own table has the length it must have."""
        return is_table_of(self.object, self.size_bytes, tables.table) and len(tables.own) == self.own_table_bytes

    @property
    def own_table_bytes(self) -> int:
        """How long its own table is."""
        return own_table_bytes(self.part, self.size_bytes)

    def first_bad_block(self, tables: Tables, first_block: int, content: Buffer) -> int | None:
        """Which block of the part, the first that is wrong of content (which starts at first_block), or None."""
        if self.part.is_parity:
            return first_bad_block(tables.own, first_block, content)
        skipped = self.first_block
        bad = first_bad_block(tables.table, skipped + first_block, content)
        return None if bad is None else bad - skipped

    def __str__(self) -> str:
        return f"{self.object.hex()} {self.part}"


class Span(NamedTuple):
    """Blocks of a part, counting from its own beginning; past its end are none."""

    stored: StoredPart
    first_block: int
    block_count: int


def span_of(held: Sequence[StoredPart], first_block: int, block_count: int) -> Span:
    """Blocks of an object of which these parts are held: of a part that has them all, else no blocks of the first one.
    Refused INVALID if the object has no first_block."""
    start, size_bytes = first_block * BLOCK_BYTES, held[0].size_bytes
    if start >= size_bytes:
        raise Refused(Code.INVALID, f"{held[0].object.hex()} has no block {first_block}")
    stop = min(start + block_count * BLOCK_BYTES, size_bytes)
    for stored in held:
        if stored.has_range(start, stop):
            return Span(stored, first_block - stored.first_block, block_count)
    return Span(held[0], 0, 0)


def own_span(stored: StoredPart, first_block: int, block_count: int) -> Span:
    """Blocks of a part, counting from its own beginning; even an empty one has a beginning. Refused INVALID if there is no such."""
    if first_block and first_block * BLOCK_BYTES >= stored.length_bytes:
        raise Refused(Code.INVALID, f"{stored} has no block {first_block}")
    return Span(stored, first_block, block_count)


def block_hashes_bytes(size_bytes: int) -> int:
    """Length of the block table of so many bytes."""
    return -(-size_bytes // BLOCK_BYTES) * HASH_BYTES


def length_of(key: bytes, size_bytes: int) -> int:
    """How many bytes the part has that a key of the index names."""
    packed = key[-len(WHOLE) :]
    return size_bytes if packed == WHOLE else part_bytes(Part(*packed), size_bytes)
