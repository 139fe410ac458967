"""Mkdir: a new, empty directory.

Rules: mkdir(2). As mknod.py; besides, a setgid directory hands its bit down, the default ACL is inherited as such, and the
parent gets one more link.

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the parent does not exist, is no directory, was removed |
| NAME_TOO_LONG, INVALID, NOT_FOUND, EXISTS | the name, see names.py; "." and ".." exist |
| EXISTS | the name exists |
| INVALID | the number, see mknod.py |
| TOO_MANY_LINKS | the parent has LINKS_MAX links |
| QUOTA | a quota above has no room for one more file |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFDIR

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import LINKS_MAX
from ringfs.meta.namespace.directory import FIRST_COOKIE, add_entry, new_child, refuse_existing
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.protection import refuse_adding
from ringfs.meta.namespace.work import Work
from ringfs.meta.namespace.xattrs import inherit
from ringfs.wire.messages.common import LEASED
from ringfs.wire.messages.namespace import Entry, Mkdir


def apply(work: Work, op: Mkdir) -> Entry:
    """See the module."""
    check_name(op.name, Code.EXISTS, Code.EXISTS)
    parent = work.directory(op.parent)
    refuse_existing(work, parent, op.name)
    refuse_adding(parent)
    if parent.links >= LINKS_MAX:
        raise Refused(Code.TOO_MANY_LINKS)
    # Linux gives a new directory the sticky and permission bits asked for; setgid comes from the parent alone.
    mode = S_IFDIR | op.mode & 0o1777 | parent.mode & 0o2000
    inode = new_child(work, parent, mode, op.uid, op.gid, links=2, number=op.inode)
    inode.next_cookie = FIRST_COOKIE
    inherit(work, parent, inode, op.umask)
    add_entry(work, parent, op.name, inode)
    parent.links += 1
    return Entry(inode.attributes(), parent.attributes(), LEASED, LEASED)
