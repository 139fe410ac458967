"""A player of films: frames that are read in order, each due at its time, as one that reads ahead a little sees them.

Frames are files of their own (as of DPX), or pieces of one large file. Their bytes follow from a number, so that each is verified
when it comes. Not here: what is wrong with the cluster meanwhile.
"""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

#: A small frame: 4K film has 8 to 50 MB, which two cores that play all parts have no use for.
FRAME_BYTES = 512 << 10
FRAMES_PER_S = 24
#: How much of the film a player has in its memory before it shows it: a frame may come so much later than it was asked for.
BUFFER_S = 0.5


@dataclass(frozen=True, slots=True)
class Frame:
    """Where one is; `number` says what is in it."""

    path: Path
    offset: int
    number: int
    size_bytes: int = FRAME_BYTES

    def content(self) -> bytes:
        """What must be there."""
        return random.Random(self.number).randbytes(self.size_bytes)

    def read(self) -> bytes:
        """What is there, by as many reads as the system makes of it."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            found = bytearray()
            while len(found) < self.size_bytes and (data := file.read(self.size_bytes - len(found))):
                found += data
        return bytes(found)

    def through(self, mount: Path, other: Path) -> "Frame":
        """The same frame as another mount has it."""
        return replace(self, path=other / self.path.relative_to(mount))


@dataclass(slots=True)
class Played:
    """How it went. wait_s: of each frame, from when it was asked for until it was there."""

    wait_s: list[float] = field(default_factory=list)
    late: int = 0
    wrong: list[int] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        """Of the frame that took longest."""
        return max(self.wait_s)

    def count_over(self, seconds: float) -> int:
        """Frames that took so long or longer."""
        return sum(wait_s >= seconds for wait_s in self.wait_s)


def write_sequence(folder: Path, first: int, count: int, size_bytes: int = FRAME_BYTES) -> list[Frame]:
    """A film of files, each of them durable before the next one."""
    folder.mkdir()
    frames = [Frame(folder / f"{number:07}.dpx", 0, number, size_bytes) for number in range(first, first + count)]
    for frame in frames:
        _write(frame.path, [frame])
    return frames


def write_file(path: Path, first: int, count: int, size_bytes: int = FRAME_BYTES, *, sync_after: int | None = None) -> list[Frame]:
    """A film in one file, durable: in the end, or after so many frames each time, which makes each of these an object."""
    frames = [Frame(path, index * size_bytes, first + index, size_bytes) for index in range(count)]
    for done in range(0, count, sync_after or count):
        _write(path, frames[done : done + (sync_after or count)])
    return frames


def _write(path: Path, frames: Sequence[Frame]) -> None:
    """To the end of the file, durably."""
    with path.open("ab", buffering=0) as file:
        for frame in frames:
            assert file.write(frame.content()) == frame.size_bytes
        os.fsync(file.fileno())


def play(frames: Sequence[Frame], frames_per_s: float = FRAMES_PER_S) -> Played:
    """Read each when it is due, or as soon as those before it are there; late is what comes more than BUFFER_S after it was due."""
    played = Played()
    begun_s = time.monotonic()
    for index, frame in enumerate(frames):
        due_s = begun_s + index / frames_per_s
        time.sleep(max(0.0, due_s - time.monotonic()))
        asked_s = time.monotonic()
        found = frame.read()
        here_s = time.monotonic()
        played.wait_s.append(here_s - asked_s)
        played.late += here_s > due_s + BUFFER_S
        if found != frame.content():
            played.wrong.append(frame.number)
    return played
