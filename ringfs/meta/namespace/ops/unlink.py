"""Unlink: remove a name of anything but a directory.

Rules: unlink(2). The inode's ctime, and the directory's mtime and ctime, are now. After the last name the inode ends, or lives on
for the sessions among the transaction's holders (removal.py).

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the parent does not exist, is no directory, was removed |
| NAME_TOO_LONG, INVALID, NOT_FOUND, IS_DIRECTORY | the name, see names.py; "." and ".." are directories |
| NOT_FOUND | there is no such name |
| IS_DIRECTORY | it is a directory |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.directory import TYPE_DIRECTORY, child_of, entry_of, remove_entry
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.protection import refuse_removing
from ringfs.meta.namespace.removal import drop_name
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.namespace import Removed, Unlink


def apply(work: Work, op: Unlink) -> Removed:
    """See the module."""
    check_name(op.name, Code.IS_DIRECTORY, Code.IS_DIRECTORY)
    parent = work.directory(op.parent)
    entry = entry_of(work, parent, op.name)
    if entry[1] == TYPE_DIRECTORY:
        raise Refused(Code.IS_DIRECTORY)
    child = child_of(work, entry)
    refuse_removing(parent, child)
    remove_entry(work, parent, op.name, entry)
    drop_name(work, child, parent)
    return Removed(parent.attributes(), child.attributes())
