"""Entries of a directory: dentry row and cookie row, always together; what is made in it. Link counts are the operations'."""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import Dentry, Inode, pack_cookie, pack_dentry
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.files import FLAG_NOATIME, FLAG_NODUMP
from ringfs.wire.packing import unpack

#: Types in a dentry, as `mode >> 12`.
TYPE_DIRECTORY = 0o040000 >> 12
#: 0 means "from the beginning", and NFS takes 1 and 2 for "." and "..".
FIRST_COOKIE = 3
#: Flags that what is made in a directory takes over, of whatever type it is (EXT4_FL_INHERITED).
_INHERITED_FLAGS = FLAG_NODUMP | FLAG_NOATIME


def find_entry(work: Work, parent: Inode, name: bytes) -> Dentry | None:
    """[child, type, cookie] of a name, or None."""
    value = work.rows.get(keys.dentry(parent.number, name))
    if value is None:
        return None
    entry: Dentry = unpack(value)
    return entry


def entry_of(work: Work, parent: Inode, name: bytes) -> Dentry:
    """[child, type, cookie] of a name. Refused NOT_FOUND."""
    entry = find_entry(work, parent, name)
    if entry is None:
        raise Refused(Code.NOT_FOUND)
    return entry


def child_of(work: Work, entry: Dentry) -> Inode:
    """The inode that an entry stands for."""
    child = work.find_inode(entry[0])
    assert child is not None, "an entry's inode exists"
    return child


def refuse_existing(work: Work, parent: Inode, name: bytes) -> None:
    """Refused EXISTS if there is such a name."""
    if work.rows.get(keys.dentry(parent.number, name)) is not None:
        raise Refused(Code.EXISTS)


def new_child(work: Work, parent: Inode, mode: int, uid: int, gid: int, *, links: int = 1, number: int = 0) -> Inode:
    """A new inode, made in a directory but without a name yet: the class is the directory's, the group too if that is setgid
    (inode_init_owner).    Refused INVALID, see Work.new_inode."""
    inode = work.new_inode(mode, uid, parent.gid if parent.mode & 0o2000 else gid, links, number)
    inode.flags = parent.flags & _INHERITED_FLAGS
    inode.class_number = parent.class_number
    return inode


def add_entry(work: Work, parent: Inode, name: bytes, child: Inode) -> None:
    """A new entry, last in the directory's order."""
    put_entry(work, parent, name, child, parent.next_cookie)
    parent.next_cookie += 1
    parent.size_bytes += 1
    entries_changed(work, parent)


def put_entry(work: Work, parent: Inode, name: bytes, child: Inode, cookie: int) -> None:
    """Both rows of an entry at a given place; a directory learns its name, and everything without a home where it is."""
    work.rows.put(keys.dentry(parent.number, name), pack_dentry(child.number, child.mode, cookie))
    work.rows.put(keys.cookie(parent.number, cookie), pack_cookie(name, child.number))
    if child.is_directory():
        child.parent, child.name = parent.number, name
    elif not child.parent:
        child.parent = parent.number


def remove_entry(work: Work, parent: Inode, name: bytes, entry: Dentry) -> None:
    """Remove both rows; the cookie is never used again."""
    work.rows.delete(keys.dentry(parent.number, name))
    work.rows.delete(keys.cookie(parent.number, entry[2]))
    parent.size_bytes -= 1
    entries_changed(work, parent)


def entries_changed(work: Work, parent: Inode) -> None:
    """The directory's content changed now."""
    parent.mtime_ns = parent.ctime_ns = work.now_ns
    work.changed(parent)
