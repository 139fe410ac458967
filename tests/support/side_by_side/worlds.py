"""Two file systems side by side: the same calls on both, and what they answered made comparable.

Inode numbers become the order in which inodes were seen. Times become "moved" or "same" since they were last seen; those
that somebody set are compared as they are.
"""

import itertools
import shutil
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.side_by_side.actor import Blurred, Entry, Status, serve
from tests.support.side_by_side.calls import ACTORS, Call
from tests.support.side_by_side.differences import Difference

#: The longest that a call may take.
CALL_SECONDS_MAX = 300
#: Times before it (2020) were set by utimensat: programs set none that is later.
_SET_BEFORE_NS = 1_577_836_800 * 10**9
_SUID = stat.S_ISUID | stat.S_ISGID
#: What local file systems count holes in.
_BLOCK_BYTES = 4096


class Disagreement(AssertionError):
    """The two sides answered differently, or one did not answer."""


class Broken(Disagreement):
    """A call did not return, or took its process with it: nothing can be tried on these worlds any more."""


class Place(NamedTuple):
    """A file system to run on: its kind (ext4, tmpfs, ringfs; pyfuse3: ringfs by that driver), a directory for each actor."""

    kind: str
    roots: tuple[Path, ...]


class _Times(NamedTuple):
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class World:
    """One side: its actors, and what was seen of its inodes."""

    def __init__(self, place: Place, hides: frozenset[str]) -> None:
        self.place = place
        self._hides = hides
        self._top: Path | None = None
        self._numbers: dict[Any, int] = {}
        self._seen: dict[Any, _Times] = {}
        #: Inodes whose times are not compared any more.
        self._blurred: set[Any] = set()
        context = get_context("fork")
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(ACTORS):
            here, there = context.Pipe()
            # Local file systems use the numbers of dead inodes again.
            process = context.Process(
                target=serve, args=(there,), kwargs={"with_handles": place.kind not in ("ringfs", "pyfuse3")}, daemon=True
            )
            process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)

    def begin(self, name: str) -> None:
        """Go to a new and empty directory of that name; what was there before is removed."""
        before = self._top
        self._numbers, self._seen, self._blurred = {}, {}, set()
        self._top = self.place.roots[0] / name
        inner = self._top / "in" / "ner"
        inner.mkdir(parents=True)
        for directory in (self._top, inner.parent, inner):
            directory.chmod(0o777)
        for actor, connection in enumerate(self._connections):
            root = self.place.roots[actor % len(self.place.roots)]
            connection.send(str(root / inner.relative_to(self.place.roots[0])))
        for actor in range(ACTORS):
            self._hear(actor, "begin")
        if before is not None:
            shutil.rmtree(before)

    def perform(self, call: Call) -> Any:
        """What the call comes to, comparable with the other side's."""
        actor = call.actor % ACTORS
        self._connections[actor].send(call)
        answer = self._hear(actor, call.line())
        return self._ranges(answer[1]) if call.kind == "holes" and answer[0] == "ok" else self._comparable(answer)

    def _hear(self, actor: int, what: str) -> Any:
        if not self._connections[actor].poll(CALL_SECONDS_MAX):
            raise Broken(f"{self.place.kind}: {what} did not return in {CALL_SECONDS_MAX} s")
        try:
            return self._connections[actor].recv()
        except EOFError:
            self._processes[actor].join(5)
            raise Broken(f"{self.place.kind}: the process ended with {self._processes[actor].exitcode} at {what}") from None

    def close(self) -> None:
        """End the actors and remove everything."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.kill()
            process.join(5)
        if self._top is not None:
            with suppress(OSError):  # of a mount that is broken, there is more to say than that
                shutil.rmtree(self._top)

    # --- comparable ---------------------------------------------------------------------------------------------------

    def _comparable(self, answer: Any) -> Any:
        match answer:
            case ("ok", [Entry(), *_] as entries):
                return [self._entry(entry) for entry in entries]
            case ("ok", Status() as status):
                return self._status(status)
            case ("ok", Blurred() as blurred):
                self._blurred.add(blurred.identity)
                return None
            case (result,):
                return result
            case (_, result):
                return result
        return answer

    def _entry(self, entry: Entry) -> tuple[Any, ...]:
        xattrs = {name: value.hex() for name, value in sorted(entry.xattrs.items())}
        return entry.path, self._status(entry.status), entry.detail, xattrs, self._ranges(entry.data)

    def _ranges(self, found: tuple[tuple[int, int], ...]) -> "Ranges":
        return Ranges(() if "holes" in self._hides else found)

    def _status(self, status: Status) -> dict[str, Any]:
        identity = status.identity
        number = self._numbers.setdefault(identity, len(self._numbers))
        before = self._seen.get(identity)
        now = self._seen[identity] = _Times(status.atime_ns, status.mtime_ns, status.ctime_ns)
        mode = status.mode & ~_SUID if "suid" in self._hides and stat.S_ISREG(status.mode) else status.mode
        shown: dict[str, Any] = {"inode": number, "mode": oct(mode), "nlink": status.nlink, "size": status.size}
        shown |= {"uid": status.uid, "gid": status.gid}
        if "atime_ns" not in self._hides:
            shown["atime_ns"] = str(now.atime_ns) if now.atime_ns < _SET_BEFORE_NS else "now"  # may move with the clock's ticks
        for name in ("mtime_ns", "ctime_ns"):
            if name not in self._hides and identity not in self._blurred:
                shown[name] = _told(getattr(now, name), before and getattr(before, name))
        return shown


def _told(now_ns: int, before_ns: int | None) -> str:
    if now_ns < _SET_BEFORE_NS:
        return str(now_ns)
    return "first seen" if before_ns is None else "same" if now_ns == before_ns else "moved" if now_ns > before_ns else "went back"


class Ranges(tuple[tuple[int, int], ...]):
    """Where data is. Equal to others if the finer ones lie within the blocks of the coarser: zeros may be either."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple):
            return NotImplemented
        return _within(self, other) or _within(other, self)

    def __ne__(self, other: object) -> bool:
        return not self == other  # a tuple's own would compare item by item

    def __hash__(self) -> int:
        return 0


