"""Mknod: a new file, fifo, socket or device.

Rules: mknod(2), open(2) with O_CREAT. The group comes from a setgid directory, nodump and noatime from one that has them; mode
from the parent's default ACL or the umask; all times of the new inode, and mtime and ctime of the directory, are now.

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the parent does not exist, is no directory, was removed |
| NAME_TOO_LONG, INVALID, NOT_FOUND, EXISTS | the name, see names.py; "." and ".." exist |
| EXISTS | the name exists, unless a regular one is asked for, not exclusively, and is there |
| IS_DIRECTORY | not exclusive, and the name is a directory |
| INVALID | a number that is not the next of the session's reserved ones, or after it |
| NOT_PERMITTED, INVALID | the mode's type is a directory; is a symlink or unknown |
| QUOTA | a quota above has no room for one more file |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFREG, S_IFSOCK

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.directory import TYPE_DIRECTORY, add_entry, child_of, find_entry, new_child
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.protection import refuse_adding
from ringfs.meta.namespace.work import Work
from ringfs.meta.namespace.xattrs import inherit
from ringfs.wire.messages.common import LEASED
from ringfs.wire.messages.namespace import Entry, Mknod

_TYPES = (S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK)


def apply(work: Work, op: Mknod) -> Entry:
    """See the module."""
    file_type = op.mode & 0o170000 or S_IFREG
    if file_type not in _TYPES:
        raise Refused(Code.NOT_PERMITTED if file_type == S_IFDIR else Code.INVALID, "a file type")
    check_name(op.name, Code.EXISTS, Code.EXISTS)
    parent = work.directory(op.parent)
    entry = find_entry(work, parent, op.name)
    if entry is not None:
        if op.exclusive or file_type != S_IFREG:
            raise Refused(Code.EXISTS)
        if entry[1] << 12 != S_IFREG:
            raise Refused(Code.IS_DIRECTORY if entry[1] == TYPE_DIRECTORY else Code.EXISTS)
        return Entry(child_of(work, entry).attributes(), parent.attributes(), LEASED, LEASED)
    refuse_adding(parent)
    inode = new_child(work, parent, file_type | op.mode & 0o7777, op.uid, op.gid, number=op.inode)
    if file_type in (S_IFCHR, S_IFBLK):
        inode.rdev = op.rdev
    inherit(work, parent, inode, op.umask)
    add_entry(work, parent, op.name, inode)
    return Entry(inode.attributes(), parent.attributes(), LEASED, LEASED)
