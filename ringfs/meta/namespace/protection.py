"""What the flags of chattr(1) forbid, as Linux has it (fs/namei.c may_delete, vfs_link; fs/attr.c; ext4): NOT_PERMITTED, root too.

An immutable inode changes in nothing; an append-only file keeps what it has, an append-only directory its entries. The kernel does
not know these flags of a FUSE inode: all is checked here, but for what depends on how a file was opened (client/protection.py).
"""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.records import Inode
from ringfs.wire.messages.files import FLAG_APPEND, FLAG_IMMUTABLE

_EITHER = FLAG_IMMUTABLE | FLAG_APPEND


def refuse_adding(directory: Inode) -> None:
    """Nothing can be made in an immutable directory."""
    if directory.flags & FLAG_IMMUTABLE:
        raise Refused(Code.NOT_PERMITTED, f"directory {directory.number} is immutable")


def refuse_removing(directory: Inode, child: Inode) -> None:
    """A name stays if its directory, or what it stands for, is immutable or append-only."""
    if (directory.flags | child.flags) & _EITHER:
        raise Refused(Code.NOT_PERMITTED, f"directory {directory.number} or inode {child.number} is immutable or append-only")


def refuse_changing(inode: Inode) -> None:
    """Mode, owner, size, xattrs, links of an inode that is immutable or append-only stay as they are."""
    if inode.flags & _EITHER:
        raise Refused(Code.NOT_PERMITTED, f"inode {inode.number} is immutable or append-only")


def refuse_if_immutable(inode: Inode) -> None:
    """For what append-only files allow: more content, other times."""
    if inode.flags & FLAG_IMMUTABLE:
        raise Refused(Code.NOT_PERMITTED, f"inode {inode.number} is immutable")