def _within(inner: Iterable[tuple[int, int]], outer: Iterable[tuple[int, int]]) -> bool:
    blocks = [(start // _BLOCK_BYTES * _BLOCK_BYTES, -(-end // _BLOCK_BYTES) * _BLOCK_BYTES) for start, end in outer]
    return all(any(first <= start and end <= last for first, last in blocks) for start, end in inner)


class SideBySide:
    """Both sides. Programs run on new directories; the first thing on which they disagree is raised."""

    _names = itertools.count(1)

    def __init__(self, left: Place, right: Place, differences: Sequence[Difference]) -> None:
        kinds = {left.kind, right.kind} | {"ringfs" for place in (left, right) if place.kind == "pyfuse3"}
        kinds |= {"two mounts" for place in (left, right) if len(place.roots) > 1}
        self._known = [difference for difference in differences if difference.side in kinds]
        hides = frozenset().union(*(difference.hides for difference in self._known))
        self._prefix = f"side.{id(self):x}"
        self._worlds = [World(place, hides) for place in (left, right)]
        self.call_count = 0

    def begin(self) -> None:
        """New and empty directories."""
        name = f"{self._prefix}.{next(self._names)}"
        for world in self._worlds:
            world.begin(name)

    def is_avoided(self, call: Call) -> bool:
        """Whether a known difference forbids it."""
        return any(difference.avoids(call) for difference in self._known)

    def perform(self, call: Call) -> None:
        """One call on both sides, unless it is avoided. Raises Disagreement."""
        if self.is_avoided(call):
            return
        self.call_count += 1
        left, right = (world.perform(call) for world in self._worlds)
        if left != right:
            names = [world.place.kind for world in self._worlds]
            raise Disagreement(f"{call.line()}\n  {names[0]}: {_shown(left, right)}\n  {names[1]}: {_shown(right, left)}")

    def finish(self) -> None:
        """Compare everything that is there, as each actor sees it."""
        for actor in range(ACTORS):
            self.perform(Call("tree", (), actor))

    def run(self, program: Sequence[Call]) -> None:
        """A whole program on new directories."""
        self.begin()
        for call in program:
            self.perform(call)
        self.finish()

    def close(self) -> None:
        """End it; nothing is left on either side."""
        for world in self._worlds:
            world.close()


def _shown(mine: Any, other: Any) -> str:
    """Of long results only what differs."""
    if isinstance(mine, list) and isinstance(other, list):
        theirs = {entry[0]: entry for entry in other if isinstance(entry, tuple)}
        return "\n    ".join(_shown(entry, theirs.get(entry[0])) for entry in mine if theirs.get(entry[0]) != entry)
    if isinstance(mine, tuple) and isinstance(other, tuple) and len(mine) == len(other):
        pairs = enumerate(zip(mine, other, strict=True))
        return ", ".join(_shown(one, two) if one != two or index == 0 else "…" for index, (one, two) in pairs)
    if isinstance(mine, bytes) and isinstance(other, bytes):
        wrong = [index for index in range(min(len(mine), len(other))) if mine[index] != other[index]]
        start = wrong[0] if wrong else min(len(mine), len(other))
        return f"{len(mine)} bytes, {len(wrong)} differ, from {start:#x}: {mine[start : start + 16].hex(' ')}"
    if isinstance(mine, dict) and isinstance(other, dict):
        return str({name: value for name, value in mine.items() if other.get(name, ...) != value or name == "inode"})
    return repr(mine)[:400]


def shrink(program: list[Call], side_by_side: SideBySide, *, runs_max: int) -> list[Call]:
    """A shorter program on which they disagree too: ever smaller stretches are left out while they still do."""
    runs = 0
    length = len(program) // 2
    while length and runs < runs_max:
        start = 0
        while start < len(program) and runs < runs_max:
            shorter = program[:start] + program[start + length :]
            runs += 1
            try:
                side_by_side.run(shorter)
                start += length
            except Broken:
                return program
            except Disagreement:
                program = shorter
        length //= 2
    return program
