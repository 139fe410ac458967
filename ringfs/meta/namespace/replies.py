"""Exactly once: the answers to a session's transactions, kept until the client acknowledges them."""

from dataclasses import dataclass

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import REPLY_WINDOW_MAX
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.records import pack_session
from ringfs.meta.namespace.work import Work
from ringfs.wire.packing import unpack

#: Up to so many rows are looked up one by one; a longer range is scanned.
_LOOKED_UP_MAX = 64


@dataclass(slots=True)
class Request:
    """A request's place in its session: what find learnt, for keep."""

    name: str
    opened_ns: int
    #: The first number whose reply is kept, before this request and with what it acknowledges.
    window: int
    acknowledged: int
    reply_key: bytes
    #: The kept answer, or None if the request must be done.
    answer: bytes | None


def find(work: Work, number: int, acknowledged: int) -> Request:
    """Look up a request of the session.

    Refused NO_SESSION, FORGOTTEN (acknowledged already), OVERLOADED (too many answers would wait for acknowledgement).
    """
    value = work.rows.get(keys.session(work.session))
    if value is None:
        raise Refused(Code.NO_SESSION, f"session {work.session}")
    name, opened_ns, window = unpack(value)
    if acknowledged < window:
        acknowledged = window
    if number < acknowledged:
        raise Refused(Code.FORGOTTEN, f"request {number}")
    if number - acknowledged >= REPLY_WINDOW_MAX:
        raise Refused(Code.OVERLOADED, f"request {number} of a window that begins at {acknowledged}")
    key = keys.reply(work.session, number)
    return Request(name, opened_ns, window, acknowledged, key, work.rows.get(key))


def keep(work: Work, request: Request, answer: bytes) -> None:
    """Keep an encoded answer, and forget those below the acknowledged number."""
    if request.acknowledged > request.window:
        _forget(work, request.window, request.acknowledged)
        row = pack_session(request.name, request.opened_ns, request.acknowledged)
        work.rows.put(keys.session(work.session), row)
    work.rows.put(request.reply_key, answer)


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
