"""Locks on files. SetLock and ReleaseLocks travel in a Mutate, the others in a Query (messages/session.py); LockFreed is pushed.

A lock belongs to an owner: a 64-bit number that is unique within its session, as the kernel gives it with each request. A SetLock
never waits. Who wants to wait asks WaitLock once LOCKED was the answer, and tries again when it is answered free, when LockFreed
comes, or when the connection was lost, for with it the server forgets who waits. So nothing is lost on the way: the server looks
at the locks and enters the waiter in one step, and everything later that may free the lock makes it push.
"""

from typing import Annotated

from ringfs.wire.schema import U8, U32, U64, Between, Sized, message

#: LockRange.space: fcntl's byte ranges, and flock's locks of the whole file. They do not see each other.
SPACE_RANGES = 1
SPACE_FILES = 2
#: LockRange.kind, as Linux numbers them.
LOCK_READ = 0
LOCK_WRITE = 1
LOCK_NONE = 2
#: The last byte that a lock can cover (loff_t's largest): "to the end, however far the file grows".
LOCK_END = (1 << 63) - 1

LockOffset = Annotated[int, Between(0, LOCK_END)]
#: Owners that one ReleaseLocks can name, and waiters that one LockFreed can.
OWNERS_MAX = 4096


@message(0x0160)
class LockRange:
    """What an owner wants to have of a file: the bytes start … end, both included; pid is for people who ask who has it."""

    inode: U64
    space: U8
    owner: U64
    kind: U8
    start: LockOffset
    end: LockOffset
    pid: U32


# --- transactions ---------------------------------------------------------------------------------------------------


@message(0x0161)
class SetLock:
    """Give the owner that lock in place of what it has in the range (LOCK_NONE: take it away). Answer: LockSet. Refused LOCKED."""

    lock: LockRange


@message(0x0162)
class LockSet:
    """How many separate ranges the owner has in that file and space now."""

    ranges: U32


@message(0x0163)
class LockOwner:
    """An owner in one space."""

    space: U8
    owner: U64


@message(0x0164)
class ReleaseLocks:
    """Take away all that these owners have in a file, whether it exists still or not. Answer: Done."""

    inode: U64
    owners: Annotated[list[LockOwner], Sized(0, OWNERS_MAX)]


# --- questions ------------------------------------------------------------------------------------------------------


@message(0x0165)
class GetLock:
    """Which lock would be in the way of that one? Answer: LockFound."""

    lock: LockRange


@message(0x0166)
class LockFound:
    """The first lock in the way, or kind LOCK_NONE. The pid is of a process at that session's client."""

    session: U64
    kind: U8
    start: LockOffset
    end: LockOffset
    pid: U32


@message(0x0167)
class WaitLock:
    """Tell me when it is worth trying again. Answer: LockWait. Refused DEADLOCK, NO_LOCKS (too many wait).

    `waiter`: the client's number for it, unique in its session until EndWait; asking again under it keeps its place in the queue.
    `is_of_file`: the owner is an open file (flock, OFD locks), whose waiting makes no deadlock, whatever circle it is in.
    """

    waiter: U64
    lock: LockRange
    is_of_file: bool


@message(0x0168)
class LockWait:
    """free: nothing is in the way now, and nothing was entered. Else LockFreed will come."""

    free: bool


@message(0x0169)
class EndWait:
    """The waiter has its lock, or gave up. Answer: Done, also if there is no such waiter."""

    waiter: U64


@message(0x016A)
class LockFreed:
    """Pushed by the server: nothing is in these waiters' way any more; they stay in the queue until they try again."""

    waiters: Annotated[list[U64], Sized(1, OWNERS_MAX)]
