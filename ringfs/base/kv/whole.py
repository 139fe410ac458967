"""Whether LMDB may open a file: its pages are read as any other file's. What they should be is walk.py's business.

LMDB maps the file and has no checksums: reading a page that was cut off, or following a damaged one to where nothing is, is a
signal and the end of the process; a damaged list of free pages has it write over pages in use.
"""

import os
from collections.abc import Callable
from pathlib import Path

from ringfs.base.files import RealFile
from ringfs.base.kv.environment import StoreDamaged
from ringfs.base.kv.pages import PAGE_BYTES, PageDamaged
from ringfs.base.kv.walk import Pairs, check_pages, last_transaction
from ringfs.base.limits import MIB

_FILE = "data.mdb"
_READ_AHEAD_BYTES = 4 * MIB


def check_file(directory: Path, take: Callable[[bytes, Pairs], None]) -> None:
    """Read all of an environment that nobody writes; `take` is told the name of each database with its rows, little by little.

    Raises PageDamaged if LMDB should not open it, OSError if it cannot be read, and what `take` raises. Takes about a second of
    CPU for a million rows. Free pages may be missing in the file (Store makes that good).
    """
    file = RealFile(os.open(directory / _FILE, os.O_RDONLY | os.O_CLOEXEC))
    try:
        size_bytes = file.size_bytes()
        # Pages are used here and there, and a disk is read fastest from one end to the other.
        for offset in range(0, size_bytes, _READ_AHEAD_BYTES):
            file.pread(_READ_AHEAD_BYTES, offset)
        check_pages(lambda offset, length_bytes: file.pread(length_bytes, offset), size_bytes, take)
    finally:
        file.close()


def ensure_whole(directory: Path) -> None:
    """Under the store's lock, before LMDB opens the file: where it is shorter than the pages that its last transaction counts.

    Raises StoreDamaged if a page in use is missing. Free ones (a transaction counts pages that it gave up again) are put back.
    """
    missing_bytes = _missing_bytes(directory / _FILE)
    if missing_bytes <= 0:
        return
    try:
        check_file(directory, lambda _, __: None)
    except PageDamaged as damage:
        reason = f"{directory / _FILE} was cut short ({damage}): restore it from a snapshot, or from a copy"
        raise StoreDamaged(reason) from damage
    # Free pages are read too, before they are used again.
    file = directory / _FILE
    os.truncate(file, file.stat().st_size + missing_bytes)


def _missing_bytes(file: Path) -> int:
    try:
        with file.open("rb") as opened:
            page_count = last_transaction(lambda offset, length_bytes: os.pread(opened.fileno(), length_bytes, offset)).page_count
    except (FileNotFoundError, PageDamaged):
        # Opening it for real says what is wrong.
        return 0
    return page_count * PAGE_BYTES - file.stat().st_size
