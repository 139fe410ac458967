"""SetFlags: the flags of a file or directory that chattr(1) sets. ctime is now.

Rules: ioctl_iflags(2), fs/file_attr.c fileattr_set_prepare. That the caller owns the inode, the kernel has checked. What flags
forbid: protection.py.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| NOT_SUPPORTED | other flags than FLAGS; what is neither file nor directory |
| NOT_PERMITTED | immutable or append-only would change, and the caller is not privileged |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.files import FLAG_APPEND, FLAG_IMMUTABLE, FLAGS, SetFlags


def apply(work: Work, op: SetFlags) -> Attributes:
    """See the module."""
    inode = work.inode(op.inode)
    if op.flags & ~FLAGS or inode.mode >> 12 not in (0o10, 0o04):
        raise Refused(Code.NOT_SUPPORTED, "a flag")
    if (op.flags ^ inode.flags) & (FLAG_IMMUTABLE | FLAG_APPEND) and not op.is_privileged:
        raise Refused(Code.NOT_PERMITTED, "only root makes inodes immutable or append-only, or takes that back")
    inode.flags = op.flags
    inode.ctime_ns = work.now_ns
    work.changed(inode)
    return inode.attributes()
