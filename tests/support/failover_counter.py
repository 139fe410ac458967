"""A workload of the simulation of failover: a number in a file, that all clients add to under a lock (failover_workloads.py)."""

from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, FileSystem, Handle
from tests.support.failover_files import read_file
from tests.support.locks import NONE, WRITE, ranged

_DIGITS = 20


class Counter:
    """See the module."""

    def __init__(self) -> None:
        self._handles: dict[int, Handle] = {}
        #: The client that has the lock.
        self._holder: int | None = None
        #: What the file may say: more than one value after a crash in the middle.
        self._possible = {0}

    async def prepare(self, fs: FileSystem) -> None:
        """See Workload."""
        handle = await self._open(fs)
        await fs.write(handle, 0, b"0".zfill(_DIGITS))
        await fs.fsync(handle)
        await fs.release(handle)

    async def _open(self, fs: FileSystem) -> Handle:
        return await fs.create(ROOT_INODE, b"counter", 0o100644, Caller(), writes=True, exclusive=False)

    async def step(self, index: int, fs: FileSystem) -> None:
        """See Workload."""
        if index not in self._handles:
            self._handles[index] = await self._open(fs)
        handle = self._handles[index]
        await fs.locks.set(handle, ranged(handle.inode.number, index + 1, WRITE), wait=True)
        assert self._holder is None, f"clients {self._holder} and {index} both have the lock"
        self._holder = index
        await self._add_one(index, fs, handle)
        self._holder = None
        await fs.locks.set(handle, ranged(handle.inode.number, index + 1, NONE), wait=False)

    async def _add_one(self, index: int, fs: FileSystem, handle: Handle) -> None:
        found = int(bytes(await fs.read(handle, 0, _DIGITS)))
        assert found in self._possible, f"client {index} finds {found}, and it should be one of {self._possible}"
        self._possible = {found, found + 1}
        await fs.write(handle, 0, b"%020d" % (found + 1))
        await fs.fsync(handle)
        self._possible = {found + 1}

    def crashed(self, index: int) -> None:
        """See Workload."""
        self._handles.pop(index, None)
        if self._holder == index:
            self._holder = None

    async def verify(self, fs: FileSystem) -> list[str]:
        """See Workload."""
        found = int(await read_file(fs, ROOT_INODE, b"counter"))
        return [] if found in self._possible else [f"the counter says {found}, and it should be one of {self._possible}"]
