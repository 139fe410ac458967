"""EndSession: a session is over. Its replies, locks and reserved inode numbers go, and the orphans that nobody else keeps.

Refused NO_SESSION.
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.prefix import scan_prefix
from ringfs.meta.namespace import keys, locks
from ringfs.meta.namespace.facts import has_session, orphans_of
from ringfs.meta.namespace.removal import free_orphan
from ringfs.meta.namespace.system import EndSession
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Done


def apply(work: Work, op: EndSession) -> Done:
    """See the module."""
    if not has_session(work.rows, op.session):
        raise Refused(Code.NO_SESSION, f"session {op.session}")
    for number in list(orphans_of(work.rows, op.session)):
        free_orphan(work, op.session, number)
    locks.release_session(work.rows, op.session)
    for key, _ in list(scan_prefix(work.rows, keys.REPLY + keys.u64(op.session))):
        work.rows.delete(key)
    if work.rows.get(keys.reserved(op.session)) is not None:
        work.rows.delete(keys.reserved(op.session))
    work.rows.delete(keys.session(op.session))
    return Done()
