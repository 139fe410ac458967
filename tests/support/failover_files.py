"""A workload of the simulation of failover: each client about files in a directory of its own (failover_workloads.py).

What a crash may leave: the names as they were at some moment since the client's last sync, and in each file bytes that were there
since it was synced itself (file_model.py).
"""

import random
from dataclasses import dataclass, field

from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, FileSystem, Handle
from tests.support.file_model import FileModel, difference

_CALLER = Caller()
_SIZES = (20, 300, 5_000, 20_000, 200_000)
#: Files that were removed and are open still.
_ORPHANS_MAX = 2
_KINDS = ("create", "write", "write", "rename", "unlink", "read", "orphan")

_Names = dict[bytes, FileModel]


@dataclass(slots=True)
class _Own:
    """A client's directory, as it must be."""

    inode: int = 0
    count: int = 0
    names: _Names = field(default_factory=dict)
    #: All that the names were since the last sync, or are about to be; the oldest first.
    states: list[_Names] = field(default_factory=lambda: [{}])
    #: Open, without a name, and what they hold.
    orphans: list[tuple[Handle, bytes]] = field(default_factory=list)
    has_crashed: bool = False

    def about_to_be(self, names: _Names) -> _Names:
        """The names after what is done next."""
        self.states.append(names)
        return names

    def synced(self) -> None:
        """What the names are is durable."""
        self.states = [self.names]


class Files:
    """See the module."""

    def __init__(self, draw: random.Random, client_count: int) -> None:
        self._draw = draw
        self._own = [_Own() for _ in range(client_count)]

    async def prepare(self, fs: FileSystem) -> None:
        """See Workload."""
        for index, own in enumerate(self._own):
            own.inode = (await fs.mkdir(ROOT_INODE, b"own%d" % index, 0o755, _CALLER)).number
        await fs.fsync_directory(ROOT_INODE)

    async def step(self, index: int, fs: FileSystem) -> None:
        """See Workload."""
        own, draw = self._own[index], self._draw
        if own.has_crashed:
            await self._look(index, own, fs)
        kind = draw.choice(_KINDS) if len(own.names) > 1 else "create"
        name = draw.choice(sorted(own.names)) if own.names else b""
        match kind:
            case "create":
                own.count += 1
                await self._write(fs, own, b"file%d" % own.count, is_new=True)
            case "write":
                await self._write(fs, own, name, is_new=False)
            case "rename":
                await self._rename(fs, own, name)
            case "unlink":
                await self._unlink(fs, own, name)
            case "read":
                wrong = difference(await read_file(fs, own.inode, name), own.names[name].now)
                assert not wrong, f"client {index} does not read what it wrote to {name!r}: {wrong}"
            case "orphan":
                await self._orphan(index, own, name, fs)
        if draw.random() < 0.3:
            await fs.fsync_directory(own.inode)
            own.synced()

    # --- one step ---------------------------------------------------------------------------------------------------------

    async def _write(self, fs: FileSystem, own: _Own, name: bytes, *, is_new: bool) -> None:
        model = FileModel() if is_new else own.names[name]
        if is_new:
            after = own.about_to_be({**own.names, name: model})
        handle = await fs.create(own.inode, name, 0o100644, _CALLER, writes=True, exclusive=is_new)
        if is_new:
            own.names = after
        data = self._draw.randbytes(self._draw.choice(_SIZES))
        offset = self._draw.randrange(len(model.now) + 1)
        model.write(offset, data)
        await fs.write(handle, offset, data)
        if self._draw.random() < 0.5:
            await fs.fsync(handle)
            model.synced(model.now)
            own.synced()
        await fs.release(handle)

    async def _rename(self, fs: FileSystem, own: _Own, name: bytes) -> None:
        new = self._draw.choice([*sorted(own.names), b"name%d" % own.count])
        after = dict(own.names)
        after[new] = after.pop(name)
        own.about_to_be(after)
        await fs.rename(own.inode, name, own.inode, new, 0)
        own.names = after

    async def _unlink(self, fs: FileSystem, own: _Own, name: bytes) -> None:
        after = own.about_to_be({each: model for each, model in own.names.items() if each != name})
        await fs.unlink(own.inode, name)
        own.names = after

    async def _orphan(self, index: int, own: _Own, name: bytes, fs: FileSystem) -> None:
        """Remove one that stays open; or read one that is open, and close it."""
        if len(own.orphans) < _ORPHANS_MAX:
            handle = await fs.open((await fs.lookup(own.inode, name)).number, writes=False)
            own.orphans.append((handle, own.names[name].now))
            await self._unlink(fs, own, name)
            return
        handle, content = own.orphans.pop(0)
        wrong = difference(bytes(await fs.read(handle, 0, 1 << 27)), content)
        assert not wrong, f"client {index} does not read what was in a file that it had open when it removed it: {wrong}"
        await fs.release(handle)

    # --- afterwards -------------------------------------------------------------------------------------------------------

    def crashed(self, index: int) -> None:
        """See Workload."""
        own = self._own[index]
        own.has_crashed = True
        own.orphans.clear()

    async def _look(self, index: int, own: _Own, fs: FileSystem) -> None:
        """What a crash has left is one of the things it may leave, and from now on that."""
        found = await _read_all(fs, own.inode)
        fitting = next((state for state in own.states if _may_leave(state, found)), None)
        assert fitting is not None, f"client {index} crashed, and has left {_sizes(found)}: none of {list(map(_told, own.states))}"
        for name, model in fitting.items():
            model.crashed(found[name])
        own.names = fitting
        own.has_crashed = False
        # Nothing is told that is not in the journal.
        own.synced()

    async def verify(self, fs: FileSystem) -> list[str]:
        """See Workload."""
        findings = []
        for index, own in enumerate(self._own):
            if own.has_crashed:
                await self._look(index, own, fs)
            found = await _read_all(fs, (await fs.lookup(ROOT_INODE, b"own%d" % index)).number)
            if set(found) != set(own.names):
                findings.append(f"client {index} left {sorted(own.names)}, and there is {sorted(found)}")
                continue
            for name, model in own.names.items():
                if wrong := difference(found[name], model.now):
                    findings.append(f"{name!r} of client {index} does not hold what was written: {wrong}")
        return findings


def _may_leave(state: _Names, found: dict[bytes, bytes]) -> bool:
    return state.keys() == found.keys() and all(model.may_be(found[name]) for name, model in state.items())


def _sizes(found: dict[bytes, bytes]) -> dict[bytes, int]:
    return {name: len(content) for name, content in sorted(found.items())}


def _told(state: _Names) -> dict[bytes, list[int]]:
    return {name: [len(each) for each in model.states] for name, model in sorted(state.items())}


async def _read_all(fs: FileSystem, directory: int) -> dict[bytes, bytes]:
    entries = (await fs.readdir(directory, 0, 1000)).entries
    return {entry.name: await read_file(fs, directory, entry.name) for entry in entries if entry.name not in (b".", b"..")}


async def read_file(fs: FileSystem, parent: int, name: bytes) -> bytes:
    """All of a file."""
    handle = await fs.open((await fs.lookup(parent, name)).number, writes=False)
    found = bytes(await fs.read(handle, 0, 1 << 27))
    await fs.release(handle)
    return found
