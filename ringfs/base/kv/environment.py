"""LMDB as the store uses it: one environment, two databases, read transactions as views, one write transaction per checkpoint.

Opened with LMDB's defaults for safety (no NOSYNC, NOMETASYNC, MAPASYNC, WRITEMAP): a crash of process or machine leaves the last
committed transaction. LMDB's own lock file stays on although only one process opens the environment (Store sees to that): without
its reader table a writer would reuse the pages of read transactions that are more than one commit old, which snapshots are.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import lmdb

from ringfs.base.errors import UserError
from ringfs.base.kv.turns import Turns
from ringfs.base.limits import MIB
from ringfs.base.memory import let_go

#: LMDB's MDB_MAXKEYSIZE.
KEY_BYTES_MAX = 511
#: The database that a store's rows are in; the other has the marks.
STATE = b"state"
#: How long one turn of a checkpoint's thread lasts: latency that the event loop sees, several hundred keys.
TURN_NS = 200_000
#: With less than this free, an input/output error is taken for a lack of space.
FULL_BELOW_BYTES = 16 * MIB
# The clock is looked at once for so many keys.
_KEYS_PER_LOOK = 32


class StoreFull(Exception):
    """There is no room for the checkpoint (map or disk). Nothing is lost; a later checkpoint tries again."""


class StoreFailed(Exception):
    """The disk failed, or LMDB's file is damaged. The process must stop; the journal has everything since the last checkpoint."""


class StoreCorrupted(StoreFailed):
    """LMDB's file is damaged: the same, for those who can do without what is in it."""


class StoreDamaged(UserError):
    """What is in the directory is not a readable LMDB environment."""


#: What reads of a damaged environment raise.
ReadDamaged: tuple[type[Exception], ...] = (lmdb.Error,)


# What LMDB says of files that are not, or no longer, its own.
_DAMAGE = (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError, lmdb.PageNotFoundError)


class LmdbView:
    """What a committed transaction left: a ReadView, and the marks that were committed with it. One thread only."""

    def __init__(self, environment: lmdb.Environment, state: "lmdb._Database", marks: "lmdb._Database") -> None:
        self._transaction = environment.begin(db=state)
        self._marks = marks
        #: See ReadView.
        self.get = self._transaction.get

    def mark(self, name: bytes) -> bytes | None:
        """The mark of that name, or None."""
        return self._transaction.get(name, db=self._marks)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See ReadView."""
        cursor = self._transaction.cursor()
        # LMDB knows no empty key; its set_range of one would be an error.
        if not (cursor.set_range(start) if start else cursor.first()):
            return
        for pair in cursor.iternext():
            if pair[0] >= stop:
                return
            yield pair

    def close(self) -> None:
        """End the transaction: LMDB may reuse the pages it held."""
        self._transaction.abort()


class Environment:
    """An LMDB environment in a directory."""

    def __init__(self, directory: Path, map_bytes: int) -> None:
        try:
            self._lmdb = lmdb.open(os.fspath(directory), map_size=map_bytes, max_dbs=2, mode=0o600, readahead=False, meminit=False)
            self._state = self._lmdb.open_db(STATE)
            self._marks = self._lmdb.open_db(b"marks")
        except _DAMAGE as error:
            raise StoreDamaged(
                f"{directory} holds no readable LMDB environment ({error}): restore it, or have it built anew"
            ) from error
        except lmdb.Error as error:
            raise UserError(f"cannot open the LMDB environment in {directory}: {error}") from error

    def view(self) -> LmdbView:
        """The last committed transaction."""
        return LmdbView(self._lmdb, self._state, self._marks)

    def write(self, changes: Iterator[tuple[bytes, bytes | None]], marks: Mapping[bytes, bytes], turns: Turns) -> None:
        """Commit changes (in key order) and marks, durably and all at once. In a thread that is given turns.

        StoreFull and StoreFailed: nothing was committed.
        """
        turns.wait()
        try:
            with self._lmdb.begin(write=True, db=self._state) as transaction:
                _put_all(transaction, changes, turns)
                for name, value in marks.items():
                    transaction.put(name, value, db=self._marks)
                turns.finish()
        except lmdb.Error as error:
            failure = StoreFull if self._is_full(error) else StoreCorrupted if isinstance(error, _DAMAGE) else StoreFailed
            raise failure(str(error)) from error
        finally:
            turns.finish()

    def let_go_pages(self) -> None:
        """What is mapped of the file need not be in this process's memory; reads map it again."""
        let_go(Path(self._lmdb.path()) / "data.mdb")

    def _is_full(self, error: lmdb.Error) -> bool:
        """Whether there was no room. LMDB calls a write that came short EIO, and a write comes short where space ends."""
        if error.code == errno.EIO:
            return shutil.disk_usage(self._lmdb.path()).free < FULL_BELOW_BYTES
        return isinstance(error, lmdb.MapFullError) or error.code in (errno.ENOSPC, errno.EDQUOT)

    def close(self) -> None:
        """Close the environment; views of it are invalid then."""
        self._lmdb.close()


def _put_all(transaction: "lmdb.Transaction[bytes]", changes: Iterator[tuple[bytes, bytes | None]], turns: Turns) -> None:
    """Write the changes into the transaction, turn by turn."""
    end_ns = time.perf_counter_ns() + TURN_NS
    for count, (key, value) in enumerate(changes):
        if value is None:
            transaction.delete(key)
        else:
            transaction.put(key, value)
        if count % _KEYS_PER_LOOK == 0 and time.perf_counter_ns() > end_ns:
            turns.pause()
            end_ns = time.perf_counter_ns() + TURN_NS
