#!/usr/bin/env python3
"""A file-system exerciser in the spirit of fsx: random operations on one file, every byte compared with a model in memory.

    tools/fsx.py -S 7 -N 100000 /mnt/ringfs/file
    tools/fsx.py -N 5000 -c 20 --handles 2 FILE          two handles at once
    tools/fsx.py -N 5000 -c 20 --second /mnt2/FILE FILE  the same file through another mount, read after close and fsync
    tools/fsx.py -N 5000 --handles 4 --both --second /mnt2/FILE FILE  handles on both at once: each sees at once what any did
    tools/fsx.py --replay FILE.fsxops FILE               what a failed run did, once more

Needs nothing but Python. Exit codes: 0 every byte was right, 1 one was not or an operation failed,
2 called wrongly, 130 interrupted. What it does is in fsx_model.py, how it touches the file in fsx_file.py.
"""

import argparse
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.fsx_file import (
    FALLOC_COLLAPSE_RANGE,
    FALLOC_INSERT_RANGE,
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    OpenFile,
    probe,
)
from tools.fsx_model import MOVE, REOPEN, WEIGHTS, BadLog, Drawer, Limits, Model, Operation

#: How many past operations a report looks through, and how many of them it shows.
HISTORY_COUNT = 100_000
SHOWN_COUNT = 12
COMPARE_BYTES = 1 << 20
#: Options that exclude a kind of operation.
_LETTERS = {
    "W": "mapwrite",
    "R": "mapread",
    "F": "allocate",
    "H": "punch",
    "z": "zero",
    "E": "copy",
    "C": "collapse",
    "I": "insert",
}


class Mismatch(Exception):
    """The file is not what the model says. `offset` is the first wrong byte, or None if something else is wrong."""

    def __init__(self, text: str, offset: int | None = None) -> None:
        super().__init__(text)
        self.offset = offset


def compare(what: str, expected: bytes | bytearray, actual: bytes, start: int) -> None:
    """Raises Mismatch at the first byte that differs; both begin at start."""
    if expected == actual:
        return
    shared = min(len(expected), len(actual))
    wrong = [index for index in range(shared) if expected[index] != actual[index]]
    if not wrong:
        raise Mismatch(f"{what}: {len(actual)} bytes from {start:#x}, expected {len(expected)}", start + shared)
    first = wrong[0]
    detail = f"expected {bytes(expected[first : first + 16]).hex(' ')}, actual {actual[first : first + 16].hex(' ')}"
    raise Mismatch(f"{what}: {len(wrong)} wrong bytes, the first at {start + first:#x}: {detail}", start + first)


