"""Locks as a client holds them for its processes: taken and given back at the metadata service, which decides alone.

A lock protects nothing if what it protects is old: taking one makes what is cached of the file current, giving one back commits
what is dirty, unless the file is leased, for then nobody else has it open. A lock ends with its owner, its handle or the session;
a handle whose locks went with a session answers LOCKS_LOST until it is closed. Who waits, waits here: see wire/messages/locks.py.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from ringfs.base.errors import Code, Refused, again, kept
from ringfs.client.coherence import Coherence, KernelCache
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.metadata import MetadataLink
from ringfs.client.writer import Writer
from ringfs.wire.messages.locks import (
    LOCK_NONE,
    LOCK_WRITE,
    SPACE_FILES,
    SPACE_RANGES,
    EndWait,
    GetLock,
    LockFound,
    LockOwner,
    LockRange,
    LockSet,
    LockWait,
    ReleaseLocks,
    SetLock,
    WaitLock,
)

log = structlog.get_logger("ringfs.client.locks")

#: How often the release of locks is tried again that the service did not take.
_RELEASE_AGAIN_S = 1.0
#: Space and owner.
Key = tuple[int, int]
IsOfFile = Callable[[], Awaitable[bool]]


async def _is_of_process() -> bool:
    return False


class Lockable(Protocol):
    """A handle, as far as locks go."""

    inode: Inode
    #: The session in which locks were taken through it; 0: it has none.
    locked_under: int


class _Record:
    """An owner that may have locks in a file."""

    __slots__ = ("handles", "requests")

    def __init__(self) -> None:
        #: Those it locked through.
        self.handles: set[Lockable] = set()
        #: SetLocks sent: the latest one's answer tells what is left.
        self.requests = 0


class Locks:
    """See the module. `run` must be running."""

    def __init__(self, link: MetadataLink, inodes: InodeTable, coherence: Coherence, writer: Writer, kernel: KernelCache) -> None:
        self._link = link
        self._inodes = inodes
        self._coherence = coherence
        self._writer = writer
        self._kernel = kernel
        #: inode → owners that may have locks in it; no empty ones.
        self._records: dict[int, dict[Key, _Record]] = {}
        #: Waiter → set when it is worth trying again.
        self._waiting: dict[int, trio.Event] = {}
        self._next_waiter = 1
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Finish for ever what was begun, whoever is interrupted."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    # --- what the file system calls ---------------------------------------------------------------------------------

    def check(self, handle: Lockable) -> None:
        """Refused LOCKS_LOST if the handle's locks have gone with their session."""
        if handle.locked_under and handle.locked_under != self._link.session:
            raise Refused(Code.LOCKS_LOST, f"inode {handle.inode.number}")

    async def get(self, lock: LockRange) -> LockFound:
        """The lock that is in the way, or kind LOCK_NONE. Its pid is 0 if it is a process of another client."""
        found: LockFound
        found, _ = await self._coherence.ask(GetLock(lock))
        return found if found.session == self._link.session else replace(found, pid=0)

    async def set(self, handle: Lockable, lock: LockRange, *, wait: bool, is_of_file: IsOfFile = _is_of_process) -> None:
        """Give the lock's owner the lock. Refused LOCKED unless wait; DEADLOCK if waiting would never end, NO_LOCKS, LOCKS_LOST.
        is_of_file is asked before the waiting begins: whether a range's owner is an open file, for which no deadlocks are sought.

        Cancelled, it has changed nothing, but for what flock(2) says: an old lock is given up before a new one is waited for.
        """
        await self._prepare(handle, lock)
        try:
            await self._set(handle, lock)
        except Refused as refused:
            if refused.code is not Code.LOCKED:
                raise
            if lock.space == SPACE_FILES:
                await self._hand_over(handle.inode)
                await self._set(handle, replace(lock, kind=LOCK_NONE))
            if not wait:
                raise
            await self._wait(handle, lock, lock.space == SPACE_FILES or await is_of_file())

    def knows_any(self, inode: Inode) -> bool:
        """Whether anything is locked through handles of the file."""
        return inode.number in self._records

    async def release_owner(self, inode: Inode, owner: int) -> None:
        """A process closed one of its descriptors of the file: as POSIX has it, all its fcntl locks there are gone."""
        await self._release(inode, [(SPACE_RANGES, owner)])

    async def release_handle(self, handle: Lockable) -> None:
        """The last descriptor of the handle was closed: so are gone what was locked through it alone (flock's and OFD locks)."""
        records = self._records.get(handle.inode.number)
        if records is not None:
            keys = [key for key, record in records.items() if record.handles == {handle}]
            for record in records.values():
                record.handles.discard(handle)
            await self._release(handle.inode, keys)

    def freed(self, waiters: list[int] | None) -> None:
        """The service says that these may try again; None: it has forgotten who waits."""
        for waiter in list(self._waiting) if waiters is None else waiters:
            if waiter in self._waiting:
                self._waiting[waiter].set()

    # --- taking -----------------------------------------------------------------------------------------------------

    async def _prepare(self, handle: Lockable, lock: LockRange) -> None:
        """Before an owner has less than before, others get to see what it wrote."""
        self.check(handle)
        if lock.kind != LOCK_WRITE and (lock.space, lock.owner) in self._records.get(handle.inode.number, ()):
            await self._hand_over(handle.inode)

    async def _set(self, handle: Lockable, lock: LockRange) -> None:
        """One SetLock, from which nobody is interrupted: what became of it would not be known."""
        await self._to_the_end(self._set_now, handle, lock)

    async def _set_now(self, handle: Lockable, lock: LockRange) -> None:
        key = (lock.space, lock.owner)
        while True:
            self.check(handle)
            session = self._link.session
            record = self._record(handle, key)
            record.requests += 1
            number = record.requests
            answer: LockSet | None = None
            try:
                answer, _ = await self._coherence.change(SetLock(lock))
            except Refused as refused:
                if refused.code is not Code.NO_SESSION:
                    raise
            if answer is not None and self._link.session == session:
                break
            # It was not given, or went with the session at once: the owner was told nothing yet.
        if lock.kind != LOCK_NONE:
            self._record(handle, key)
            handle.locked_under = session
            await self._make_current(handle.inode)
        elif not answer.ranges and record.requests == number:
            self._forget(handle.inode.number, key)

    async def _wait(self, handle: Lockable, lock: LockRange, is_of_file: bool) -> None:
        waiter = self._next_waiter
        self._next_waiter += 1
        try:
            while True:
                # From before the question: whatever comes after it is not missed.
                event = self._waiting[waiter] = trio.Event()
                answer: LockWait
                answer, _ = await self._coherence.ask(WaitLock(waiter, lock, is_of_file))
                if not answer.free:
                    await event.wait()
                try:
                    return await self._set(handle, lock)
                except Refused as refused:
                    if refused.code is not Code.LOCKED:
                        raise
        finally:
            del self._waiting[waiter]
            # If there is no connection to say it on, the service has forgotten it.
            self._link.tell(EndWait(waiter))

    async def _make_current(self, inode: Inode) -> None:
        """Whoever had the lock before may have changed everything that is not leased."""
        if not self._link.holds(inode.lease_epoch):
            self._inodes.forget_cached(inode)
            await self._coherence.drop_from_kernel(inode)

    # --- giving back ------------------------------------------------------------------------------------------------

    async def _hand_over(self, inode: Inode) -> None:
        """Commit what is dirty, if anybody else may have the file open; errors stay on the inode."""
        if not self._link.holds(inode.lease_epoch):
            if inode.write_count:
                await self._kernel.flush(inode)
            await self._writer.flush([inode])

    async def _release(self, inode: Inode, keys: list[Key]) -> None:
        known = [key for key in keys if self._forget(inode.number, key)]
        if known:
            await self._to_the_end(self._release_now, inode, [LockOwner(space, owner) for space, owner in known])

    async def _release_now(self, inode: Inode, owners: list[LockOwner]) -> None:
        """A lock that is left behind would keep others out for as long as this client lives: try until it is gone."""
        await self._hand_over(inode)
        while True:
            try:
                await self._coherence.change(ReleaseLocks(inode.number, owners))
                return
            except Refused as refused:
                if refused.code is Code.NO_SESSION:
                    return
                log.warning("locks not released yet", inode=inode.number, reason=str(refused))
                await trio.sleep(_RELEASE_AGAIN_S)

    # --- who may have locks -----------------------------------------------------------------------------------------

    def _record(self, handle: Lockable, key: Key) -> _Record:
        record = self._records.setdefault(handle.inode.number, {}).setdefault(key, _Record())
        record.handles.add(handle)
        return record

    def _forget(self, inode: int, key: Key) -> bool:
        """The owner has nothing any more; False if it had nothing."""
        records = self._records.get(inode, {})
        record = records.pop(key, None)
        if record is None:
            return False
        for handle in record.handles:
            if not any(handle in other.handles for other in records.values()) and handle.locked_under == self._link.session:
                handle.locked_under = 0
        if not records:
            del self._records[inode]
        return True

    async def _to_the_end(self, function: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Await function(*arguments); an interrupt comes afterwards. Raises its Refused; IO if the client ends meanwhile."""
        done = trio.Event()
        outcome: list[Refused | None] = []

        async def run() -> None:
            try:
                await function(*arguments)
                outcome.append(None)
            except Refused as refused:
                outcome.append(kept(refused))
            finally:
                done.set()

        assert self._nursery is not None, "run is running"
        self._nursery.start_soon(run)
        with trio.CancelScope(shield=True):
            await done.wait()
        refused = outcome[0] if outcome else Refused(Code.IO, "the client has ended")
        if refused is not None:
            raise again(refused)
