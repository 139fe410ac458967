"""What fsx does and what a file must then hold: operations as data, their log lines, the model in memory. No system calls."""

import random
from dataclasses import dataclass

#: Everything that fsx can do, with how often it is drawn. Which are possible is probed, see fsx_file.py.
WEIGHTS: dict[str, int] = {
    "read": 16,
    "write": 16,
    "mapread": 8,
    "mapwrite": 8,
    "truncate": 8,
    "allocate": 3,
    "punch": 4,
    "zero": 4,
    "collapse": 2,
    "insert": 2,
    "copy": 4,
    "seek": 2,
    "fsync": 1,
}
#: Drawn apart, by -c and --second.
REOPEN = "closeopen"
MOVE = "move"
KINDS = frozenset({*WEIGHTS, REOPEN, MOVE})
#: Those that a read-only look at the file consists of.
READING = frozenset({"read", "mapread", "seek", "fsync", REOPEN, MOVE})


#: What collapse and insert work in: the blocks of most file systems.
BLOCK_BYTES = 4096


class BadLog(Exception):
    """A line of a replay log that is no operation."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One step. Numbers count from 1; what is written follows from the number alone, so a shortened log replays alike."""

    number: int
    kind: str
    #: Which of the open handles does it.
    handle: int = 0
    offset: int = 0
    length: int = 0
    #: Destination of a copy.
    target: int = 0
    #: The size stays, for allocate and zero.
    keep_size: bool = False

    def line(self) -> str:
        """As in the log: number, kind, handle, offset, length, target, keep or grow."""
        size_rule = "keep" if self.keep_size else "grow"
        return f"{self.number} {self.kind} {self.handle} {self.offset:#x} {self.length:#x} {self.target:#x} {size_rule}"

    @classmethod
    def parse(cls, line: str) -> "Operation":
        """The operation of a log line; raises BadLog."""
        match line.split():
            case [number, kind, handle, offset, length, target, ("keep" | "grow") as size_rule] if kind in KINDS:
                try:
                    return cls(int(number), kind, int(handle), int(offset, 0), int(length, 0), int(target, 0), size_rule == "keep")
                except ValueError as error:
                    raise BadLog(f"{error}: {line.rstrip()}") from error
        raise BadLog(f"not an operation: {line.rstrip()}")

    def data(self) -> bytes:
        """What it writes: length bytes that no other operation writes."""
        return random.Random(self.number).randbytes(self.length)

    def touches(self, offset: int) -> bool:
        """Whether it may have decided the byte at offset."""
        if self.kind in READING:
            return False
        if self.kind == "truncate":
            return offset >= self.length
        if self.kind in ("collapse", "insert"):
            return offset >= self.offset
        start = self.target if self.kind == "copy" else self.offset
        return start <= offset < start + self.length


class Model:
    """The file as it must be: all its bytes, and for each whether it was written (1) or is in a hole (0)."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.written = bytearray()

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return len(self.content)

    def apply(self, operation: Operation) -> None:
        """Does what the operation must do to the file."""
        start, end = operation.offset, operation.offset + operation.length
        match operation.kind:
            case "write" | "mapwrite":
                self._put(start, operation.data())
            case "truncate":
                self._resize(operation.length)
            case "allocate":
                self._grow(end, operation.keep_size)
            case "zero":
                self._grow(end, operation.keep_size)
                self._clear(start, end)
            case "punch":
                self._clear(start, end)
            case "copy":
                self._put(operation.target, bytes(self.content[start:end]), bytes(self.written[start:end]))
            case "collapse":
                del self.content[start:end], self.written[start:end]
            case "insert":
                self.content[start:start] = self.written[start:start] = bytes(operation.length)
            case _:
                assert operation.kind in READING, operation.kind

    def _resize(self, size: int) -> None:
        for row in (self.content, self.written):
            if size < len(row):
                del row[size:]
            else:
                row.extend(bytes(size - len(row)))

    def _grow(self, end: int, keep_size: bool) -> None:
        if not keep_size and end > self.size:
            self._resize(end)

    def _put(self, offset: int, data: bytes, written: bytes | None = None) -> None:
        self._grow(offset, keep_size=False)
        self.content[offset : offset + len(data)] = data
        self.written[offset : offset + len(data)] = b"\1" * len(data) if written is None else written

    def _clear(self, start: int, end: int) -> None:
        end = min(end, self.size)
        if start < end:
            self.content[start:end] = self.written[start:end] = bytes(end - start)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is drawn. A light run changes bytes and never the size."""

    length_max: int
    operation_max: int
    light: bool
    reopen_one_in: int
    #: Open handles on the first path.
    handles: int
    #: A second path of the same file exists.
    has_second: bool