class Exerciser:
    """Does operations on the file and in the model, and compares."""

    def __init__(self, open_file: Callable[[Path], OpenFile], options: argparse.Namespace) -> None:
        self._open = open_file
        self._paths: list[Path] = [options.file] if options.second is None else [options.file, options.second]
        #: The index in _paths that handles are on; a move changes it.
        self._side = 0
        self._flush: bool = options.flush
        self._start: int = options.start
        self._has_exact_holes: bool = options.exact_holes
        #: Handles are on both paths in turn, and stay there.
        self._is_on_both: bool = options.both
        self._files = self._open_all(options.handles)
        self._files[0].truncate(0)
        self.model = Model()
        #: Operations before _start were done in the model only: the file gets its bytes before the first real one.
        self._is_behind = False
        self.history: deque[Operation] = deque(maxlen=HISTORY_COUNT)

    def _open_all(self, count: int) -> list[OpenFile]:
        return [self._open(self._path_of(handle)) for handle in range(count)]

    def _path_of(self, handle: int) -> Path:
        return self._paths[handle % 2 if self._is_on_both else self._side]

    def close(self) -> None:
        """Ends all handles."""
        while self._files:
            self._files.pop().close()

    def perform(self, operation: Operation) -> None:
        """One operation, in the file and in the model; raises Mismatch or OSError."""
        self.history.append(operation)
        if operation.number < self._start:
            self.model.apply(operation)
            self._is_behind = True
            return
        if self._is_behind:
            self._files[0].write(0, bytes(self.model.content))
            self._is_behind = False
        handle = operation.handle % len(self._files)
        if operation.kind in (REOPEN, MOVE):
            self._reopen(handle, moves=operation.kind == MOVE)
            return
        file = self._files[handle]
        self._do(file, operation)
        self.model.apply(operation)
        if file.size() != self.model.size:
            raise Mismatch(f"size after {operation.kind}: {file.size():#x}, expected {self.model.size:#x}")
        if self._flush:
            file.flush_and_invalidate()

    def _do(self, file: OpenFile, operation: Operation) -> None:
        offset, length, content = operation.offset, operation.length, self.model.content
        match operation.kind:
            case "read":
                compare("read", content[offset : offset + length], file.read(offset, length), offset)
            case "mapread":
                mapped, tail = file.map_read(offset, length)
                compare("mapped read", content[offset : offset + length], mapped, offset)
                compare("rest of the last page", bytes(len(tail)), tail, offset + length)
            case "write":
                file.write(offset, operation.data())
            case "mapwrite":
                file.map_write(offset, operation.data())
            case "truncate":
                file.truncate(length)
            case "allocate":
                file.fallocate(FALLOC_KEEP_SIZE * operation.keep_size, offset, length)
            case "zero":
                file.fallocate(FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE * operation.keep_size, offset, length)
            case "punch":
                file.fallocate(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
            case "copy":
                # As cp does. A kernel that keeps sizes believes the last one that it was told until somebody asks.
                file.size()
                file.copy(offset, operation.target, length)
            case "collapse":
                file.fallocate(FALLOC_COLLAPSE_RANGE, offset, length)
            case "insert":
                file.fallocate(FALLOC_INSERT_RANGE, offset, length)
            case "seek":
                self._check_holes(list(file.holes()))
            case "fsync":
                file.fsync()
                self._check_other_side()

    def _check_holes(self, holes: list[tuple[int, int]]) -> None:
        """Nothing that was written is in what SEEK_HOLE calls a hole, be it zeros; where holes are exact, all else is in one."""
        model, data_start = self.model, 0
        for start, end in [*holes, (model.size, model.size)]:
            compare("what SEEK_HOLE calls a hole", model.content[start:end], bytes(end - start), start)
            found = model.written.find(1, start, end)
            if found >= 0:
                raise Mismatch(f"SEEK_HOLE calls {start:#x}…{end:#x} a hole, {found:#x} was written", found)
            found = model.written.find(0, data_start, start) if self._has_exact_holes else -1
            if found >= 0:
                raise Mismatch(f"SEEK_DATA calls {data_start:#x}…{start:#x} data, {found:#x} was never written", found)
            data_start = end

    def _reopen(self, handle: int, *, moves: bool) -> None:
        """Closes and opens a handle; a move closes all of them and goes on through the other path."""
        if moves and len(self._paths) > 1 and not self._is_on_both:
            count = len(self._files)
            self.close()
            self._side = 1 - self._side
            self._files = self._open_all(count)
            return
        self._files[handle].close()
        self._check_other_side()
        self._files[handle] = self._open(self._path_of(handle))

    def _check_other_side(self) -> None:
        """What was closed or synced here must be there for whoever opens the other path now."""
        if len(self._paths) > 1:
            self.check_all(self._paths[1 - self._side])

    def check_all(self, path: Path) -> None:
        """Compares the whole file, opened anew."""
        file = self._open(path)
        try:
            if file.size() != self.model.size:
                raise Mismatch(f"size of {path}: {file.size():#x}, expected {self.model.size:#x}")
            for start in range(0, self.model.size, COMPARE_BYTES):
                compare(
                    f"whole of {path}", self.model.content[start : start + COMPARE_BYTES], file.read(start, COMPARE_BYTES), start
                )
        finally:
            file.close()

    def finish(self) -> None:
        """Closes everything and compares every path's bytes once more."""
        self.close()
        for path in self._paths:
            self.check_all(path)


def report(error: Exception, exerciser: Exerciser, good: Path, log: Path) -> None:
    """Prints what went wrong and which operations may have caused it; keeps the good bytes."""
    good.write_bytes(exerciser.model.content)
    last = exerciser.history[-1] if exerciser.history else None
    print(f"FAILED at operation {last.line() if last else 0}", f"  {error}", sep="\n")
    offset = error.offset if isinstance(error, Mismatch) else None
    if offset is not None:
        touching = [operation for operation in exerciser.history if operation.touches(offset)]
        print(f"the last operations that touched {offset:#x} (number kind handle offset length target size-rule):")
        for operation in touching[-SHOWN_COUNT:]:
            print(f"  {operation.line()}")
    print(f"operations: {log}\ngood bytes: {good}")


def draw_all(options: argparse.Namespace, kinds: list[str], model: Model) -> Iterator[Operation]:
    """Operations without end, or options.count of them, drawn as the model grows; a light run first fills the file."""
    limits = Limits(
        options.length_max, options.operation_max, options.light, options.reopen_one_in, options.handles, options.second is not None
    )
    drawer = Drawer(options.seed, kinds, limits)
    if options.light:
        yield Operation(0, "write", 0, 0, options.length_max)
    for number in itertools.count(1) if options.count < 0 else range(1, options.count + 1):
        yield drawer.draw(number, model.size)


def read_log(path: Path) -> list[Operation]:
    """The operations of a log; raises BadLog with the line's number."""
    operations = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            try:
                operations.append(Operation.parse(line))
            except BadLog as error:
                raise BadLog(f"{path}:{number}: {error}") from error
    return operations


def run(exerciser: Exerciser, operations: Iterable[Operation], log: TextIO, *, progress: int, verbose: bool) -> int:
    """Performs and logs them all, then compares everything; how many it were."""
    began = time.monotonic()
    count = 0
    for operation in operations:
        log.write(f"{operation.line()}\n")
        log.flush()
        if verbose:
            print(operation.line())
        exerciser.perform(operation)
        count += 1
        if progress and count % progress == 0:
            print(f"{count} operations, {count / (time.monotonic() - began):,.0f}/s, size {exerciser.model.size:#x}", flush=True)
    exerciser.finish()
    return count


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options, named as in fsx."""
    parser = argparse.ArgumentParser(prog="fsx.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="the file to work on; it is emptied first")
    parser.add_argument("-S", dest="seed", type=int, default=0, help="seed; 0 (default) takes one from the clock and prints it")
    parser.add_argument("-N", dest="count", type=int, default=-1, help="operations to do (default: until something fails)")
    parser.add_argument("-l", dest="length_max", type=int, default=256 << 10, help="largest size of the file (default 262144)")
    parser.add_argument("-o", dest="operation_max", type=int, default=64 << 10, help="largest single operation (default 65536)")
    parser.add_argument("-b", dest="start", type=int, default=1, help="first operation that is really done (default 1)")
    parser.add_argument("-c", dest="reopen_one_in", type=int, default=0, metavar="P", help="close and open with a chance of 1 in P")
    parser.add_argument("-p", dest="progress", type=int, default=0, help="print a line every so many operations")
    parser.add_argument("-P", dest="save", type=Path, default=Path(), help="directory for .fsxops and .fsxgood (default: current)")
    parser.add_argument("-f", dest="flush", action="store_true", help="flush and invalidate the cache after each operation")
    parser.add_argument("-L", dest="light", action="store_true", help="light: the size never changes after the start")
    parser.add_argument("-d", dest="verbose", action="store_true", help="print each operation")
    parser.add_argument("-q", dest="quiet", action="store_true", help="print failures only")
    for letter, kind in _LETTERS.items():
        parser.add_argument(f"-{letter}", dest="without", action="append_const", const=kind, default=[], help=f"no {kind}")
    parser.add_argument("--exact-holes", action="store_true", help="holes are kept to the byte (implies -W: maps write pages)")
    parser.add_argument("--handles", type=int, default=1, help="open handles that take turns at random (default 1)")
    parser.add_argument(
        "--second", type=Path, help="the same file by another path: read after each close and fsync, written in turn"
    )
    parser.add_argument("--both", action="store_true", help="every other handle is on the second path, all the time")
    parser.add_argument("--replay", type=Path, metavar="LOG", help="do what a log says instead of drawing")
    options = parser.parse_args(arguments)
    options.without += ["mapwrite"] * options.exact_holes
    if options.both and (options.second is None or options.handles < 2):
        parser.error("--both needs --second and two handles")
    for name in ("length_max", "operation_max", "handles", "start"):
        if getattr(options, name) < 1:
            parser.error(f"{name} must be at least 1")
    return options


def choose_kinds(options: argparse.Namespace) -> list[str]:
    """What this file system can do and the options do not exclude; says so."""
    able = {kind for kind, works in probe(options.file).items() if works} | {"read", "write", "truncate", "fsync"}
    kinds = [kind for kind in WEIGHTS if kind in able and kind not in options.without]
    if not options.quiet:
        absent = " ".join(kind for kind in WEIGHTS if kind not in kinds) or "nothing"
        print(f"fsx: seed {options.seed}: {' '.join(kinds)}; without {absent}", flush=True)
    return kinds


def exercise(exerciser: Exerciser, operations: Iterable[Operation], options: argparse.Namespace) -> int:
    """Performs the operations with a log beside; returns the exit code."""
    log_path, good_path = (options.save / f"{options.file.name}{suffix}" for suffix in (".fsxops", ".fsxgood"))
    with open(log_path, "w") as log:
        log.write(f"# fsx seed {options.seed}\n")
        try:
            count = run(exerciser, operations, log, progress=options.progress, verbose=options.verbose)
        except (Mismatch, OSError) as error:
            report(error, exerciser, good_path, log_path)
            return 1
    log_path.unlink()
    if not options.quiet:
        print(f"All {count} operations completed A-OK!")
    return 0


def main(arguments: list[str], open_file: Callable[[Path], OpenFile] = OpenFile) -> int:
    """Runs; returns the exit code. Tests bring an open_file that does wrong."""
    options = parse_arguments(arguments)
    options.seed = options.seed or int(time.time())
    try:
        kinds = choose_kinds(options)
        exerciser = Exerciser(open_file, options)
        operations = read_log(options.replay) if options.replay else draw_all(options, kinds, exerciser.model)
    except (BadLog, OSError) as error:
        print(f"fsx: {error}", file=sys.stderr)
        return 2
    try:
        return exercise(exerciser, operations, options)
    except KeyboardInterrupt:
        print(f"interrupted after {len(exerciser.history)} operations, all right so far")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
