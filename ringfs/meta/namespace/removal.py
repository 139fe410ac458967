"""The end of an inode: last names dropped, orphans kept for the sessions that have them open, contents released."""

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.prefix import scan_prefix
from ringfs.meta.namespace import content, homes, keys
from ringfs.meta.namespace.records import LINKABLE, NOTHING, Inode
from ringfs.meta.namespace.work import Work


def drop_name(work: Work, inode: Inode, directory: Inode) -> None:
    """One name of an inode, in that directory, is gone. After the last one it goes too, unless a session holds it. A directory
    has but one."""
    inode.links = 0 if inode.is_directory() else inode.links - 1
    homes.name_removed(work, inode, directory.number)
    inode.ctime_ns = work.now_ns
    work.changed(inode)
    if inode.links == 0 and not _keep_for_holders(work, inode):
        erase(work, inode)


def _keep_for_holders(work: Work, inode: Inode) -> bool:
    """Make orphan rows for the living sessions among the transaction's holders; False if there is none."""
    holders = [session for session in work.holders if work.rows.get(keys.session(session)) is not None]
    for session in holders:
        work.rows.put(keys.orphan(inode.number, session), NOTHING)
        work.rows.put(keys.held(session, inode.number), NOTHING)
    return bool(holders)


def free_orphan(work: Work, session: int, number: int) -> None:
    """The session keeps the inode no longer; the last one to say so ends it. Nothing happens if it does not keep it."""
    key = keys.orphan(number, session)
    if work.rows.get(key) is None:
        return
    work.rows.delete(key)
    work.rows.delete(keys.held(session, number))
    if next(scan_prefix(work.rows, keys.ORPHAN + keys.u64(number)), None) is None:
        erase(work, work.inode(number))


def adopt(work: Work, inode: Inode) -> None:
    """An orphan is about to get a name: nobody need keep it any more. Refused NOT_FOUND if it may not."""
    if work.rows.get(keys.orphan(inode.number, work.session)) != LINKABLE:
        raise Refused(Code.NOT_FOUND, "the inode has no name any more")
    for key, _ in list(scan_prefix(work.rows, keys.ORPHAN + keys.u64(inode.number))):
        work.rows.delete(key)
        work.rows.delete(keys.held(keys.number_at(key, 9), inode.number))


def erase(work: Work, inode: Inode) -> None:
    """Everything of an inode that has no name and no holder any more."""
    assert inode.links == 0, "only what has no name ends"
    content.release(work, inode)
    if inode.xattr_count:
        for key, _ in list(scan_prefix(work.rows, keys.XATTR + keys.u64(inode.number))):
            work.rows.delete(key)
    if inode.mode & 0o170000 == 0o120000:
        work.rows.delete(keys.target(inode.number))
    work.forget_inode(inode)
