"""Locks of several clients, taken, changed and given back at random, under cuts, restarts, recalls, interrupts and deaths.

The law: whoever was told that it has a lock has it until it asks for less, or its client dies, and nobody is told so of a lock that
is in its way; what is counted under a lock goes on from what was counted before; who asks for what nobody has, or waits for it,
gets it.
"""

import itertools
from typing import Any

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import SESSION_TIMEOUT_NS
from ringfs.client.file_system import Caller, Handle
from ringfs.meta.namespace.locks import held_on
from ringfs.wire.messages.locks import LOCK_END, SPACE_FILES, SPACE_RANGES, LockRange
from tests.support.locks import NONE, READ, WRITE
from tests.support.seeds import seeds
from tests.support.world import META, Mounted, World, open_world, until

CALLER = Caller()
#: A dead client's locks are gone so long after its death, or after the start of a server that knew it.
TIMEOUT_S = SESSION_TIMEOUT_NS / 1e9 + 5
CELL_BYTES = 8
PROCESSES_PER_CLIENT = 2


class File:
    """A file of cells, each a number that is counted up under its lock: what is known of both, whoever told it."""

    def __init__(self, name: bytes, space: int, cell_count: int) -> None:
        self.name = name
        self.space = space
        self.cell_count = cell_count
        self.number = 0
        #: For each cell: process → kind of lock that it was told to have.
        self.holders: list[dict[int, int]] = [{} for _ in range(cell_count)]
        #: For each cell: the numbers that may be there, and the last that must survive a death.
        self.counts = [{0} for _ in range(cell_count)]
        self.durable = [0] * cell_count
        #: By process: the cells that it counted up and has not handed over since.
        self.counted: dict[int, set[int]] = {}
        #: Processes that may have locks here, or are about to ask for some.
        self.active: set[int] = set()

    def lock(self, process: int, kind: int, cells: range) -> LockRange:
        """A lock of those cells."""
        is_to_the_end = cells.stop == self.cell_count
        start, end = cells.start * CELL_BYTES, LOCK_END if is_to_the_end else cells.stop * CELL_BYTES - 1
        return LockRange(self.number, self.space, process, kind, start, end, 7)

    def held(self, process: int) -> dict[int, int]:
        """What a process has: cell → kind."""
        return {cell: holders[process] for cell, holders in enumerate(self.holders) if process in holders}

    def weaken(self, process: int, kind: int, cells: range) -> None:
        """The process asks for that kind: all that it is sure to have meanwhile is what it had and will have."""
        for cell in cells:
            had = self.holders[cell].get(process, NONE)
            if kind == NONE or (self.space == SPACE_FILES and had != kind):
                self.holders[cell].pop(process, None)
            elif had == WRITE:
                self.holders[cell][process] = kind

    def grant(self, process: int, kinds: dict[int, int]) -> None:
        """The process was told that it has these, cell → kind: nothing that others were told is in their way."""
        for cell, kind in kinds.items():
            others = {other: its for other, its in self.holders[cell].items() if other != process}
            assert WRITE not in others.values(), f"{process} has {kind} of cell {cell}, too: {others}"
            assert kind == READ or not others, f"{process} may write cell {cell}, too: {others}"
            self.holders[cell][process] = kind

    def handed_over(self, process: int, cells: range) -> None:
        """What was counted there is safe: its lock was given back."""
        self.counted[process] = self.counted.get(process, set()) - set(cells)
        for cell in cells:
            if len(self.counts[cell]) == 1 and not any(kind == WRITE for kind in self.holders[cell].values()):
                (self.durable[cell],) = self.counts[cell]
        assert process in self.active

    def died(self, process: int) -> None:
        """Its locks are nobody's, and of what it counted and did not hand over any part may be there."""
        for cell in self.held(process):
            del self.holders[cell][process]
        for cell in self.counted.pop(process, set()):
            self.counts[cell] = set(range(self.durable[cell], max(self.counts[cell]) + 1))
        self.active.discard(process)


class Client:
    """A mount and its processes, until it dies."""

    def __init__(self, mounted: Mounted, processes: list[int]) -> None:
        self.mounted = mounted
        self.processes = processes
        self.is_dead = False
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        #: File name → a handle that stays open: a file that is shared is never leased to one.
        self.keepers: dict[bytes, Handle] = {}


