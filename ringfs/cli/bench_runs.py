"""The measurements of `ringfs bench`: each does one thing many times, and notes how long each time took."""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ringfs.base.limits import KIB, MIB

_SMALL_BYTES = 16 * KIB
_RANDOM_BYTES = 4 * KIB
_RANDOM_COUNT = 1000
_SYNC_COUNT = 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done."""

    large_bytes: int
    file_count: int


@dataclass(frozen=True, slots=True)
class Result:
    """A rate, and how long single calls took: half of them at most median_us, 99 of 100 at most slow_us."""

    name: str
    rate: float
    unit: str
    median_us: float
    slow_us: float
    seconds: float


Run = Callable[[str, Path, Sizes], Result]


@contextmanager
def scratch_in(directory: Path) -> Iterator[Path]:
    """A new directory, removed at the end."""
    scratch = Path(tempfile.mkdtemp(prefix=".ringfs-bench-", dir=directory))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def _timed(name: str, steps: Iterable[Callable[[], object]], *, step_bytes: int = 0) -> Result:
    """Do the steps one after the other. The rate is in MiB/s where steps move bytes, else in steps per second."""
    times_s = []
    begun_s = time.perf_counter()
    for step in steps:
        step_begun_s = time.perf_counter()
        step()
        times_s.append(time.perf_counter() - step_begun_s)
    seconds = time.perf_counter() - begun_s
    times_s.sort()
    rate = len(times_s) * (step_bytes / MIB if step_bytes else 1) / seconds
    median_us, slow_us = (times_s[int(len(times_s) * share)] * 1e6 for share in (0.5, 0.99))
    return Result(name, rate, "MiB/s" if step_bytes else "1/s", median_us, slow_us, seconds)


def _write_large(name: str, scratch: Path, sizes: Sizes) -> Result:
    """Sequential, 1 MiB a call; the last step makes it durable."""
    block = random.Random(1).randbytes(MIB)
    with open(scratch / "large", "wb", buffering=0) as file:

        def steps() -> Iterator[Callable[[], object]]:
            for number in range(sizes.large_bytes // MIB):
                # Different in every block: equal objects would be stored once.
                unlike = number.to_bytes(8, "big") * 512 + block[4096:]
                yield partial(file.write, unlike)
            os.fsync(file.fileno())

        return _timed(name, steps(), step_bytes=MIB)


def _read_large(name: str, scratch: Path, sizes: Sizes) -> Result:
    """Sequential, 1 MiB a call, out of no cache of the kernel."""
    with open(scratch / "large", "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _timed(name, (partial(file.read, MIB) for _ in range(sizes.large_bytes // MIB)), step_bytes=MIB)


def _read_random(name: str, scratch: Path, sizes: Sizes) -> Result:
    """4 KiB anywhere in the large file."""
    places = random.Random(2)
    with open(scratch / "large", "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        last = sizes.large_bytes // _RANDOM_BYTES - 1
        offsets = [places.randint(0, last) * _RANDOM_BYTES for _ in range(_RANDOM_COUNT)]
        return _timed(name, (partial(os.pread, file.fileno(), _RANDOM_BYTES, at) for at in offsets))


def _write_synced(name: str, scratch: Path, sizes: Sizes) -> Result:
    """4 KiB appended and made durable, again and again."""
    with open(scratch / "synced", "wb", buffering=0) as file:

        def step() -> None:
            file.write(b"s" * _RANDOM_BYTES)
            os.fsync(file.fileno())

        return _timed(name, (step for _ in range(_SYNC_COUNT)))


def _on_small(act: Callable[[Path], object]) -> Run:
    """One act on each of the small files."""

    def run(name: str, scratch: Path, sizes: Sizes) -> Result:
        paths = [scratch / f"small{number}" for number in range(sizes.file_count)]
        return _timed(name, (partial(act, path) for path in paths))

    return run


def _write_small(path: Path) -> None:
    path.write_bytes(os.fsencode(path.name) + bytes(_SMALL_BYTES))


RUNS: dict[str, Run] = {
    "write sequentially": _write_large,
    "read sequentially": _read_large,
    "read 4 KiB at random": _read_random,
    "write 4 KiB and fsync": _write_synced,
    "create 16 KiB files": _on_small(_write_small),
    "stat files": _on_small(os.stat),
    "read files": _on_small(Path.read_bytes),
    "rename files": _on_small(lambda path: path.rename(path.with_name("renamed-" + path.name))),
    "remove files": _on_small(lambda path: path.with_name("renamed-" + path.name).unlink()),
}
