"""Setattr: change mode, owner, group, size and times, each if `valid` names it.

Rules: chmod(2), chown(2), truncate(2), utimensat(2), fs/attr.c. ctime is now, unless given. A changed size makes mtime now, unless
given, and cuts extents exactly. chown (always, as Linux) and truncate (without CAP_FSETID) take suid and sgid of a group-executable
file away, both take its capabilities; a mode that is given counts in any case. chmod changes the access ACL with it.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| INVALID | unknown fields; an id of -1; a size for what is no regular file |
| IS_DIRECTORY | a size for a directory |
| FILE_TOO_BIG | a size over FILE_BYTES_MAX |
| NOT_SUPPORTED | a mode for a symlink |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFLNK, S_IFMT, S_IFREG

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import FILE_BYTES_MAX
from ringfs.meta.namespace import content
from ringfs.meta.namespace.protection import refuse_changing, refuse_if_immutable
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.meta.namespace.xattrs import drop_capability, drop_privileges, follow_chmod
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import (
    KILL_PRIVILEGES,
    SET_ATIME,
    SET_ATIME_NOW,
    SET_CTIME,
    SET_GID,
    SET_MODE,
    SET_MTIME,
    SET_MTIME_NOW,
    SET_SIZE,
    SET_UID,
    Setattr,
)

_FIELDS = 2 * KILL_PRIVILEGES - 1
#: (uid_t) -1 and (gid_t) -1 name nobody.
_NOBODY = 0xFFFFFFFF


def apply(work: Work, op: Setattr) -> Attributes:
    """See the module."""
    inode = work.inode(op.inode)
    _check(inode, op)
    if op.valid & (SET_MODE | SET_UID | SET_GID | SET_SIZE):
        refuse_changing(inode)
    elif not op.valid & KILL_PRIVILEGES:
        refuse_if_immutable(inode)
    if op.valid & SET_SIZE:
        content.truncate(work, inode, op.size_bytes)
    _change_owner(inode, op)
    _change_privileges(work, inode, op)
    if op.valid & SET_MODE:
        inode.mode = S_IFMT(inode.mode) | op.mode & 0o7777
        follow_chmod(work, inode)
    _change_times(work, inode, op)
    work.changed(inode)
    return inode.attributes()


def _check(inode: Inode, op: Setattr) -> None:
    if op.valid & ~_FIELDS:
        raise Refused(Code.INVALID, "unknown attributes")
    if (op.valid & SET_UID and op.uid == _NOBODY) or (op.valid & SET_GID and op.gid == _NOBODY):
        raise Refused(Code.INVALID, "an id of -1")
    if op.valid & SET_MODE and S_IFMT(inode.mode) == S_IFLNK:
        raise Refused(Code.NOT_SUPPORTED, "a symlink's mode")
    if op.valid & SET_SIZE:
        if inode.is_directory():
            raise Refused(Code.IS_DIRECTORY)
        if S_IFMT(inode.mode) != S_IFREG:
            raise Refused(Code.INVALID, "the size of what is no regular file")
        if op.size_bytes > FILE_BYTES_MAX:
            raise Refused(Code.FILE_TOO_BIG)


def _change_owner(inode: Inode, op: Setattr) -> None:
    if op.valid & SET_UID:
        inode.uid = op.uid
    if op.valid & SET_GID:
        inode.gid = op.gid


def _change_privileges(work: Work, inode: Inode, op: Setattr) -> None:
    if inode.is_directory():
        return
    if op.valid & (SET_UID | SET_GID) or (op.valid & (SET_SIZE | KILL_PRIVILEGES) and not op.privileged):
        drop_privileges(work, inode)
    elif op.valid & (SET_SIZE | KILL_PRIVILEGES):
        drop_capability(work, inode)


def _change_times(work: Work, inode: Inode, op: Setattr) -> None:
    if op.valid & SET_ATIME_NOW:
        inode.atime_ns = work.now_ns
    elif op.valid & SET_ATIME:
        inode.atime_ns = op.atime_ns
    if op.valid & SET_MTIME_NOW or op.valid & (SET_SIZE | SET_MTIME) == SET_SIZE:
        inode.mtime_ns = work.now_ns
    elif op.valid & SET_MTIME:
        inode.mtime_ns = op.mtime_ns
    inode.ctime_ns = op.ctime_ns if op.valid & SET_CTIME else work.now_ns
