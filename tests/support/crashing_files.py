"""The fault-injecting twin of ringfs.base.files: a file system in memory of which a crash leaves only what it must.

The failure model, after lazyfs (github.com/dsrhaslab/lazyfs) and what ext4, xfs and btrfs document:
  - a write is durable when fdatasync has returned; until then each of its 512-byte sectors is as before, or as after any of the
    writes made to it, independently of all others (lost, torn, reordered writes);
  - a file's size is durable like its bytes, and may survive without them (zeros) or they without it (then they are cut off);
  - a made, renamed or removed name is durable when sync_directory has returned; until then each such change survives or not, in
    any combination that makes sense; a rename survives whole or not at all;
  - a failed fdatasync makes some of the bytes durable, and the next one does not try the others again (fsyncgate);
  - the death of a process alone loses nothing.
Not modelled: sectors that rot (tests flip bits themselves), and crashes that harm what was durable.

Every call that changes something is a boundary: `crash_at` = n crashes before the nth.
"""

import copy
import errno
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ringfs.base.checksums import Buffer
from ringfs.base.files import already_used

SECTOR_BYTES = 512
#: Given how many states follow the durable one, which of them survives (0 is the durable one).
Choice = Callable[[int], int]


class Crashed(BaseException):
    """The machine is gone. Not an Exception: nothing may handle it."""


def nothing_survives(_count: int) -> int:
    """The least that a crash may leave."""
    return 0


def everything_survives(count: int) -> int:
    """The most."""
    return count


def some_survives(seed: str) -> Choice:
    """A mixture, always the same for a seed."""
    generator = random.Random(seed)
    return lambda count: generator.randint(0, count)


def choices(seed: str, random_count: int) -> Iterator[tuple[str, Choice]]:
    """Ways a crash may go, with names for failure messages."""
    yield "nothing", nothing_survives
    yield "everything", everything_survives
    for number in range(random_count):
        yield f"{seed}/{number}", some_survives(f"{seed}/{number}")


@dataclass(slots=True)
class Change:
    """A write, or a change of size alone."""

    offset: int
    data: bytes
    size_after: int