class Drawer:
    """Draws operations from a seed."""

    def __init__(self, seed: int, kinds: list[str], limits: Limits) -> None:
        self._random = random.Random(seed)
        self._limits = limits
        self._kinds = [kind for kind in kinds if not (limits.light and kind in ("truncate", "allocate", "collapse", "insert"))]
        self._weights = [WEIGHTS[kind] for kind in self._kinds]

    def draw(self, number: int, size: int) -> Operation:
        """The next operation on a file of that size."""
        pick, limits = self._random, self._limits
        handle = pick.randrange(limits.handles)
        if limits.reopen_one_in and pick.randrange(limits.reopen_one_in) == 0:
            kind = MOVE if limits.has_second and pick.random() < 0.5 else REOPEN
            return Operation(number, kind, handle)
        kind = pick.choices(self._kinds, self._weights)[0]
        if kind in ("seek", "fsync"):
            return Operation(number, kind, handle)
        if kind == "truncate":
            return Operation(number, kind, handle, length=pick.randint(0, limits.length_max))
        if kind in ("collapse", "insert"):
            return self._of_blocks(number, kind, handle, size)
        if kind in ("read", "mapread", "punch", "copy"):
            return self._within(number, kind, handle, size)
        offset = pick.randrange(size if limits.light else limits.length_max)
        room = (size if limits.light else limits.length_max) - offset
        length = pick.randint(1, min(limits.operation_max, room))
        keep_size = kind in ("allocate", "zero") and pick.random() < 0.5
        return Operation(number, kind, handle, offset, length, keep_size=keep_size)

    def _of_blocks(self, number: int, kind: str, handle: int, size: int) -> Operation:
        """A collapse or an insertion of whole blocks, with something left behind it; a read where the file is too short or long."""
        pick, limits = self._random, self._limits
        start = pick.randrange(size // BLOCK_BYTES + 1) * BLOCK_BYTES
        room = size - 1 - start if kind == "collapse" else limits.length_max - size
        if start >= size or room < BLOCK_BYTES:
            return Operation(number, "read", handle, 0, limits.operation_max)
        length = pick.randint(1, max(1, min(room, limits.operation_max) // BLOCK_BYTES)) * BLOCK_BYTES
        return Operation(number, kind, handle, start, length)

    def _within(self, number: int, kind: str, handle: int, size: int) -> Operation:
        """One that starts inside the file; it becomes a write where the file is empty."""
        pick, limits = self._random, self._limits
        if size == 0:
            return Operation(number, "write", handle, 0, pick.randint(1, limits.operation_max))
        offset = pick.randrange(size)
        length = pick.randint(1, limits.operation_max)
        if kind == "mapread":  # a map ends with the file; what lies after it in its last page is checked apart
            length = min(length, size - offset)
        if kind != "copy":
            return Operation(number, kind, handle, offset, length)
        # The kernel refuses overlapping ranges of one file.
        target = pick.randrange(size if limits.light else limits.length_max)
        room = (size if limits.light else limits.length_max) - target
        length = min(length, size - offset, room, abs(target - offset))
        if length == 0:
            return Operation(number, "read", handle, offset, 1)
        return Operation(number, "copy", handle, offset, length, target)
