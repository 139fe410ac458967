"""NoteAccesses: files and directories were read then. Their atime moves forward to it, and nothing else: no `change`, nobody's
cache. Inodes that do not exist any more are passed over; nothing is refused but lists of unlike lengths (INVALID)."""

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.files import NoteAccesses


def apply(work: Work, op: NoteAccesses) -> Done:
    """See the module."""
    if len(op.inodes) != len(op.atimes_ns):
        raise Refused(Code.INVALID, "a time for each inode")
    for number, atime_ns in zip(op.inodes, op.atimes_ns, strict=True):
        inode = work.find_inode(number)
        if inode is not None and inode.atime_ns < atime_ns:
            inode.atime_ns = atime_ns
            work.unsaved(inode)
    return Done()
