"""Exactly once: the answers to a session's transactions, kept until the client acknowledges them."""

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import REPLY_WINDOW_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import pack_session
from ringfs.meta.namespace.work import Work
from ringfs.wire.packing import unpack

#: Up to so many rows are looked up one by one; a longer range is scanned.
_LOOKED_UP_MAX = 64


def find(work: Work, number: int, acknowledged: int) -> bytes | None:
    """The kept answer to that request of the session, or None if it must be done.

    Refused NO_SESSION, FORGOTTEN (acknowledged already), OVERLOADED (too many answers would wait for acknowledgement).
    """
    value = work.rows.get(keys.session(work.session))
    if value is None:
        raise Refused(Code.NO_SESSION, f"session {work.session}")
    window = max(unpack(value)[2], acknowledged)
    if number < window:
        raise Refused(Code.FORGOTTEN, f"request {number}")
    if number - window >= REPLY_WINDOW_MAX:
        raise Refused(Code.OVERLOADED, f"request {number} of a window that begins at {window}")
    return work.rows.get(keys.reply(work.session, number))


def keep(work: Work, number: int, acknowledged: int, answer: bytes) -> None:
    """Keep an encoded answer, and forget those below the acknowledged number."""
    key = keys.session(work.session)
    value = work.rows.get(key)
    assert value is not None, "find came first"
    name, opened_ns, window = unpack(value)
    if acknowledged > window:
        _forget(work, window, acknowledged)
        work.rows.put(key, pack_session(name, opened_ns, acknowledged))
    work.rows.put(keys.reply(work.session, number), answer)


def _forget(work: Work, first: int, stop: int) -> None:
    rows, session = work.rows, work.session
    if stop - first > _LOOKED_UP_MAX:
        for key, _ in list(rows.scan(keys.reply(session, first), keys.reply(session, stop))):
            rows.delete(key)
        return
    for number in range(first, stop):
        key = keys.reply(session, number)
        if rows.get(key) is not None:
            rows.delete(key)
