"""Commit: point extents of files to new bytes.

Rules: the docstrings of Commit, FileCommit and NewObject. Each file is taken or refused on its own; an object that is neither live
nor certainly held refuses the whole, with nothing changed. What was declared and is not pointed to in the end is condemned.

| refused | when |
| --- | --- |
| NO_OBJECT (whole) | an extent's object is neither live nor declared, or its deletion may have begun |
| INVALID (whole) | a put_ns is ahead of the leader's clock by more than CLOCK_SKEW_MAX_NS |
| STALE (a file) | the inode does not exist |
| INVALID (a file) | it is no regular file; a malformed extent, see content.py; a rewrite past the end |
| CHANGED (a file) | it is not at the expected change |
| FILE_TOO_BIG (a file) | an extent ends past FILE_BYTES_MAX |
| QUOTA (a file) | a quota above has no room for what it would store more |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from collections.abc import Iterable
from stat import S_IFMT, S_IFREG

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import HASH_BYTES
from ringfs.meta.namespace import content
from ringfs.meta.namespace.condemned import objects_for
from ringfs.meta.namespace.protection import refuse_if_immutable
from ringfs.meta.namespace.records import Inode
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.namespace import Commit, Committed, CommittedFile, Extent, FileCommit

#: A time that is left to the leader.
_UNSET = -1


def apply(work: Work, op: Commit) -> Committed:
    """See the module."""
    sizes = objects_for(work, op.objects, objects_in(extent for file in op.files for extent in file.extents))
    work.declared = op.objects
    return Committed([_commit(work, file, sizes) for file in op.files])


def objects_in(extents: Iterable[Extent]) -> set[bytes]:
    """The objects that extents point to. What is no id is the extent's fault, and found there."""
    return {extent.source for extent in extents if extent.object_offset >= 0 and len(extent.source) == HASH_BYTES}


def _commit(work: Work, file: FileCommit, sizes: dict[bytes, int]) -> CommittedFile:
    try:
        inode = _file(work, file)
        if not file.rewrite and (file.extents or file.mtime_ns != _UNSET):
            refuse_if_immutable(inode)
        if file.extents:
            end = max(extent.offset + extent.length for extent in file.extents)
            if file.rewrite and end > inode.size_bytes:
                raise Refused(Code.INVALID, "a rewrite past the end of the file")
            content.splice_extents(work, inode, file.extents, sizes)
            inode.size_bytes = max(inode.size_bytes, end)
    except Refused as refusal:
        return CommittedFile(refusal.code.number, None)
    if file.rewrite:
        work.unsaved(inode)
    else:
        _change_times(work, inode, file)
        work.changed(inode)
    return CommittedFile(0, inode.attributes())


def file_of(work: Work, number: int) -> Inode:
    """The regular file. Refused STALE, INVALID."""
    inode = work.inode(number)
    if S_IFMT(inode.mode) != S_IFREG:
        raise Refused(Code.INVALID, "only regular files have extents")
    return inode


def _file(work: Work, file: FileCommit) -> Inode:
    inode = file_of(work, file.inode)
    if file.expected_change and inode.change != file.expected_change:
        raise Refused(Code.CHANGED)
    return inode


def _change_times(work: Work, inode: Inode, file: FileCommit) -> None:
    """Times given count; those left to the leader are now if there are extents."""
    if file.mtime_ns != _UNSET:
        inode.mtime_ns = file.mtime_ns
    elif file.extents:
        inode.mtime_ns = work.now_ns
    if file.ctime_ns != _UNSET:
        inode.ctime_ns = file.ctime_ns
    elif file.extents:
        inode.ctime_ns = work.now_ns
    if file.atime_ns != _UNSET:
        inode.atime_ns = file.atime_ns
