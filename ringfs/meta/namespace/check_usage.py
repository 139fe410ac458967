"""The checker on what directories know of all below them: homes of inodes, usage rows, quotas. Counted anew, one by one.

A directory's row must be the sum of what it is home to and of its subdirectories' rows: then all are right, from the leaves up.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.check_inodes import all_inodes, inode_at
from ringfs.meta.namespace.facts import counters
from ringfs.meta.namespace.finding import Finding
from ringfs.meta.namespace.records import Inode, unpack_usage
from ringfs.wire.packing import unpack


def check_usage(view: ReadView) -> Iterator[Finding]:
    """Each directory's sums; homes; limits."""
    for inode in all_inodes(view):
        if inode.links == 0 and inode.parent:
            yield Finding("usage", f"inode {inode.number} has no name and is counted in {inode.parent}")
        elif inode.links and inode.is_directory():
            yield from _check_directory(view, inode)
    yield from _check_rows(view)
    yield from _check_elsewhere(view)


def _check_directory(view: ReadView, directory: Inode) -> Iterator[Finding]:
    bytes_used = files_used = 0
    #: Of inodes with several names, how many are here; one that is home here has been added once.
    names: Counter[int] = Counter()
    for _, value in scan_prefix(view, keys.DENTRY + keys.u64(directory.number)):
        child = inode_at(view, unpack(value)[0])
        if child is None:
            continue  # check_tree tells
        if child.is_directory():
            row = _row(view, child.number)
            bytes_used, files_used = bytes_used + row[1], files_used + row[2] + 1
            continue
        names[child.number] += child.links > 1
        if child.parent == directory.number and names[child.number] < 2:
            bytes_used, files_used = bytes_used + child.stored_bytes, files_used + 1
        elif child.links == 1:
            yield Finding("usage", f"inode {child.number} is in {directory.number} and counted in {child.parent}")
    yield from _check_names(view, directory, names)
    parent = 0 if directory.number == ROOT_INODE else directory.parent
    if _row(view, directory.number)[:3] != [parent, bytes_used, files_used]:
        told = f"{_row(view, directory.number)[:3]}, it is {[parent, bytes_used, files_used]}"
        yield Finding("usage", f"directory {directory.number} counts [parent, bytes, files] {told}")


def _check_names(view: ReadView, directory: Inode, names: Counter[int]) -> Iterator[Finding]:
    """The names that a directory has of an inode, but the home's own, are counted elsewhere."""
    for number, count in (+names).items():
        inode = inode_at(view, number)
        value = view.get(keys.elsewhere(number, directory.number))
        expected = count - (inode is not None and inode.parent == directory.number)
        if (0 if value is None else unpack(value)) != expected:
            yield Finding("usage", f"inode {number} has {expected} names in {directory.number} beside its home's, not as counted")


def _check_elsewhere(view: ReadView) -> Iterator[Finding]:
    """Every inode's names elsewhere are all but one of them."""
    rows = ((keys.number_at(key, 1), unpack(value)) for key, value in scan_prefix(view, keys.ELSEWHERE))
    for number, group in groupby(rows, key=lambda row: row[0]):
        inode, count = inode_at(view, number), sum(row[1] for row in group)
        if inode is None or inode.is_directory() or count != inode.links - 1:
            yield Finding("usage", f"inode {number} counts {count} names beside its home's")


def _check_rows(view: ReadView) -> Iterator[Finding]:
    """Usage rows are of directories with a name; those with limits are found, and counted."""
    limited = 0
    for key, value in scan_prefix(view, keys.USAGE):
        number = keys.number_at(key, 1)
        directory = inode_at(view, number)
        if directory is None or not directory.is_directory() or not directory.links:
            yield Finding("usage", f"a usage row of {number}, which is no directory with a name")
        row = unpack_usage(value)
        limited += len(row) == 5
        if (len(row) == 5) != (view.get(keys.quota(number)) is not None) or (len(row) == 5 and not any(row[3:])):
            yield Finding("usage", f"directory {number} has the usage row {row}, and is not found as it should be")
    if limited != sum(1 for _ in scan_prefix(view, keys.QUOTA)) or limited != counters(view).quota_count:
        yield Finding("counters", f"{limited} directories have limits, {counters(view).quota_count} are counted")


def _row(view: ReadView, directory: int) -> list[int]:
    value = view.get(keys.usage(directory))
    return [-1, 0, 0] if value is None else unpack_usage(value)
