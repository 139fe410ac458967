"""Link: one more name for an inode that is no directory.

Rules: link(2), fs/namei.c vfs_link. The inode's ctime, and the directory's mtime and ctime, are now.

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the parent does not exist, is no directory, was removed; STALE: the inode does not exist |
| NAME_TOO_LONG, INVALID, NOT_FOUND, EXISTS | the name, see names.py; "." and ".." exist |
| EXISTS | the name exists |
| NOT_PERMITTED | the inode is a directory |
| NOT_FOUND | the inode has no name, and is not one that the session made without (tmpfile.py) |
| QUOTA | it had none, and a quota above has no room for it |
| TOO_MANY_LINKS | it has LINKS_MAX names |
| CROSSES_QUOTA | it would have names in and outside of a quota |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import LINKS_MAX
from ringfs.meta.namespace import homes, usage
from ringfs.meta.namespace.directory import add_entry, refuse_existing
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.protection import refuse_adding, refuse_changing
from ringfs.meta.namespace.removal import adopt
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import LEASED
from ringfs.wire.messages.namespace import Entry, Link


def apply(work: Work, op: Link) -> Entry:
    """See the module."""
    check_name(op.name, Code.EXISTS, Code.EXISTS)
    parent = work.directory(op.parent)
    refuse_existing(work, parent, op.name)
    inode = work.inode(op.inode)
    if inode.is_directory():
        raise Refused(Code.NOT_PERMITTED, "a directory has one name")
    refuse_adding(parent)
    refuse_changing(inode)
    if inode.links >= LINKS_MAX:
        raise Refused(Code.TOO_MANY_LINKS)
    if inode.links == 0:
        adopt(work, inode)
    else:
        usage.refuse_crossing(work, inode, inode.links + 1, inode.parent, op.parent)
        homes.name_added(work, inode, op.parent)
    inode.links += 1
    inode.ctime_ns = work.now_ns
    work.changed(inode)
    add_entry(work, parent, op.name, inode)
    return Entry(inode.attributes(), parent.attributes(), LEASED, LEASED)
