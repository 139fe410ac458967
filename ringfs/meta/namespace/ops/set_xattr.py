"""SetXattr: set an extended attribute; the two ACLs are checked and act on the mode, the class of service is the inode's.

Rules: setxattr(2), xattr(7), fs/xattr.c, fs/posix_acl.c. ctime is now. An access ACL sets the nine permission bits of the mode and
takes sgid away if kill_sgid; one that says no more than a mode is not kept; one without entries removes what is there. ACLs
pay no heed to flags, as in Linux.

| refused | when |
| --- | --- |
| STALE | the inode does not exist |
| RANGE, NOT_SUPPORTED, INVALID | the name, see xattrs.check_name |
| XATTR_TOO_BIG | the value is over XATTR_VALUE_BYTES_MAX |
| NOT_PERMITTED | user.* on what is neither file nor directory |
| INVALID | unknown flags; a malformed ACL; no class of service, or one for more failure domains than there are |
| EXISTS, NO_XATTR | XATTR_CREATE and it exists; XATTR_REPLACE and it does not. With both, as in Linux, one of the two |
| NO_SPACE | the names would fill more than XATTR_LIST_BYTES_MAX; no more classes |
| NOT_SUPPORTED, ACCESS_DENIED | an ACL on a symlink or of an unknown version; a default ACL on what is no directory |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFLNK, S_IFMT

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import XATTR_VALUE_BYTES_MAX
from ringfs.meta.namespace import acl, classes, keys, xattrs
from ringfs.meta.namespace.protection import refuse_changing
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Attributes
from ringfs.wire.messages.namespace import XATTR_CREATE, XATTR_REPLACE, SetXattr


def apply(work: Work, op: SetXattr) -> Attributes:
    """See the module."""
    xattrs.check_name(op.name)
    if op.flags & ~(XATTR_CREATE | XATTR_REPLACE):
        raise Refused(Code.INVALID, "flags of setxattr")
    if len(op.value) > XATTR_VALUE_BYTES_MAX:
        raise Refused(Code.XATTR_TOO_BIG)
    inode = work.inode(op.inode)
    refuse_changing(inode)
    if op.name == acl.ACCESS:
        _set_access_acl(work, inode, op)
    elif op.name == acl.DEFAULT:
        _set_default_acl(work, inode, op)
    elif op.name == classes.CLASS_XATTR:
        _set_class(work, inode, op)
    else:
        _set_plain(work, inode, op)
    inode.ctime_ns = work.now_ns
    work.changed(inode)
    return inode.attributes()


def _set_plain(work: Work, inode: Inode, op: SetXattr) -> None:
    if xattrs.may_not_have(inode, op.name):
        raise Refused(Code.NOT_PERMITTED, "user attributes are for files and directories")
    if op.flags:
        exists = inode.xattr_count > 0 and work.rows.get(keys.xattr(inode.number, op.name)) is not None
        _check_exists(op, exists=exists)
    xattrs.put(work, inode, op.name, op.value)


def _set_class(work: Work, inode: Inode, op: SetXattr) -> None:
    if xattrs.may_not_have(inode, op.name):
        raise Refused(Code.NOT_PERMITTED, "classes of service are for files and directories")
    _check_exists(op, exists=inode.class_number > 0)
    inode.class_number = classes.number_for(work, op.value)


def _check_exists(op: SetXattr, *, exists: bool) -> None:
    if exists and op.flags & XATTR_CREATE:
        raise Refused(Code.EXISTS)
    if not exists and op.flags & XATTR_REPLACE:
        raise Refused(Code.NO_XATTR)


def _set_access_acl(work: Work, inode: Inode, op: SetXattr) -> None:
    """posix_acl_update_mode."""
    access = _parse(inode, op.value)
    if not access:
        xattrs.remove(work, inode, acl.ACCESS)
        return
    bits, is_plain_mode = acl.mode_of(access)
    inode.mode = inode.mode & ~0o777 | bits
    if op.kill_sgid:
        inode.mode &= ~0o2000
    if is_plain_mode:
        xattrs.remove(work, inode, acl.ACCESS)
    else:
        xattrs.put(work, inode, acl.ACCESS, acl.serialize(access))


def _set_default_acl(work: Work, inode: Inode, op: SetXattr) -> None:
    default = _parse(inode, op.value)
    if not default:
        xattrs.remove(work, inode, acl.DEFAULT)
        return
    if not inode.is_directory():
        raise Refused(Code.ACCESS_DENIED, "a default ACL is for directories")
    xattrs.put(work, inode, acl.DEFAULT, acl.serialize(default))


def _parse(inode: Inode, value: bytes) -> acl.Acl:
    if S_IFMT(inode.mode) == S_IFLNK:
        raise Refused(Code.NOT_SUPPORTED, "an ACL on a symlink")
    return acl.parse(value) if value else []
