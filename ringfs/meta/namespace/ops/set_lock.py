"""SetLock: an owner of the session gets a lock, in place of what it has in that range, or gives it back. Nothing waits here.

Rules: fcntl(2), F_SETLK, and flock(2). A change from read to write or back happens at once or not at all; whoever is refused
keeps what it had.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| INVALID | an unknown kind or space; a range that ends before it begins; part of a file in flock's space |
| LOCKED | another owner has a lock in the way |
| NO_LOCKS | more ranges, owners or files than we keep |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys, locks
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.locks import LOCK_NONE, LockSet, SetLock


def apply(work: Work, op: SetLock) -> LockSet:
    """See the module."""
    lock = op.lock
    locks.check_lock(lock)
    work.inode(lock.inode)
    if lock.kind != LOCK_NONE and locks.find_in_the_way(work.rows, work.session, lock) is not None:
        raise Refused(Code.LOCKED, f"inode {lock.inode}")
    before = locks.ranges_of(work.rows, keys.lock(lock.inode, lock.space, work.session, lock.owner))
    after = locks.replaced(before, lock.start, lock.end, lock.kind, lock.pid)
    if after != before:
        locks.put_ranges(work.rows, lock.inode, lock.space, work.session, lock.owner, after)
    return LockSet(len(after))
