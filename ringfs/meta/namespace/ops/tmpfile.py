"""Tmpfile: a new regular file without a name, kept by the session that asks for it like any unlinked file that it has open.

Rules: open(2), O_TMPFILE. Mode, group, flags and ACL as in mknod.py; nothing of the directory changes. The session's orphan row
says whether link.py may give it a name (O_EXCL: not).

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the directory does not exist, is none, was removed |
| INVALID | no open_mode |
| NOT_PERMITTED | flags forbid it, see protection.py |
"""

from stat import S_IFREG

from ringfs.base.errors import Code, Refused
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.directory import new_child
from ringfs.meta.namespace.protection import refuse_adding
from ringfs.meta.namespace.records import LINKABLE, NOTHING
from ringfs.meta.namespace.work import Work
from ringfs.meta.namespace.xattrs import inherit
from ringfs.wire.messages.common import LEASED
from ringfs.wire.messages.files import Tmpfile
from ringfs.wire.messages.namespace import Entry


def apply(work: Work, op: Tmpfile) -> Entry:
    """See the module."""
    parent = work.directory(op.parent)
    if not op.open_mode:
        raise Refused(Code.INVALID, "a file that nobody has open needs a name")
    refuse_adding(parent)
    inode = new_child(work, parent, S_IFREG | op.mode & 0o7777, op.uid, op.gid, links=0)
    inherit(work, parent, inode, op.umask)
    work.rows.put(keys.orphan(inode.number, work.session), LINKABLE if op.is_linkable else NOTHING)
    work.rows.put(keys.held(work.session, inode.number), NOTHING)
    return Entry(inode.attributes(), parent.attributes(), LEASED, LEASED)
