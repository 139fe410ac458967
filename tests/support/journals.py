"""Small journals for tests: fixed cluster, small segments, marks that count."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from ringfs.base.files import Files
from ringfs.base.limits import KIB
from ringfs.meta.journal.file import FileJournal
from ringfs.meta.journal.record import MARK_BYTES
from ringfs.meta.journal.segments import SegmentLog

CLUSTER = "00112233-4455-6677-8899-aabbccddeeff"
CLUSTER_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
DIRECTORY = Path("/journal")
#: Room for about six records: rotations happen all the time.
SEGMENT_BYTES = 2 * KIB

# Never the same again, in any journal: that is what randomness is for in the real one.
_marks = itertools.count(0x6D61726B00000000)


def new_mark() -> bytes:
    """A mark that no segment has had."""
    return next(_marks).to_bytes(MARK_BYTES, "big")


def open_log(files: Files, directory: Path = DIRECTORY, segment_bytes: int = SEGMENT_BYTES) -> SegmentLog:
    """A journal without an event loop."""
    return SegmentLog(directory, CLUSTER_ID, files, segment_bytes, new_mark)


def open_journal(
    files: Files, directory: Path = DIRECTORY, segment_bytes: int = SEGMENT_BYTES, reserve_bytes: int = 512
) -> FileJournal:
    """A journal for a server."""
    return FileJournal(directory, CLUSTER, files=files, segment_bytes=segment_bytes, reserve_bytes=reserve_bytes, new_mark=new_mark)


def entry(position: int) -> bytes:
    """An entry that tells its position; lengths vary, and one in eleven is empty."""
    return b"" if position % 11 == 5 else (b"<%d>" % position) * (1 + position * 7 % 23)


def entries(first: int, count: int) -> Sequence[bytes]:
    """Entries of consecutive positions."""
    return [entry(position) for position in range(first, first + count)]
