"""BeginSession: a client registers; it gets a number that is never given out again. Nothing is refused."""

from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import pack_session
from ringfs.meta.namespace.system import BeginSession, SessionBegun
from ringfs.meta.namespace.work import Work

#: Requests count from 1.
_FIRST_REQUEST = 1


def apply(work: Work, op: BeginSession) -> SessionBegun:
    """See the module."""
    counters = work.counters
    session = counters.next_session
    counters.next_session = session + 1
    work.rows.put(keys.session(session), pack_session(op.name, work.now_ns, _FIRST_REQUEST))
    return SessionBegun(session)
