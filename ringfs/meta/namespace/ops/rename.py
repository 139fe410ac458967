"""Rename: give an entry another name or directory; with flags of renameat2(2), never over another, in exchange for another, or
leaving a whiteout (overlayfs' device 0:0, the directory's owner's) in its old place.

Rules: rename(2), renameat2(2), fs/namei.c do_renameat2 and vfs_rename. Cycles are impossible: all ancestors of where a directory
goes are walked in the transaction. Both directories' mtime and ctime, and ctime of all inodes named, are now. Nothing happens if
both names stand for the same inode. Within one directory an entry keeps its cookie, so that a reader that renames what it reads
ends; in an exchange both places keep theirs.

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | a parent does not exist, is no directory, was removed |
| NAME_TOO_LONG, INVALID, NOT_FOUND, BUSY | a name, see names.py; "." and ".." are BUSY, as the new name with NOREPLACE they EXIST |
| INVALID | unknown flags, not just EXCHANGE; a directory would go into itself or below (in an exchange, its ancestor below it) |
| NOT_FOUND | there is no such entry, or, in an exchange, no other |
| EXISTS | NOREPLACE, and the new name exists |
| IS_DIRECTORY, NOT_DIRECTORY | a file would replace a directory, a directory a file |
| NOT_EMPTY | the directory to be replaced has entries |
| TOO_MANY_LINKS | a directory comes into one that has LINKS_MAX links |
| QUOTA | what comes with it would exceed a quota above the new name |
| CROSSES_QUOTA | an inode with several names would leave, or come under, a quota by one of them |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFCHR

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import LINKS_MAX
from ringfs.meta.namespace import homes, usage
from ringfs.meta.namespace.directory import (
    add_entry,
    child_of,
    entries_changed,
    entry_of,
    find_entry,
    new_child,
    put_entry,
    remove_entry,
)
from ringfs.meta.namespace.names import check_name
from ringfs.meta.namespace.protection import refuse_adding, refuse_removing
from ringfs.meta.namespace.records import Dentry, Inode
from ringfs.meta.namespace.removal import drop_name
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.namespace import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, Rename, Renamed

_FLAGS = (0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT, RENAME_NOREPLACE | RENAME_WHITEOUT)


def apply(work: Work, op: Rename) -> Renamed:
    """See the module."""
    if op.flags not in _FLAGS:
        raise Refused(Code.INVALID, "flags of rename")
    check_name(op.name, Code.BUSY, Code.BUSY)
    dot = Code.EXISTS if op.flags & RENAME_NOREPLACE else Code.BUSY
    check_name(op.new_name, dot, dot)
    parent, new_parent = work.directory(op.parent), work.directory(op.new_parent)
    entry = entry_of(work, parent, op.name)
    target = find_entry(work, new_parent, op.new_name)
    if target is not None and op.flags & RENAME_NOREPLACE:
        raise Refused(Code.EXISTS)
    if target is None and op.flags == RENAME_EXCHANGE:
        raise Refused(Code.NOT_FOUND)
    moved = child_of(work, entry)
    _refuse_cycle(work, moved, new_parent)
    if target is None:
        refuse_removing(parent, moved)
        refuse_adding(new_parent)
        usage.refuse_crossing(work, moved, moved.links, op.parent, op.new_parent)
        _move(work, op, parent, new_parent, entry, moved)
        return Renamed(parent.attributes(), new_parent.attributes(), moved.attributes(), None)
    other = child_of(work, target)
    if other is not moved:
        refuse_removing(parent, moved)
        refuse_removing(new_parent, other)
        usage.refuse_crossing(work, moved, moved.links, op.parent, op.new_parent)
        if op.flags == RENAME_EXCHANGE:
            _refuse_cycle(work, other, parent)
            usage.refuse_crossing(work, other, other.links, op.new_parent, op.parent)
            _exchange(work, op, parent, new_parent, entry, target)
        else:
            _replace(work, op, parent, new_parent, entry, target)
    return Renamed(parent.attributes(), new_parent.attributes(), moved.attributes(), other.attributes())


def _refuse_cycle(work: Work, moved: Inode, place: Inode) -> None:
    """Refused INVALID if place is moved, or below it."""
    if moved.is_directory() and _is_within(work, place, moved):
        raise Refused(Code.INVALID, "a directory into itself")


def _is_within(work: Work, place: Inode, ancestor: Inode) -> bool:
    """Whether a directory is another one, or somewhere below it."""
    while place is not ancestor:
        if place.number == ROOT_INODE:
            return False
        place = work.inode(place.parent)
    return True


def _move(work: Work, op: Rename, parent: Inode, new_parent: Inode, entry: Dentry, moved: Inode) -> None:
    """Take the entry away and make it anew, in the same place of the order if the directory is the same."""
    if moved.is_directory() and parent is not new_parent:
        _move_link(parent, new_parent)
    remove_entry(work, parent, op.name, entry)
    if parent is new_parent:
        put_entry(work, parent, op.new_name, moved, entry[2])
        parent.size_bytes += 1
    else:
        add_entry(work, new_parent, op.new_name, moved)
        _rehome(work, moved, parent, new_parent)
    if op.flags & RENAME_WHITEOUT:
        add_entry(work, parent, op.name, new_child(work, parent, S_IFCHR, parent.uid, parent.gid))
    _named_anew(work, moved)


def _move_link(source: Inode, destination: Inode) -> None:
    """A directory's ".." goes from one parent to another."""
    if destination.links >= LINKS_MAX:
        raise Refused(Code.TOO_MANY_LINKS)
    source.links -= 1
    destination.links += 1


def _replace(work: Work, op: Rename, parent: Inode, new_parent: Inode, entry: Dentry, target: Dentry) -> None:
    """As _move, after what has the new name has gone."""
    moved, replaced = child_of(work, entry), child_of(work, target)
    if replaced.is_directory():
        # As Linux: what holds the entry itself is called not empty before the types are compared.
        if not moved.is_directory() and not _is_within(work, parent, replaced):
            raise Refused(Code.IS_DIRECTORY)
        if replaced.size_bytes:
            raise Refused(Code.NOT_EMPTY)
        new_parent.links -= 1
    elif moved.is_directory():
        raise Refused(Code.NOT_DIRECTORY)
    remove_entry(work, new_parent, op.new_name, target)
    drop_name(work, replaced, new_parent)
    _move(work, op, parent, new_parent, entry, moved)


def _exchange(work: Work, op: Rename, parent: Inode, new_parent: Inode, entry: Dentry, target: Dentry) -> None:
    """Each in the other's place."""
    moved, other = child_of(work, entry), child_of(work, target)
    if parent is not new_parent and moved.is_directory() != other.is_directory():
        if moved.is_directory():
            _move_link(parent, new_parent)
        else:
            _move_link(new_parent, parent)
    put_entry(work, new_parent, op.new_name, moved, target[2])
    put_entry(work, parent, op.name, other, entry[2])
    _rehome(work, moved, parent, new_parent)
    _rehome(work, other, new_parent, parent)
    for inode in (parent, new_parent):
        entries_changed(work, inode)
    for inode in (moved, other):
        _named_anew(work, inode)


def _rehome(work: Work, inode: Inode, source: Inode, destination: Inode) -> None:
    """A directory has learned its parent with its entry."""
    if not inode.is_directory():
        homes.name_moved(work, inode, source.number, destination.number)


def _named_anew(work: Work, inode: Inode) -> None:
    inode.ctime_ns = work.now_ns
    work.changed(inode)
