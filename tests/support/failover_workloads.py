"""What clients do in the simulation of failover, and what they must find afterwards. No call may fail: an outage is a pause.

files   every client in a directory of its own: files are made, written, synced, renamed, removed; at the end a new mount must find
        exactly that, byte for byte
names   all clients in one directory, about few names: the history must be linearizable (directory_history.py)
log     all clients append to one file: every record is there once, whole, each client's in its order
"""

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ringfs.base.errors import Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, FileSystem, Handle
from tests.support.directory_hammer import GROUPS, WEIGHTS
from tests.support.directory_history import Call, Outcome, explain, find_violations

CALLER = Caller()
_SIZES = (20, 300, 5_000, 20_000, 200_000)
_NS = 10**9


class Workload(Protocol):
    """What one does and checks."""

    async def prepare(self, fs: FileSystem) -> None:
        """Before anything goes wrong."""
        ...

    async def step(self, index: int, fs: FileSystem) -> None:
        """One thing that client does. Raises Refused, which is a finding."""
        ...

    async def verify(self, fs: FileSystem) -> list[str]:
        """What is wrong, in the eyes of a new mount."""
        ...


# --- files ---------------------------------------------------------------------------------------------------------------


@dataclass
class _Own:
    """A client's directory, as it must be."""

    inode: int = 0
    count: int = 0
    files: dict[bytes, bytes] = field(default_factory=dict)


class Files:
    """See the module."""

    def __init__(self, draw: random.Random, client_count: int) -> None:
        self._draw = draw
        self._own = [_Own() for _ in range(client_count)]

    async def prepare(self, fs: FileSystem) -> None:
        """See Workload."""
        for index, own in enumerate(self._own):
            own.inode = (await fs.mkdir(ROOT_INODE, b"own%d" % index, 0o755, CALLER)).number

    async def step(self, index: int, fs: FileSystem) -> None:
        """See Workload."""
        own, draw = self._own[index], self._draw
        names = sorted(own.files)
        kind = draw.choice(["create", "write", "write", "rename", "unlink", "read"]) if len(names) > 1 else "create"
        name = draw.choice(names) if names else b""
        match kind:
            case "create":
                own.count += 1
                await self._write(fs, own, b"file%d" % own.count, is_new=True)
            case "write":
                await self._write(fs, own, name, is_new=False)
            case "rename":
                new = draw.choice([*names, b"name%d" % own.count])
                await fs.rename(own.inode, name, own.inode, new, 0)
                own.files[new] = own.files.pop(name)
            case "unlink":
                await fs.unlink(own.inode, name)
                del own.files[name]
            case "read":
                found = await _read(fs, own.inode, name)
                assert found == own.files[name], f"client {index} does not read what it wrote to {name!r}"
        if draw.random() < 0.3:
            await fs.fsync_directory(own.inode)

    async def _write(self, fs: FileSystem, own: _Own, name: bytes, *, is_new: bool) -> None:
        handle = await fs.create(own.inode, name, 0o100644, CALLER, writes=True, exclusive=is_new)
        own.files.setdefault(name, b"")
        before = own.files[name]
        data = self._draw.randbytes(self._draw.choice(_SIZES))
        offset = self._draw.randrange(len(before) + 1)
        await fs.write(handle, offset, data)
        own.files[name] = before[:offset] + data + before[offset + len(data) :]
        if self._draw.random() < 0.5:
            await fs.fsync(handle)
        await fs.release(handle)

    async def verify(self, fs: FileSystem) -> list[str]:
        """See Workload."""
        findings = []
        for index, own in enumerate(self._own):
            inode = (await fs.lookup(ROOT_INODE, b"own%d" % index)).number
            found = {entry.name for entry in (await fs.readdir(inode, 0, 1000)).entries}
            if found != set(own.files):
                findings.append(f"client {index} left {sorted(own.files)}, and there is {sorted(found)}")
                continue
            wrong = [name for name, content in own.files.items() if await _read(fs, inode, name) != content]
            findings += [f"{name!r} of client {index} does not hold what was written" for name in wrong]
        return findings


async def _read(fs: FileSystem, parent: int, name: bytes) -> bytes:
    handle = await fs.open((await fs.lookup(parent, name)).number, writes=False)
    found = bytes(await fs.read(handle, 0, 1 << 27))
    await fs.release(handle)
    return found


