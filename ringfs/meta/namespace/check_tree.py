"""The checker on the tree: entries and cookies, parents and ancestors, link counts.

Names of one inode are spread over all directories. So as not to keep a count for every inode, a first pass keeps one sum per
bucket of inode numbers, in which names and links must cancel out; only buckets where they do not are counted inode by inode.
"""

from collections import Counter
from collections.abc import Iterator

from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.check_inodes import all_inodes, inode_at
from ringfs.meta.namespace.directory import FIRST_COOKIE, TYPE_DIRECTORY
from ringfs.meta.namespace.finding import Finding
from ringfs.meta.namespace.records import Dentry, Inode
from ringfs.wire.packing import unpack

_BUCKET_COUNT = 1 << 14
#: Inodes counted one by one at a time; directories remembered to hang below the root.
_REMEMBERED_MAX = 100_000
_MASK = (1 << 64) - 1


def check_entries(view: ReadView) -> Iterator[Finding]:
    """Each directory: its entries, its counts, its way up to the root; and no entries of what is no directory."""
    attached: set[int] = {ROOT_INODE}
    for inode in all_inodes(view):
        if inode.is_directory():
            yield from _check_directory(view, inode)
            yield from _check_way_up(view, inode, attached)
    known = 0
    for key, _ in scan_prefix(view, keys.DENTRY):
        parent = keys.number_at(key, 1)
        if parent != known:
            inode_or_none = inode_at(view, parent)
            if inode_or_none is None or not inode_or_none.is_directory():
                yield Finding("tree", f"an entry {key[9:]!r} in {parent}, which is no directory")
            known = parent


def _check_directory(view: ReadView, directory: Inode) -> Iterator[Finding]:
    entries = subdirectories = 0
    for key, value in scan_prefix(view, keys.DENTRY + keys.u64(directory.number)):
        entry: Dentry = unpack(value)
        entries += 1
        subdirectories += entry[1] == TYPE_DIRECTORY
        yield from _check_entry(view, directory, key[9:], entry)
    links = 2 + subdirectories if directory.links else 0
    if entries != directory.size_bytes or (entries and not directory.links):
        yield Finding("sizes", f"directory {directory.number} counts {directory.size_bytes} entries, it has {entries}")
    if links != directory.links:
        yield Finding("nlink", f"directory {directory.number} has {directory.links} links and {subdirectories} subdirectories")


def _check_entry(view: ReadView, directory: Inode, name: bytes, entry: Dentry) -> Iterator[Finding]:
    number, file_type, cookie = entry
    where = f"entry {name!r} of directory {directory.number}"
    child = inode_at(view, number)
    if child is None:
        yield Finding("tree", f"{where} stands for inode {number}, which does not exist")
        return
    if child.mode >> 12 != file_type:
        yield Finding("tree", f"{where} has another type than inode {number}")
    if child.is_directory() and (child.parent != directory.number or child.name != name):
        yield Finding("tree", f"{where} is directory {number}, which takes itself for {child.name!r} in {child.parent}")
    place = view.get(keys.cookie(directory.number, cookie))
    if place is None or unpack(place) != [name, number] or not FIRST_COOKIE <= cookie < directory.next_cookie:
        yield Finding("cookies", f"{where} has the cookie {cookie}, which does not lead back")


def _check_way_up(view: ReadView, directory: Inode, attached: set[int]) -> Iterator[Finding]:
    """Every living directory is the entry that it takes itself for, and so is every directory above it, up to the root."""
    path: set[int] = set()
    while directory.links and directory.number not in attached:
        if directory.number in path:
            yield Finding("tree", f"directory {directory.number} is below itself")
            return
        path.add(directory.number)
        value = view.get(keys.dentry(directory.parent, directory.name))
        above = inode_at(view, directory.parent)
        if value is None or unpack(value)[0] != directory.number or above is None or not above.is_directory():
            yield Finding("tree", f"directory {directory.number} is not {directory.name!r} in {directory.parent}")
            return
        directory = above
    if len(attached) + len(path) > _REMEMBERED_MAX:
        attached.clear()
        attached.add(ROOT_INODE)
    attached |= path


def check_cookies(view: ReadView) -> Iterator[Finding]:
    """Every cookie leads to the entry that has it."""
    for key, value in scan_prefix(view, keys.COOKIE):
        parent, cookie = keys.number_at(key, 1), keys.number_at(key, 9)
        name, child = unpack(value)
        entry = view.get(keys.dentry(parent, name))
        if entry is None or unpack(entry)[::2] != [child, cookie]:
            yield Finding("cookies", f"cookie {cookie} of directory {parent} leads to {name!r}, which is not there")


def check_links(view: ReadView) -> Iterator[Finding]:
    """Every inode but directories has as many names as links."""
    sums = [0] * _BUCKET_COUNT
    count = 0
    for inode in all_inodes(view):
        count += 1
        if not inode.is_directory():
            sums[inode.number % _BUCKET_COUNT] -= inode.links * _mixed(inode.number)
    for child in _named(view):
        sums[child % _BUCKET_COUNT] += _mixed(child)
    suspects = [bucket for bucket, total in enumerate(sums) if total]
    step = max(1, _BUCKET_COUNT * _REMEMBERED_MAX // max(count, 1))
    for start in range(0, len(suspects), step):
        yield from _count_links(view, set(suspects[start : start + step]))


def _count_links(view: ReadView, buckets: set[int]) -> Iterator[Finding]:
    names = Counter(child for child in _named(view) if child % _BUCKET_COUNT in buckets)
    for inode in all_inodes(view):
        found = names.get(inode.number, 0)
        if inode.number % _BUCKET_COUNT in buckets and not inode.is_directory() and inode.links != found:
            yield Finding("nlink", f"inode {inode.number} has {inode.links} links and {found} names")


def _named(view: ReadView) -> Iterator[int]:
    """What entries that are no directories stand for."""
    for _, value in scan_prefix(view, keys.DENTRY):
        child, file_type, _ = unpack(value)
        if file_type != TYPE_DIRECTORY:
            yield child


def _mixed(number: int) -> int:
    """A number's bits well mixed (the finalizer of splitmix64), so that sums of different numbers differ."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31
