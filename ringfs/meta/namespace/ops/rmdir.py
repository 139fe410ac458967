"""Rmdir: remove an empty directory.

Rules: rmdir(2). The parent has one link less; its mtime and ctime, and the directory's ctime, are now. A directory that a session
among the transaction's holders has open lives on without names; nothing can be made in it.

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the parent does not exist, is no directory, was removed |
| NAME_TOO_LONG, INVALID, NOT_FOUND, NOT_EMPTY | the name, see names.py; "." is INVALID, ".." NOT_EMPTY |
| NOT_FOUND | there is no such name |
| NOT_DIRECTORY | it is no directory |
| NOT_EMPTY | it has entries |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.directory import TYPE_DIRECTORY, child_of, entry_of, remove_entry
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.protection import refuse_removing
from ringfs.meta.namespace.removal import drop_name
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.namespace import Removed, Rmdir


def apply(work: Work, op: Rmdir) -> Removed:
    """See the module."""
    check_name(op.name, Code.INVALID, Code.NOT_EMPTY)
    parent = work.directory(op.parent)
    entry = entry_of(work, parent, op.name)
    if entry[1] != TYPE_DIRECTORY:
        raise Refused(Code.NOT_DIRECTORY)
    child = child_of(work, entry)
    refuse_removing(parent, child)
    if child.size_bytes:
        raise Refused(Code.NOT_EMPTY)
    remove_entry(work, parent, op.name, entry)
    parent.links -= 1
    drop_name(work, child, parent)
    return Removed(parent.attributes(), child.attributes())