@dataclass(eq=False)
class Node:
    """A file: what processes see, what the disk has for certain, and how one became the other."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[Change] = field(default_factory=list)

    def change(self, offset: int, data: bytes, size_after: int) -> None:
        """Change what processes see."""
        self.content.extend(bytes(size_after - len(self.content)))
        self.content[offset : offset + len(data)] = data
        self.unsynced.append(Change(offset, data, size_after))

    def sync(self, choose: Choice = everything_survives) -> None:
        """All changes reach the disk; if fdatasync fails, some do, and the others never will, though processes see them."""
        self.durable = self.surviving(choose)
        self.unsynced.clear()

    def sync_range(self, start: int, end: int) -> None:
        """As sync, for the sectors of a range alone, all of which the file has."""
        low, high = start // SECTOR_BYTES * SECTOR_BYTES, -(-end // SECTOR_BYTES) * SECTOR_BYTES
        image = bytearray(self.durable).ljust(end, b"\0")
        image[low:high] = self.content[low : min(high, max(end, len(self.durable)))]
        self.durable = bytes(image)
        changes, self.unsynced = self.unsynced, []
        for change in changes:
            before, after = change.data[: max(0, low - change.offset)], change.data[max(0, high - change.offset) :]
            self.unsynced.append(Change(change.offset, before, max(change.size_after, end)))
            if after:
                self.unsynced.append(Change(max(high, change.offset), after, max(change.size_after, end)))

    def surviving(self, choose: Choice) -> bytes:
        """What the disk has after a crash."""
        sizes = [len(self.durable), *(change.size_after for change in self.unsynced)]
        image = bytearray(self.durable).ljust(max(sizes), b"\0")
        for sector in sorted({sector for change in self.unsynced for sector in _sectors(change)}):
            self._survive(image, sector, choose)
        return bytes(image[: sizes[choose(len(self.unsynced))]])

    def _survive(self, image: bytearray, sector: int, choose: Choice) -> None:
        """Apply the first few of the writes to one sector."""
        start, end = sector * SECTOR_BYTES, min((sector + 1) * SECTOR_BYTES, len(image))
        touching = [change for change in self.unsynced if sector in _sectors(change)]
        for change in touching[: choose(len(touching))]:
            low, high = max(start, change.offset), min(end, change.offset + len(change.data))
            image[low:high] = change.data[low - change.offset : high - change.offset]


def _sectors(change: Change) -> range:
    return range(change.offset // SECTOR_BYTES, -(-(change.offset + len(change.data)) // SECTOR_BYTES))


@dataclass(eq=False)
class Directory:
    """A directory: its entries as processes see them, as the disk has them, and the changes (old name, new name, node)."""

    entries: "dict[str, Node | Directory]" = field(default_factory=dict)
    durable: "dict[str, Node | Directory]" = field(default_factory=dict)
    unsynced: "list[tuple[str | None, str | None, Node | Directory]]" = field(default_factory=list)

    def change(self, old: str | None, new: str | None, node: "Node | Directory") -> None:
        """Make (old None), rename, or remove (new None) an entry."""
        _change_entry(self.entries, old, new, node)
        self.unsynced.append((old, new, node))

    def sync(self) -> None:
        """What processes see is what the disk has."""
        self.durable = dict(self.entries)
        self.unsynced.clear()

    def crash(self, choose: Choice) -> None:
        """Go back to what the disk has, here and below."""
        survivors = dict(self.durable)
        for old, new, node in self.unsynced:
            if choose(1) and (old is None or survivors.get(old) is node):
                _change_entry(survivors, old, new, node)
        self.entries = survivors
        self.sync()
        for node in set(survivors.values()):
            if isinstance(node, Directory):
                node.crash(choose)
            else:
                node.sync(choose)
                node.content = bytearray(node.durable)


def _change_entry(entries: "dict[str, Node | Directory]", old: str | None, new: str | None, node: "Node | Directory") -> None:
    if old is not None:
        del entries[old]
    if new is not None:
        entries[new] = node


@dataclass(slots=True)
class Fault:
    """The nth call of that name from now on (1 is the next) fails."""

    operation: str
    nth: int
    number: int


class CrashingFiles:
    """A Files in memory. The root directory exists, and is durable."""

    def __init__(self, *, seed: str = "faults", capacity_bytes: int = 1 << 40) -> None:
        self.root = Directory()
        #: Boundaries passed so far.
        self.step_count = 0
        #: Crash before this boundary.
        self.crash_at: int | None = None
        #: Called at each boundary, with the name of the call: to do something else meanwhile.
        self.at_step: Callable[[str], None] | None = None
        self.faults: list[Fault] = []
        #: Files may have so many bytes together.
        self.capacity_bytes = capacity_bytes
        #: What of the unsynced bytes a failing fdatasync loses.
        self.lose = some_survives(seed)
        self._locked: set[Path] = set()

    # Faults

    def after_crash(self, choose: Choice) -> "CrashingFiles":
        """What the machine finds when it starts again; this one stays as it is."""
        survivor = CrashingFiles(capacity_bytes=self.capacity_bytes)
        survivor.root = copy.deepcopy(self.root)
        survivor.root.crash(choose)
        return survivor

    def after_kill(self) -> "CrashingFiles":
        """What the next process finds if only this one died; this one stays as it is."""
        survivor = CrashingFiles(capacity_bytes=self.capacity_bytes)
        survivor.root = copy.deepcopy(self.root)
        return survivor

    def fail(self, operation: str, number: int, *, nth: int = 1) -> None:
        """Make the nth call of that name from now on fail with an errno."""
        self.faults.append(Fault(operation, nth, number))

    def used_bytes(self) -> int:
        """Bytes in all files."""
        return _used_bytes(self.root)

    def step(self, operation: str) -> None:
        """A boundary: crash here, fail here, or go on."""
        self.step_count += 1
        if self.crash_at is not None and self.step_count >= self.crash_at:
            raise Crashed
        if self.at_step is not None:
            self.at_step(operation)
        for fault in list(self.faults):
            if fault.operation == operation:
                fault.nth -= 1
                if fault.nth == 0:
                    self.faults.remove(fault)
                    raise OSError(fault.number, os.strerror(fault.number))

    def take_space(self, more_bytes: int) -> None:
        """ENOSPC unless there is so much."""
        if more_bytes > 0 and self.used_bytes() + more_bytes > self.capacity_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Files

    def open(self, path: Path, *, create: bool = False) -> "CrashingFile":
        """See Files."""
        directory = self._directory(path.parent)
        if create:
            self.step("open")
            if path.name in directory.entries:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            directory.change(None, path.name, Node())
        node = self._entry(path)
        if isinstance(node, Directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return CrashingFile(self, node)

    def list(self, directory: Path) -> list[str]:
        """See Files."""
        return sorted(self._directory(directory).entries)

    def make_directory(self, path: Path) -> None:
        """See Files."""
        self.step("make_directory")
        parent = self._directory(path.parent)
        if path.name not in parent.entries:
            parent.change(None, path.name, Directory())

    def rename(self, old: Path, new: Path) -> None:
        """See Files."""
        assert old.parent == new.parent, "renames across directories are not modelled"
        self.step("rename")
        node = self._entry(old)
        self._directory(old.parent).change(old.name, new.name, node)

    def unlink(self, path: Path) -> None:
        """See Files."""
        self.step("unlink")
        self._directory(path.parent).change(path.name, None, self._entry(path))

    def sync_directory(self, path: Path) -> None:
        """See Files."""
        self.step("sync_directory")
        self._directory(path).sync()

    def lock(self, directory: Path) -> "CrashingLock":
        """See Files."""
        self._directory(directory)
        if directory in self._locked:
            raise already_used(directory, str(os.getpid()))
        self._locked.add(directory)
        return CrashingLock(self._locked, directory)

    def _entry(self, path: Path) -> Node | Directory:
        entry: Node | Directory = self.root
        for name in path.parts[1:]:
            if not isinstance(entry, Directory) or name not in entry.entries:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            entry = entry.entries[name]
        return entry

    def _directory(self, path: Path) -> Directory:
        entry = self._entry(path)
        if not isinstance(entry, Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return entry


class CrashingLock:
    """A Lock of CrashingFiles."""

    def __init__(self, locked: set[Path], directory: Path) -> None:
        self._locked = locked
        self._directory = directory

    def release(self) -> None:
        """See Lock."""
        self._locked.remove(self._directory)


class CrashingFile:
    """A File of CrashingFiles."""

    def __init__(self, files: CrashingFiles, node: Node) -> None:
        self._files = files
        self._node = node

    def size_bytes(self) -> int:
        """See File."""
        return len(self._node.content)

    def pread(self, length_bytes: int, offset: int) -> bytes:
        """See File."""
        return bytes(self._node.content[offset : offset + length_bytes])

    def pwrite(self, data: Buffer, offset: int) -> None:
        """See File."""
        data = bytes(data)
        end = offset + len(data)
        try:
            self._files.step("pwrite")
            self._files.take_space(end - self.size_bytes())
        except OSError:
            # As much as a failed write may have written.
            data = data[: len(data) // 2]
            if offset + len(data) <= self.size_bytes():
                self._change(offset, data)
            raise
        self._change(offset, data)

    def pwrite_durable(self, data: Buffer, offset: int) -> None:
        """See File. Two boundaries, and two chances to fail."""
        self.pwrite(data, offset)
        self._step_to_sync()
        self._node.sync_range(offset, offset + len(data))

    def fdatasync(self) -> None:
        """See File."""
        self._step_to_sync()
        self._node.sync()

    def _step_to_sync(self) -> None:
        try:
            self._files.step("fdatasync")
        except OSError:
            self._node.sync(self._files.lose)
            raise

    def fallocate(self, offset: int, length_bytes: int) -> None:
        """See File."""
        self._files.step("fallocate")
        self._files.take_space(offset + length_bytes - self.size_bytes())
        self._node.change(offset, b"", max(self.size_bytes(), offset + length_bytes))

    def close(self) -> None:
        """See File."""

    def _change(self, offset: int, data: bytes) -> None:
        self._node.change(offset, data, max(self.size_bytes(), offset + len(data)))


def _used_bytes(entry: Node | Directory) -> int:
    if isinstance(entry, Node):
        return len(entry.content)
    return sum(map(_used_bytes, entry.entries.values()))
