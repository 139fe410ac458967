"""A reader that never stops: files that were written before are read again and again, and every byte is checked.

    python -m tests.support.ring_reader make DIRECTORY COUNT SEED     writes the files and ends
    python -m tests.support.ring_reader read DIRECTORY COUNT SEED     until standard input ends: exit code 0

It says the time (CLOCK_MONOTONIC, ns) after each file. It ends with exit code 3 and a line on standard error when a read fails or
gives a wrong byte. What a file holds follows from its number and the seed. Files together are larger than a client's cache, and
the kernel's pages are given up after each file: what is read comes from the data nodes.
"""

import os
import random
import select
import sys
import time
from pathlib import Path

WRONG = 3
FILE_BYTES = 2 << 20


def content_of(number: int, seed: int) -> bytes:
    """The bytes of a file."""
    return random.Random(f"{seed}.{number}").randbytes(FILE_BYTES)


def make(directory: Path, count: int, seed: int) -> None:
    """Write the files durably."""
    directory.mkdir(exist_ok=True)
    for number in range(count):
        with open(directory / str(number), "wb") as file:
            file.write(content_of(number, seed))
            os.fsync(file.fileno())


def read_one(directory: Path, number: int, seed: int) -> str:
    """What is wrong with a file; empty if nothing is."""
    try:
        with open(directory / str(number), "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            found = b"".join(iter(lambda: file.read(1 << 18), b""))
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        return f"file {number}: {error}"
    return "" if found == content_of(number, seed) else f"file {number}: wrong bytes ({len(found)} of {FILE_BYTES})"


def read_for_ever(directory: Path, count: int, seed: int) -> int:
    """See the module; the exit code."""
    while True:
        for number in range(count):
            if select.select([sys.stdin], [], [], 0)[0]:
                return 0
            wrong = read_one(directory, number, seed)
            if wrong:
                print(wrong, file=sys.stderr, flush=True)
                return WRONG
            print(time.monotonic_ns(), flush=True)


def main() -> int:
    """See the module."""
    verb, directory, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if verb == "make":
        make(directory, count, seed)
        return 0
    return read_for_ever(directory, count, seed)


if __name__ == "__main__":
    sys.exit(main())
