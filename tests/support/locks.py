"""Short forms for locks in tests."""

from ringfs.wire.messages.locks import LOCK_END, LOCK_NONE, LOCK_READ, LOCK_WRITE, SPACE_FILES, SPACE_RANGES, LockRange

READ, WRITE, NONE = LOCK_READ, LOCK_WRITE, LOCK_NONE


def ranged(inode: int, owner: int, kind: int, start: int = 0, end: int = LOCK_END, pid: int = 7) -> LockRange:
    """A lock of fcntl's."""
    return LockRange(inode, SPACE_RANGES, owner, kind, start, end, pid)


def whole(inode: int, owner: int, kind: int, pid: int = 7) -> LockRange:
    """A lock of flock's."""
    return LockRange(inode, SPACE_FILES, owner, kind, 0, LOCK_END, pid)
