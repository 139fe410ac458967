"""A workload of the simulation of failover: all clients append to one file (failover_workloads.py)."""

import random
from dataclasses import dataclass

from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, FileSystem, Handle
from tests.support.failover_files import read_file


@dataclass(slots=True)
class _Writer:
    """A client from its beginning to its crash. appended: begun with at least; durable: of them, by a sync."""

    number: int
    appended: int = 0
    durable: int = 0
    handle: Handle | None = None
    has_crashed: bool = False


class Log:
    """See the module."""

    def __init__(self, draw: random.Random, client_count: int) -> None:
        self._draw = draw
        self._all = [_Writer(number) for number in range(client_count)]
        #: By the client's index.
        self._present = list(self._all)

    async def prepare(self, fs: FileSystem) -> None:
        """See Workload."""
        await fs.release(await self._open(fs))
        await fs.fsync_directory(ROOT_INODE)

    async def _open(self, fs: FileSystem) -> Handle:
        return await fs.create(ROOT_INODE, b"log", 0o100644, Caller(), writes=True, exclusive=False)

    async def step(self, index: int, fs: FileSystem) -> None:
        """See Workload."""
        writer = self._present[index]
        if writer.handle is None:
            writer.handle = await self._open(fs)
        record = b"%d %d %s\n" % (writer.number, writer.appended, b"x" * self._draw.randrange(100))
        writer.appended += 1
        await fs.write(writer.handle, 0, record, appends=True)
        if self._draw.random() < 0.5:
            await fs.fsync(writer.handle)
            writer.durable = writer.appended
        if self._draw.random() < 0.3:
            handle, writer.handle = writer.handle, None
            await fs.release(handle)

    def crashed(self, index: int) -> None:
        """See Workload."""
        self._present[index].has_crashed = True
        self._present[index] = _Writer(len(self._all))
        self._all.append(self._present[index])

    async def verify(self, fs: FileSystem) -> list[str]:
        """See Workload."""
        found: dict[int, list[int]] = {}
        for line in (await read_file(fs, ROOT_INODE, b"log")).splitlines():
            number, count, fill = line.split(b" ")
            if fill.strip(b"x"):
                return [f"the log has a torn line: {line!r}"]
            found.setdefault(int(number), []).append(int(count))
        return [
            f"writer {writer.number} appended {writer.appended} records, {writer.durable} of them durably, and the log has {there}"
            for writer in self._all
            if not _is_right(writer, there := found.get(writer.number, []))
        ]


def _is_right(writer: _Writer, there: list[int]) -> bool:
    least = writer.durable if writer.has_crashed else writer.appended
    return there == list(range(len(there))) and least <= len(there) <= writer.appended
