"""A workload of the simulation of failover: all clients about few names of one directory (failover_workloads.py)."""

import errno
import random
from dataclasses import replace
from itertools import count

import trio

from ringfs.base.errors import Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.client.file_system import Caller, FileSystem
from tests.support.directory_hammer import GROUPS, WEIGHTS
from tests.support.directory_history import Call, Entry, Outcome, Rest, explain, find_violations

_CALLER = Caller()
_NS = 10**9
_SYNC_SHARE = 0.3


class Names:
    """See the module."""

    def __init__(self, draw: random.Random, client_count: int) -> None:
        self._draw = draw
        self._directory = 0
        #: All calls, in the order in which they began; one that is under way has no outcome.
        self._calls: dict[int, Entry] = {}
        self._numbers = count()
        self._latest_ns = 0
        #: Of each client, its own since its last sync; and those of who looks at the end.
        self._unsynced: list[dict[int, Call]] = [{} for _ in range(client_count + 1)]

    async def prepare(self, fs: FileSystem) -> None:
        """See Workload."""
        self._directory = (await fs.mkdir(ROOT_INODE, b"names", 0o777, _CALLER)).number
        await fs.fsync_directory(self._directory)

    async def step(self, index: int, fs: FileSystem) -> None:
        """See Workload."""
        names = self._draw.sample(self._draw.choice(GROUPS), 2)
        (kind,) = self._draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
        await self._call(index, fs, kind, names[0], names[1] if kind in ("rename", "link") else "")
        if self._draw.random() < _SYNC_SHARE:
            await fs.fsync_directory(self._directory)
            self._unsynced[index].clear()

    async def _call(self, index: int, fs: FileSystem, kind: str, name: str, other: str) -> None:
        number = next(self._numbers)
        call = Call(f"client{index}", kind, name, other, self._now_ns(), None, None)
        self._note(index, number, call)
        try:
            outcome = await self._do(fs, kind, name.encode(), other.encode())
        except Refused as refused:
            error = refused.code.value.errno
            # What was looked up has lost its last name meanwhile.
            error = errno.ENOENT if error == errno.ESTALE else error
            if error not in (errno.ENOENT, errno.EEXIST):
                raise
            outcome = Outcome(errno.errorcode[error])
        self._note(index, number, replace(call, end_ns=self._now_ns(), outcome=outcome))

    def _note(self, index: int, number: int, call: Call) -> None:
        self._calls[number] = self._unsynced[index][number] = call

    async def _do(self, fs: FileSystem, kind: str, name: bytes, other: bytes) -> Outcome:
        directory = self._directory
        match kind:
            case "create":
                handle = await fs.create(directory, name, 0o100644, _CALLER, writes=True, exclusive=True)
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

    def crashed(self, index: int) -> None:
        """See Workload. What it did since its last sync may not have been, nor what it saw: nobody else was shown that."""
        rests: dict[str, list[Call]] = {}
        for number, call in self._unsynced[index].items():
            del self._calls[number]
            if call.kind != "stat" and (call.outcome is None or not call.outcome.error):
                # What is about other names explains nothing about these.
                rests.setdefault(call.name[0], []).append(call)
        for calls in rests.values():
            self._calls[next(self._numbers)] = Rest(tuple(calls))
        self._unsynced[index].clear()

    async def verify(self, fs: FileSystem) -> list[str]:
        """See Workload."""
        for name in sorted(name for group in GROUPS for name in group):
            await self._call(len(self._unsynced) - 1, fs, "stat", name, "")
        return [explain(violation) for violation in find_violations(list(self._calls.values()))]

    def _now_ns(self) -> int:
        """Each moment once: what came first is known, also where no time passes."""
        self._latest_ns = max(self._latest_ns + 1, int(trio.current_time() * _NS))
        return self._latest_ns