# --- names ---------------------------------------------------------------------------------------------------------------


class Names:
    """See the module."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._directory = 0
        self.calls: list[Call] = []

    async def prepare(self, fs: FileSystem) -> None:
        """See Workload."""
        self._directory = (await fs.mkdir(ROOT_INODE, b"names", 0o777, CALLER)).number

    async def step(self, index: int, fs: FileSystem) -> None:
        """See Workload."""
        names = self._draw.sample(self._draw.choice(GROUPS), 2)
        (kind,) = self._draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
        await self._call(f"client{index}", fs, kind, names[0], names[1] if kind in ("rename", "link") else "")

    async def _call(self, process: str, fs: FileSystem, kind: str, name: str, other: str) -> None:
        start_ns = int(trio.current_time() * _NS)
        try:
            outcome = await self._do(fs, kind, name.encode(), other.encode())
        except Refused as refused:
            number = refused.code.value.errno
            # What was looked up has lost its last name meanwhile.
            number = errno.ENOENT if number == errno.ESTALE else number
            if number not in (errno.ENOENT, errno.EEXIST):
                raise
            outcome = Outcome(errno.errorcode[number])
        self.calls.append(Call(process, kind, name, other, start_ns, int(trio.current_time() * _NS), outcome))

    async def _do(self, fs: FileSystem, kind: str, name: bytes, other: bytes) -> Outcome:
        directory = self._directory
        match kind:
            case "create":
                handle: Handle = await fs.create(directory, name, 0o100644, CALLER, writes=True, exclusive=True)
                await fs.release(handle)
                return Outcome(inode=handle.inode.number)
            case "rename":
                await fs.rename(directory, name, directory, other, 0)
            case "unlink":
                await fs.unlink(directory, name)
            case "link":
                await fs.link_to((await fs.lookup(directory, name)).number, directory, other)
            case "stat":
                found = await fs.getattr((await fs.lookup(directory, name)).number)
                return Outcome(inode=found.number, links=found.attributes.links)
        return Outcome()

    async def verify(self, fs: FileSystem) -> list[str]:
        """See Workload."""
        for name in sorted(name for group in GROUPS for name in group):
            await self._call("at the end", fs, "stat", name, "")
        return [explain(violation) for violation in find_violations(self.calls)]


# --- a log ---------------------------------------------------------------------------------------------------------------


class Log:
    """See the module."""

    def __init__(self, draw: random.Random, client_count: int) -> None:
        self._draw = draw
        self._counts = [0] * client_count
        self._handles: dict[int, Handle] = {}

    async def prepare(self, fs: FileSystem) -> None:
        """See Workload."""
        await fs.release(await self._open(fs))

    async def _open(self, fs: FileSystem) -> Handle:
        return await fs.create(ROOT_INODE, b"log", 0o100644, CALLER, writes=True, exclusive=False)

    async def step(self, index: int, fs: FileSystem) -> None:
        """See Workload."""
        if index not in self._handles:
            self._handles[index] = await self._open(fs)
        handle = self._handles[index]
        await fs.write(handle, 0, b"%d %d %s\n" % (index, self._counts[index], b"x" * self._draw.randrange(100)), appends=True)
        self._counts[index] += 1
        if self._draw.random() < 0.5:
            await fs.fsync(handle)
        if self._draw.random() < 0.1:
            await fs.release(self._handles.pop(index))

    async def verify(self, fs: FileSystem) -> list[str]:
        """See Workload."""
        found: dict[int, list[int]] = {}
        for line in (await _read(fs, ROOT_INODE, b"log")).splitlines():
            index, number, fill = line.split(b" ")
            if fill.strip(b"x"):
                return [f"the log has a torn line: {line!r}"]
            found.setdefault(int(index), []).append(int(number))
        return [
            f"client {index} appended {count} records, and the log has {found.get(index, [])}"
            for index, count in enumerate(self._counts)
            if found.get(index, []) != list(range(count))
        ]


KINDS = ("files", "names", "log")


def workloads(kinds: Sequence[str], draw: random.Random, client_count: int) -> dict[str, Workload]:
    """Those of these KINDS."""
    makers: dict[str, Callable[[], Workload]] = {
        "files": lambda: Files(draw, client_count),
        "names": lambda: Names(draw),
        "log": lambda: Log(draw, client_count),
    }
    return {kind: makers[kind]() for kind in kinds}
