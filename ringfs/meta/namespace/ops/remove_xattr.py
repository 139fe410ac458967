"""RemoveXattr: remove an extended attribute.

Rules: removexattr(2), fs/xattr.c. ctime is now. Removing an ACL that is not there succeeds and changes nothing, as in Linux; the
mode stays as the ACL left it. Without its class of service, an inode has the default class.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| RANGE, NOT_SUPPORTED, INVALID | the name, see xattrs.check_name |
| NOT_PERMITTED | user.* on what is neither file nor directory |
| NO_XATTR | it is not there |
| NOT_SUPPORTED | an ACL of a symlink |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFLNK, S_IFMT

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import acl, xattrs
from ringfs.meta.namespace.protection import refuse_changing
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import CLASS_XATTR, Attributes
from ringfs.wire.messages.namespace import RemoveXattr


def apply(work: Work, op: RemoveXattr) -> Attributes:
    """See the module."""
    xattrs.check_name(op.name)
    inode = work.inode(op.inode)
    refuse_changing(inode)
    is_acl = op.name in (acl.ACCESS, acl.DEFAULT)
    if is_acl and S_IFMT(inode.mode) == S_IFLNK:
        raise Refused(Code.NOT_SUPPORTED, "an ACL of a symlink")
    if xattrs.may_not_have(inode, op.name):
        raise Refused(Code.NOT_PERMITTED, "user attributes are for files and directories")
    if op.name == CLASS_XATTR and inode.class_number:
        inode.class_number = 0
        inode.ctime_ns = work.now_ns
        work.changed(inode)
    elif xattrs.remove(work, inode, op.name):
        inode.ctime_ns = work.now_ns
        work.changed(inode)
    elif not is_acl:
        raise Refused(Code.NO_XATTR)
    return inode.attributes()
