"""The checker on inodes one by one: their types, xattrs, targets, counters. Not entries, links or extents."""

from collections.abc import Callable, Iterator
from stat import S_IFLNK, S_IFMT, S_IFREG

from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.prefix import scan_prefix
from ringfs.base.kv.view import ReadView
from ringfs.base.limits import FILE_BYTES_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.content import CHUNKS_MAX
from ringfs.meta.namespace.directory import FIRST_COOKIE
from ringfs.meta.namespace.doomed import visible_chunks
from ringfs.meta.namespace.facts import counters
from ringfs.meta.namespace.finding import Finding
from ringfs.meta.namespace.records import Inode, unpack_inode
from ringfs.wire.packing import unpack

_TYPES = (0o01, 0o02, 0o04, 0o06, 0o10, 0o12, 0o14)


def all_inodes(view: ReadView) -> Iterator[Inode]:
    """All inodes, in order of number."""
    for key, value in scan_prefix(view, keys.INODE):
        yield unpack_inode(keys.number_at(key, 1), value)


def inode_at(view: ReadView, number: int) -> Inode | None:
    """One inode, or None."""
    value = view.get(keys.inode(number))
    return None if value is None else unpack_inode(number, value)


def check_inodes(view: ReadView) -> Iterator[Finding]:
    """Each inode by itself, and how many there are."""
    count = last = 0
    if inode_at(view, ROOT_INODE) is None:
        yield Finding("tree", "there is no root")
    for inode in all_inodes(view):
        count, last = count + 1, inode.number
        yield from _check_inode(view, inode)
    figures = counters(view)
    if figures.inode_count != count:
        yield Finding("counters", f"inode_count is {figures.inode_count}, there are {count} inodes")
    if figures.next_inode <= last:
        yield Finding("counters", f"next_inode is {figures.next_inode}, inode {last} exists")
    yield from _check_owned(view, keys.XATTR, lambda inode: inode.xattr_count > 0)
    yield from _check_owned(view, keys.TARGET, lambda inode: S_IFMT(inode.mode) == S_IFLNK)


def _check_inode(view: ReadView, inode: Inode) -> Iterator[Finding]:
    file_type = inode.mode >> 12
    if file_type not in _TYPES:
        yield Finding("inodes", f"inode {inode.number} has the mode {inode.mode:o}")
    xattr_count = sum(1 for _ in scan_prefix(view, keys.XATTR + keys.u64(inode.number)))
    if xattr_count != inode.xattr_count:
        yield Finding("xattrs", f"inode {inode.number} counts {inode.xattr_count} xattrs, there are {xattr_count}")
    if file_type << 12 == S_IFLNK:
        target = view.get(keys.target(inode.number))
        if target is None or len(unpack(target)) != inode.size_bytes:
            yield Finding("sizes", f"symlink {inode.number} has no target of its size")
    elif file_type << 12 == S_IFREG:
        if inode.size_bytes > FILE_BYTES_MAX:
            yield Finding("sizes", f"file {inode.number} has {inode.size_bytes} bytes")
        if inode.stored_bytes and next(visible_chunks(view, inode.number, 0, CHUNKS_MAX), None) is None:
            yield Finding("sizes", f"file {inode.number} counts {inode.stored_bytes} stored bytes and has no extents")
    elif not inode.is_directory() and inode.size_bytes:
        yield Finding("sizes", f"inode {inode.number} has a size")
    if file_type << 12 != S_IFREG and inode.stored_bytes:
        yield Finding("sizes", f"inode {inode.number}, no file, has stored bytes")
    if inode.is_directory() and (inode.next_cookie < FIRST_COOKIE or inode.links == 1):
        yield Finding("inodes", f"directory {inode.number} has {inode.links} links and the next cookie {inode.next_cookie}")
    if inode.number == ROOT_INODE and not (inode.is_directory() and inode.parent == ROOT_INODE and inode.links >= 2):
        yield Finding("tree", "the root is no directory above all")


def _check_owned(view: ReadView, family: bytes, may_have: Callable[[Inode], bool]) -> Iterator[Finding]:
    """Rows of a family belong to inodes that may have such."""
    known = 0
    for key, _ in scan_prefix(view, family):
        number = keys.number_at(key, 1)
        if number == known:
            continue
        inode = inode_at(view, number)
        if inode is None or not may_have(inode):
            yield Finding("inodes", f"a row {key.hex()} of an inode that has none such")
        known = number