class Trial:
    """Three clients of two processes each, two files, and what goes wrong."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.draw = world.draw
        self.files = [File(b"ranges", SPACE_RANGES, 4), File(b"whole", SPACE_FILES, 1)]
        self.clients: list[Client] = []
        self.turns: dict[int, int] = {}
        self.numbers = itertools.count(1)
        self.refusals: dict[Code, int] = {}
        #: From then on the locks of who died are gone.
        self.clean_from_s = 0.0
        self.is_over = False

    async def add_client(self, nursery: trio.Nursery) -> None:
        """One more, at work."""
        processes = [next(self.numbers) for _ in range(PROCESSES_PER_CLIENT)]
        client = Client(await self.world.mount(), processes)
        for file in self.files:
            keeper = client.keepers[file.name] = await self.open(client, file)
            file.number = keeper.inode.number
        self.turns |= dict.fromkeys(processes, 0)
        self.clients.append(client)
        nursery.start_soon(self.run, client)

    async def open(self, client: Client, file: File) -> Handle:
        """A handle that writes."""
        return await client.mounted.fs.create(ROOT_INODE, file.name, 0o100644, CALLER, writes=True, exclusive=False)

    async def run(self, client: Client) -> None:
        """All its processes, until it dies or all is over."""
        with client.scope:
            async with trio.open_nursery() as nursery:
                for process in client.processes:
                    nursery.start_soon(self.work, client, process)
        client.ended.set()

    async def kill(self, client: Client) -> None:
        """It and its processes end in this moment; their locks last until the service notices."""
        client.is_dead = True
        client.scope.cancel()
        self.clients.remove(client)
        await client.mounted.crash()
        await client.ended.wait()
        for file in self.files:
            for process in client.processes:
                file.died(process)
        for process in client.processes:
            del self.turns[process]
        self.clean_from_s = trio.current_time() + TIMEOUT_S

    # --- what processes do ------------------------------------------------------------------------------------------

    async def work(self, client: Client, process: int) -> None:
        """Turn after turn: some locks of one file, then none."""
        while not self.is_over:
            file = self.draw.choice(self.files)
            handle = await self.open(client, file)
            file.active.add(process)
            for _ in range(self.draw.randrange(1, 5)):
                if not await self.step(client, process, file, handle):
                    break
            try:
                await self.leave(client, process, file, handle)
            except Refused:
                # A client that is killed may tell who waits on it, and nobody hears it any more.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise
            self.turns[process] += 1
            await trio.sleep(self.draw.random())

    async def step(self, client: Client, process: int, file: File, handle: Handle) -> bool:
        """One lock, and what is done under it; False if all is to be given up."""
        first = self.draw.randrange(file.cell_count)
        cells = range(first, self.draw.randrange(first, file.cell_count) + 1)
        kind = self.draw.choice([READ, WRITE, WRITE, NONE])
        waits = kind != NONE and self.draw.random() < 0.7
        before = file.held(process)
        is_alone = file.active == {process} and trio.current_time() >= self.clean_from_s
        file.weaken(process, kind, cells)
        with trio.move_on_after(self.draw.choice([0.05, 1, 1000])) as scope:
            try:
                await client.mounted.fs.locks.set(handle, file.lock(process, kind, cells), wait=waits)
            except Refused as refused:
                # As in work().
                await trio.lowlevel.checkpoint_if_cancelled()
                self.failed(client, process, file, before, refused.code)
                if refused.code is Code.LOCKED and is_alone and file.active == {process}:
                    raise AssertionError("refused what nobody has") from refused
                return refused.code is not Code.DEADLOCK
        if client.is_dead:
            return False
        if scope.cancelled_caught:
            self.failed(client, process, file, before, None)
            return True
        if kind == NONE:
            file.handed_over(process, cells)
        else:
            file.grant(process, dict.fromkeys(cells, kind))
        await self.count(client, process, file, handle)
        return True

    def failed(self, client: Client, process: int, file: File, before: dict[int, int], code: Code | None) -> None:
        """It was not given the lock: fcntl's locks are as they were, flock's old one has gone."""
        assert code in (Code.LOCKED, Code.DEADLOCK, None), code
        assert code is not Code.DEADLOCK or before, "who has nothing closes no circle"
        if code is not None:
            self.refusals[code] = self.refusals.get(code, 0) + 1
        if file.space == SPACE_RANGES and not client.is_dead:
            file.grant(process, before)

    async def count(self, client: Client, process: int, file: File, handle: Handle) -> None:
        """What is locked is what it must be; what may be written is counted up."""
        fs = client.mounted.fs
        for cell, kind in file.held(process).items():
            found = int(bytes(await fs.read(handle, cell * CELL_BYTES, CELL_BYTES)).strip(b"\0") or b"0")
            assert found in file.counts[cell], f"{process} finds {found} in cell {cell}, not {file.counts[cell]}"
            file.counts[cell] = {found}
            await trio.sleep(self.draw.choice([0, 0, 0.02, 0.3]))
            if kind == WRITE:
                file.counts[cell] = {found + 1}
                file.counted.setdefault(process, set()).add(cell)
                await fs.write(handle, cell * CELL_BYTES, b"%08d" % (found + 1))

    async def leave(self, client: Client, process: int, file: File, handle: Handle) -> None:
        """Give everything back, in one of the ways that there are. The dead give nothing back."""
        if client.is_dead:
            return
        fs, cells = client.mounted.fs, range(file.cell_count)
        way = self.draw.randrange(3)
        file.weaken(process, NONE, cells)
        if way == 0:
            await fs.locks.set(handle, file.lock(process, NONE, cells), wait=False)
        elif way == 1 and file.space == SPACE_RANGES:
            await fs.locks.release_owner(handle.inode, process)
        await fs.release(handle)
        if not client.is_dead:
            file.handed_over(process, cells)
            file.active.discard(process)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    async def spoil(self, nursery: trio.Nursery) -> None:
        """One thing after the other; nobody is away for so long that its session ends, but for the dead."""
        client = self.draw.choice(self.clients)
        match self.draw.randrange(6):
            case 0 | 1:
                client.mounted.port.cut(META)
            case 2:
                client.mounted.port.blacken()
                await trio.sleep(self.draw.uniform(0, 8))
                client.mounted.port.whiten()
            case 3:
                await self.world.restart_meta(self.draw.uniform(0, 1))
                self.clean_from_s = trio.current_time() + TIMEOUT_S
            case 4:
                for link in client.mounted.port.links(META):
                    link.delay(self.draw.choice([0.0, 0.004, 0.1]))
            case 5:
                await self.kill(client)
                await trio.sleep(self.draw.random())
                await self.add_client(nursery)

    async def go_on(self) -> None:
        """With nothing going wrong, every process has its turns, and in the end nobody has or waits for anything."""
        await trio.sleep(TIMEOUT_S)
        before = dict(self.turns)
        await trio.sleep(30)
        assert all(self.turns[process] > then for process, then in before.items()), f"{before} {self.turns}"
        self.is_over = True
        for client in self.clients:
            await client.ended.wait()
        await until(lambda: self.world.handler.live.lock_waits.count == 0)
        assert [held for file in self.files for held in held_on(self.world.store, file.number)] == []


@pytest.mark.parametrize("seed", seeds(4))
async def test_random_locks_under_faults(seed: int, autojump_clock: Any) -> None:
    """See the module."""
    async with open_world(seed) as world:
        world.journal.append_s = world.draw.choice([0.0, 0.003, 0.03])
        trial = Trial(world)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                await trial.add_client(nursery)
            for _ in range(12):
                await trio.sleep(world.draw.random() * 4)
                await trial.spoil(nursery)
            await trial.go_on()
        assert trial.refusals[Code.LOCKED] > 20
        assert all(max(counts) > 20 for file in trial.files for counts in file.counts)
        world.check()


@pytest.mark.parametrize("told", [READ, WRITE])
def test_the_law_can_be_broken(told: int) -> None:
    """The check itself: a lock that another one's is in the way of is found out."""
    file = File(b"ranges", SPACE_RANGES, 2)
    file.grant(1, {0: told, 1: READ})
    file.grant(2, {1: READ})
    with pytest.raises(AssertionError):
        file.grant(2, {0: WRITE if told == READ else READ})
