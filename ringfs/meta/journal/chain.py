"""Each record of the journal carries the code of the one before it: following that chain through a segment. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from ringfs.meta.journal.record import HEADER_BYTES, NO_CODE, Record, SegmentHeader, parse_record


@dataclass(frozen=True, slots=True)
class Tip:
    """Where the chain has got to: position, term and code of its last record."""

    last: int
    term: int
    code: bytes

    def then(self, record: Record) -> "Tip":
        """The tip after a record; BrokenChain if it is not the next one."""
        if record.previous != self.code or record.first != self.last + 1 or record.term < self.term:
            raise BrokenChain(record.offset, f"a record of transaction {record.first} stands where {self.last + 1} belongs")
        return Tip(record.last, record.term, record.code)


#: Before the first record of a new journal.
ORIGIN = Tip(0, 0, NO_CODE)


class BrokenChain(Exception):
    """A whole record that does not follow the one before it: no crash leaves that."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset


def tip_before(header: SegmentHeader) -> Tip:
    """Where the chain stood when the segment was begun."""
    return Tip(header.first - 1, header.term, header.code)


def follow(content: bytes, header: SegmentHeader) -> Iterator[tuple[Record, Tip]]:
    """The records of a segment, each with the tip after it, up to the first that is not whole. BrokenChain."""
    view, offset, tip = memoryview(content), HEADER_BYTES, tip_before(header)
    while (record := parse_record(view, offset, header.mark)) is not None:
        tip = tip.then(record)
        yield record, tip
        offset = record.end
