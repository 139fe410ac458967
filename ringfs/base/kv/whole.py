"""Whether an LMDB file can be read. LMDB maps it and has no checksums: reading a page that was cut off, or following a damaged one
to where nothing is, is a signal and the end of the process. So another process goes first.
"""

import faulthandler
import os
from pathlib import Path

import lmdb

from ringfs.base.kv.environment import StoreDamaged
from ringfs.base.limits import MIB

_FILE = "data.mdb"
_READ_AHEAD_BYTES = 4 * MIB


def looks_truncated(directory: Path) -> bool:
    """Whether the file is shorter than the pages that its last transaction counts.

    A sound file may look so too (a transaction counts pages that it gave up again): for those who can do without what is in it.
    """
    return _missing_bytes(directory) > 0


def survives_reading(directory: Path) -> bool:
    """Have a child read every row of an environment that nobody has open; False if it died of that, or met an error.

    Blocks for milliseconds, and for about half a second with a million rows: in a thread where others wait. Rows that were read
    may still be wrong. The file is in the page cache then, as far as it fits.
    """
    child = os.fork()
    if child == 0:
        # Nothing of the parent's may be run or flushed here: it ends at once whatever happens.
        status = 1
        try:
            # Its death is expected, and nobody's news.
            faulthandler.disable()
            _read_ahead(directory / _FILE)
            _touch_all(os.fspath(directory))
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def ensure_whole(directory: Path) -> None:
    """For those who cannot do without it, under the store's lock.

    Raises StoreDamaged if a page in use is missing, which a process of its own finds out.
    """
    if not looks_truncated(directory):
        return
    if not survives_reading(directory):
        raise StoreDamaged(f"{directory / _FILE} was cut short: restore it from a snapshot, or from a copy")
    # Free pages are read too, before they are used again.
    file = directory / _FILE
    os.truncate(file, file.stat().st_size + _missing_bytes(directory))


def _missing_bytes(directory: Path) -> int:
    file = directory / _FILE
    if not file.exists():
        return 0
    try:
        with lmdb.open(os.fspath(directory), readonly=True, lock=False, max_dbs=2) as environment:
            page_count = environment.info()["last_pgno"] + 1
            return page_count * int(environment.stat()["psize"]) - file.stat().st_size
    except lmdb.Error:
        # Opening it for real says what is wrong.
        return 0


def _read_ahead(file: Path) -> None:
    """One after the other: LMDB would have its pages read here and there."""
    with file.open("rb", buffering=0) as opened:
        while opened.read(_READ_AHEAD_BYTES):
            pass


def _touch_all(directory: str) -> None:
    """Read every page in use."""
    with lmdb.open(directory, readonly=True, lock=False, max_dbs=2, readahead=False) as environment, environment.begin() as reader:
        for name, _ in reader.cursor():
            for _, value in reader.cursor(environment.open_db(name, txn=reader, create=False)):
                # A copy of it, by default: all of its pages were read.
                len(value)
