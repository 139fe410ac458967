"""Where inodes are counted: a directory in its parent, everything else in its home, one of the directories that name it.

Inode.parent is that directory, 0 without a name. Names beside the one that makes a directory the home are counted in ELSEWHERE
rows, by directory, so that another home is found when the last name in the old one goes. What is counted: usage.py.
"""

from ringfs.base.kv.prefix import scan_prefix
from ringfs.meta.namespace import keys, usage
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.packing import pack, unpack

#: Inode.parent of what has no name.
NOWHERE = 0


def name_added(work: Work, inode: Inode, directory: int) -> None:
    """An inode (no directory) that has a home got one more name."""
    key = keys.elsewhere(inode.number, directory)
    value = work.rows.get(key)
    work.rows.put(key, pack(1 if value is None else unpack(value) + 1))


def name_removed(work: Work, inode: Inode, directory: int) -> None:
    """One of an inode's names is gone; its links are counted down already. If that was its home, another one is found, and what
    it holds is counted there, quota or not: a removal is never refused."""
    if inode.links == 0:
        inode.parent = NOWHERE
    elif not _forget_elsewhere(work, inode, directory):
        key, _ = next(scan_prefix(work.rows, keys.ELSEWHERE + keys.u64(inode.number)))
        inode.parent = keys.number_at(key, 9)
        _forget_elsewhere(work, inode, inode.parent)
        usage.move_unchecked(work, inode)


def name_moved(work: Work, inode: Inode, source: int, destination: int) -> None:
    """One of the names of an inode (no directory) went from one directory to another."""
    if source == destination:
        return
    if inode.links > 1 and _forget_elsewhere(work, inode, source):
        name_added(work, inode, destination)
    else:
        inode.parent = destination


def _forget_elsewhere(work: Work, inode: Inode, directory: int) -> bool:
    """Count down the names beside the home's in a directory; False if there is none."""
    key = keys.elsewhere(inode.number, directory)
    value = work.rows.get(key)
    if value is None:
        return False
    count = unpack(value) - 1
    if count:
        work.rows.put(key, pack(count))
    else:
        work.rows.delete(key)
    return True
