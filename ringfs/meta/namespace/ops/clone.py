"""Clone: a new inode under a name that is like another one, its content by reference.

It has the type, mode, owner, group, device, atime, mtime, class, xattrs (ACLs and capabilities among them) and target of the
source; no flags, and nothing from the directory it is in. A directory begins empty. btime and ctime, and the parent's two, are
now. A file with more than COPIED_EXTENTS_MAX extents is copied up to the beginning of a chunk: the rest is CopyRange's.

| refused | when |
| --- | --- |
| STALE | the source does not exist |
| STALE, NOT_DIRECTORY, NOT_FOUND | the parent does not exist, is no directory, was removed |
| NAME_TOO_LONG, INVALID, NOT_FOUND, EXISTS | the name, see names.py; "." and ".." exist |
| EXISTS | the name exists |
| TOO_MANY_LINKS | a directory, and the parent has LINKS_MAX links |
| QUOTA | a quota above has no room for it |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import LINKS_MAX
from ringfs.meta.namespace import keys, xattrs
from ringfs.meta.namespace.directory import FIRST_COOKIE, add_entry, refuse_existing
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.ops.copy_range import copy
from ringfs.meta.namespace.protection import refuse_adding
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import LEASED
from ringfs.wire.messages.content import Clone
from ringfs.wire.messages.namespace import Entry


def apply(work: Work, op: Clone) -> Entry:
    """See the module."""
    check_name(op.name, Code.EXISTS, Code.EXISTS)
    parent = work.directory(op.parent)
    refuse_existing(work, parent, op.name)
    refuse_adding(parent)
    source = work.inode(op.source)
    if source.is_directory() and parent.links >= LINKS_MAX:
        raise Refused(Code.TOO_MANY_LINKS)
    inode = work.new_inode(source.mode, source.uid, source.gid, 2 if source.is_directory() else 1)
    inode.class_number = source.class_number
    inode.rdev, inode.atime_ns, inode.mtime_ns = source.rdev, source.atime_ns, source.mtime_ns
    for name in xattrs.names(work.rows, source.number) if source.xattr_count else ():
        value = xattrs.find(work.rows, source.number, name)
        assert value is not None, "a name that was listed has a value"
        xattrs.put(work, inode, name, value)
    if source.is_directory():
        inode.next_cookie = FIRST_COOKIE
        parent.links += 1
    else:
        _take_content(work, source, inode)
    add_entry(work, parent, op.name, inode)
    return Entry(inode.attributes(), parent.attributes(), LEASED, LEASED)


def _take_content(work: Work, source: Inode, inode: Inode) -> None:
    target = work.rows.get(keys.target(source.number)) if source.mode & 0o170000 == 0o120000 else None
    if target is not None:
        work.rows.put(keys.target(inode.number), target)
        inode.size_bytes = source.size_bytes
    elif source.size_bytes:
        copy(work, source, 0, inode, 0, source.size_bytes)
