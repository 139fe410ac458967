"""Symlink: a new symbolic link.

Rules: symlink(2). Mode 0777, size the target's length; no umask, no ACL; group and flags as in mknod.py.

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the parent does not exist, is no directory, was removed |
| NAME_TOO_LONG, INVALID, NOT_FOUND, EXISTS | the name, see names.py; "." and ".." exist |
| NAME_TOO_LONG, NOT_FOUND, INVALID | the target is over SYMLINK_BYTES_MAX, empty, or has a NUL |
| EXISTS | the name exists |
| QUOTA | a quota above has no room for one more file |
| INVALID | the number, see mknod.py |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFLNK

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import SYMLINK_BYTES_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.directory import add_entry, new_child, refuse_existing
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.protection import refuse_adding
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import LEASED
from ringfs.wire.messages.namespace import Entry, Symlink
from ringfs.wire.packing import pack


def apply(work: Work, op: Symlink) -> Entry:
    """See the module."""
    _check_target(op.target)
    check_name(op.name, Code.EXISTS, Code.EXISTS)
    parent = work.directory(op.parent)
    refuse_existing(work, parent, op.name)
    refuse_adding(parent)
    inode = new_child(work, parent, S_IFLNK | 0o777, op.uid, op.gid, number=op.inode)
    inode.size_bytes = len(op.target)
    work.rows.put(keys.target(inode.number), pack(op.target))
    add_entry(work, parent, op.name, inode)
    return Entry(inode.attributes(), parent.attributes(), LEASED, LEASED)


def _check_target(target: bytes) -> None:
    if len(target) > SYMLINK_BYTES_MAX:
        raise Refused(Code.NAME_TOO_LONG, "a symlink's target")
    if not target:
        raise Refused(Code.NOT_FOUND, "an empty symlink target")
    if b"\0" in target:
        raise Refused(Code.INVALID, "a symlink's target with NUL")
