"""Applications that run while servers are killed: processes that go on until their standard input ends. Any error ends one with 1.

python -m tests.support.failover_writers pace DIRECTORY      create + fsync each 10 ms; a line with CLOCK_MONOTONIC, ns, for each
python -m tests.support.failover_writers sqlite DIRECTORY    rows, each committed; a line with its number once COMMIT returned
"""

import os
import select
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

PACE_S = 0.01
DATABASE = "rows.db"
#: Files that the pacer leaves behind it.
_KEPT = 50


def _goes_on(wait_s: float) -> bool:
    return not select.select([sys.stdin], [], [], wait_s)[0]


def pace(directory: Path) -> None:
    """See the module."""
    number = 0
    while _goes_on(PACE_S):
        number += 1
        descriptor = os.open(directory / f"pace{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.fsync(descriptor)
        os.close(descriptor)
        os.write(1, b"%d\n" % time.monotonic_ns())
        if number > _KEPT:
            (directory / f"pace{number - _KEPT}").unlink()


def sqlite(directory: Path) -> None:
    """See the module."""
    number = 0
    connection = sqlite3.connect(directory / DATABASE, timeout=300, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, fill TEXT)")
    while _goes_on(PACE_S):
        number += 1
        connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * (number % 3000)))
        os.write(1, b"%d\n" % number)
    connection.close()


def find_wrong_rows(directory: Path, acknowledged: int) -> list[str]:
    """What is wrong with the database, after that many rows were acknowledged."""
    connection = sqlite3.connect(directory / DATABASE)
    try:
        ((said,),) = connection.execute("PRAGMA integrity_check").fetchall()
        numbers = [number for (number,) in connection.execute("SELECT number FROM rows ORDER BY number")]
    finally:
        connection.close()
    findings = [] if said == "ok" else [f"SQLite: {said}"]
    if numbers not in (list(range(1, acknowledged + 1)), list(range(1, acknowledged + 2))):
        findings.append(f"SQLite acknowledged {acknowledged} rows, and has {len(numbers)}")
    return findings


_PROGRAMS: dict[str, Callable[[Path], None]] = {"pace": pace, "sqlite": sqlite}

if __name__ == "__main__":
    _PROGRAMS[sys.argv[1]](Path(sys.argv[2]))
