#!/usr/bin/env python3
"""The same random system calls in a local directory and on a mount, for as long as one likes; what they answer must be the same.

    tools/side_by_side.py --mount /mnt/ringfs
    tools/side_by_side.py --mount /mnt/ringfs --mount /mnt/second --local /dev/shm --minutes 60
    tools/side_by_side.py --mount /mnt/ringfs --seed 7 --programs 1 --steps 400
    tools/side_by_side.py --mount /mnt/ringfs --replay found.calls

Each program is drawn from a seed and runs in new directories. Results, errnos, attributes, contents, xattrs and holes are compared,
but for the differences of tests/support/side_by_side/differences.py. With a second --mount the second process
of each program works there. A program that shows a difference is made shorter and kept in --save.

Exit codes: 0 no difference, 1 one was found, 2 called wrongly, 130 interrupted. Must run as root: users are changed.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.side_by_side import differences
from tests.support.side_by_side.calls import PRELUDE, Call, draw_call, read_program
from tests.support.side_by_side.worlds import Broken, Disagreement, Place, SideBySide, shrink

Choice = TypeVar("Choice")

#: A line of progress at the least so often.
_PROGRESS_S = 30
_SHRINKING_RUNS_MAX = 400


class SeededDraw:
    """See Draw."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        """See Draw."""
        return self._random.randint(low, high)

    def choice(self, options: Sequence[Choice]) -> Choice:
        """See Draw."""
        return self._random.choice(options)


def kind_of(directory: Path) -> str:
    """ext4, tmpfs, ringfs …: how the file system there is called."""
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1].removeprefix("fuse.")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mount", type=Path, action="append", required=True, help="a directory on the mount; another one for two")
    parser.add_argument("--pyfuse3", action="store_true", help="the mount's driver is pyfuse3, which lacks some calls")
    parser.add_argument(
        "--local", type=Path, default=Path(os.environ.get("TMPDIR", "/tmp")), help="a local directory (default $TMPDIR)"
    )
    parser.add_argument("--seed", type=int, help="of the first program (default random)")
    parser.add_argument("--steps", type=int, default=120, help="calls of a program (default 120)")
    parser.add_argument("--programs", type=int, help="how many (default: until --minutes are over)")
    parser.add_argument("--minutes", type=float, default=5, help="begin programs for so long (default 5)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this program")
    parser.add_argument("--save", type=Path, default=Path("found.calls"), help="where a program is kept (default found.calls)")
    options = parser.parse_args(arguments)
    for directory in (options.local, *options.mount):
        if not directory.is_dir():
            parser.error(f"{directory} is no directory")
    if os.geteuid():
        parser.error("must run as root")
    return options


def _report(program: list[Call], error: Disagreement, both: SideBySide, save: Path) -> int:
    print(error, file=sys.stderr)
    if not isinstance(error, Broken):
        print("making it shorter …", file=sys.stderr)
        program = shrink(program, both, runs_max=_SHRINKING_RUNS_MAX)
        try:
            both.run(program)
        except Disagreement as again:
            print(again, file=sys.stderr)
    save.write_text("".join(f"{call.line()}\n" for call in program))
    print(f"the program, {len(program)} calls: {save}", file=sys.stderr)
    return 1


def _run_all(both: SideBySide, options: argparse.Namespace) -> int:
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    begun_s = told_s = time.monotonic()
    count = 0
    while count != options.programs and time.monotonic() < begun_s + 60 * options.minutes:
        draw = SeededDraw(seed + count)
        program = [*PRELUDE, *(draw_call(draw) for _ in range(options.steps))]
        try:
            both.run(program)
        except Disagreement as error:
            print(f"seed {seed + count}", file=sys.stderr)
            return _report(program, error, both, options.save)
        count += 1
        if time.monotonic() > told_s + _PROGRESS_S:
            told_s = time.monotonic()
            print(f"{told_s - begun_s:.0f} s: {count} programs from seed {seed}, {both.call_count} calls alike", flush=True)
    print(f"{count} programs from seed {seed}, {both.call_count} calls: no difference")
    return 0


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    options = _parse(arguments)
    left = Place(kind_of(options.local), (options.local,))
    right = Place("pyfuse3" if options.pyfuse3 else kind_of(options.mount[0]), tuple(options.mount))
    print(f"{left.kind} in {options.local}, {right.kind} in {', '.join(map(str, options.mount))}", flush=True)
    both = SideBySide(left, right, differences.ALL)
    try:
        if options.replay:
            both.run(read_program(options.replay.read_text()))
            print("no difference")
            return 0
        return _run_all(both, options)
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        both.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
